"""The physical quantities that are fitted, each with its prior and the levels it may differ by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from core.physics.efficiency import operators


@dataclass(frozen=True, slots=True)
class Term:
    """One fitted quantity; `share` terms live between 0 and 1 (logit), others are positive (log)."""

    name: str
    unit: str
    prior: float                    # value physics or operator tables suggest
    spread: float                   # how far the common value may move [log or logit]
    share: bool
    levels: Mapping[str, float]     # level -> standard deviation of its deviations [log or logit]; see `TERMS`
    meaning: str
    source: str
    by: str = ""                    # level whose labels have priors of their own
    priors: Mapping[str, float] = field(default_factory=dict)


def _term(
    name: str, unit: str, prior: float, spread: float, meaning: str, source: str, *,
    share: bool = False, by: str = "", priors: Mapping[str, float] = MappingProxyType({}), **levels: float,
) -> Term:
    return Term(name, unit, prior, spread, share, MappingProxyType(levels), meaning, source, by, priors)


_TABLES: Final = "aiconfigurator-core 0.12 operator tables"

# Standard deviations of the levels: judged from the operator tables, then moved by expectation-maximisation
# on the published figures (Dempster et al. 1977), each judgement counting as four labels. `kernel_s` is kept
# nearer together than that: a launch takes about a microsecond on every card.
TERMS: Final[tuple[Term, ...]] = (
    _term(
        "weights_bandwidth", "share of peak", 0.80, 0.2,
        "memory bandwidth reached when a matmul streams its weights", _TABLES,
        share=True, by="architecture", priors=operators.BANDWIDTH,
        memory=0.2, architecture=0.3, gpu=0.15, kernel=0.5, device=0.2, engine=0.3, engine_kernel=0.3,
        release=0.2, backend=0.3,
    ),
    _term(
        "matmul_rate", "share of peak", 0.62, 0.2,
        "matrix-unit rate of large matmuls", _TABLES,
        share=True, by="tensor", priors=operators.MATMUL,
        tensor=0.5, gpu=0.25, multiplied=0.75, device=0.4, engine=0.5, engine_multiplied=0.55, release=0.4, backend=0.4,
    ),
    _term(
        "dequantised_rate", "share of 16-bit", 0.80, 0.3,
        "matrix-unit rate of matmuls that unpack their weights in the kernel against weights of 16 bits",
        "kernel timings: Marlin at 0.74 of 16 bits at 256 rows; INT4 behind 16 bits from 64 rows on H200, 256 on A100",
        share=True, kernel=0.5, architecture=0.4, engine_kernel=0.6, sparsity=0.4,
    ),
    _term(
        "expert_rate", "ratio to dense", 0.70, 0.2,
        "matrix-unit rate of grouped matmuls over experts against dense ones", _TABLES,
        multiplied=0.5, architecture=0.3, engine=0.3, backend=0.3,
    ),
    _term(
        "expert_bandwidth", "ratio to dense", 0.85, 0.2,
        "memory bandwidth reached streaming the chosen experts against dense matrices", _TABLES,
        kernel=0.2, architecture=0.2, engine=0.3, backend=0.2,
    ),
    _term(
        "kv_bandwidth", "share of peak", 0.78, 0.5,
        "memory bandwidth reached when attention reads the cache", _TABLES,
        share=True, by="architecture", priors=operators.CACHE_BANDWIDTH,
        kv=0.5, engine=1.0, architecture=0.75, backend=0.5, mixing=0.5,
    ),
    _term(
        "attention_rate", "share of peak", 0.45, 0.3,
        "matrix-unit rate of prompt attention", _TABLES,
        share=True, by="architecture", priors=operators.ATTENTION,
        architecture=0.3, engine=0.5, backend=0.5, mixing=0.3, release=0.3,
    ),
    _term(
        "elementwise_passes", "passes", 10.0, 0.4,
        "times norms, activations and residuals move a layer's hidden vector through memory",
        "counted on the Llama block: two norms with residual, rotary embedding, gate of 3.5 hidden sizes",
        engine=0.3, architecture=0.2,
    ),
    _term(
        "kernel_s", "s", 3.2e-6, 0.4,
        "fixed time of one 16-bit matmul kernel: launch, ramp, tail", _TABLES,
        engine=0.5, release=0.3, memory=0.1, architecture=0.2, gpu=0.1, kernel=0.4, engine_kernel=0.3, sparsity=0.3,
        backend=0.3, mixing=0.3,
    ),
    _term(
        "step_s", "s", 6e-4, 0.8,
        "scheduling and sampling of one step",
        "vLLM 0.6 blog: 1-5 ms of host work a step before multi-step scheduling",
        engine=0.8, release=0.7,
    ),
    _term(
        "sequence_s", "s", 2e-5, 0.6,
        "host and sampling time one sequence adds to a step",
        "public runs of 70B models on H200 and B200: 19-155 us",
        engine=0.6, release=0.8, architecture=0.3,
    ),
    _term(
        "host_kernel_s", "s", 1.2e-5, 0.4,
        "host time per kernel when an eager engine feeds the GPU",
        "transformers without graphs decodes at 25-40 tokens/s whatever the size of a small model",
        kernel=0.8, architecture=0.5, release=0.3,
    ),
    _term(
        "link_rate", "share of peak", 0.60, 0.3,
        "bandwidth of large all-reduces", _TABLES,
        share=True, by="link", priors=operators.LINK_RATE, link=0.6, architecture=0.3, engine=0.2,
    ),
    _term(
        "link_latency_s", "s", 8e-6, 0.4,
        "latency of a small all-reduce", _TABLES,
        by="link", priors=operators.LINK_LATENCY, link=0.4, engine=0.4, architecture=0.3,
    ),
    _term(
        "expert_imbalance", "ratio", 1.05, 0.1,
        "work of the busiest expert or rank against the mean",
        "aiconfigurator-core 0.12: power-law routing costs 1.04-1.11 at 32-512 tokens an expert",
        engine=0.1, parallel=0.2,
    ),
    _term(
        "pipeline_share", "share of overlap", 0.75, 0.5,
        "part of the overlap of pipeline stages that chunks of one prompt reach",
        "llama.cpp overlaps micro-batches over GPUs for some models and settings only",
        share=True, engine=0.5, kernel=0.5,
    ),
    _term(
        "request_s", "s", 1.2e-2, 0.7,
        "tokenising, queueing and HTTP before a served prompt starts",
        "vLLM and SGLang server benchmarks at concurrency 1",
        engine=0.6, release=0.4, mixing=0.5,
    ),
    _term(
        "wait_steps", "steps", 1.0, 0.7,
        "decode steps between a request's arrival and its prefill, and between its first token and the client",
        "half of the step under way at least; TensorRT-LLM benchmarks stream every 20th token",
        engine=0.5, release=0.4,
    ),
    _term(
        "synchronised_share", "share", 0.05, 0.5,
        "part of the requests in flight that is ahead of a new one however many there are",
        "benchmarks that send ten prompts for each request in flight start a tenth together: half of those wait",
        share=True, engine=0.5, release=0.3,
    ),
    _term(
        "wave", "prompts", 0.45, 0.5,
        "prompts ahead of a new one for each e-fold of the requests in flight",
        "closed-loop benchmarks drift apart: TTFT of public runs at 4 to 512 requests is a line and a slow rise",
        engine=0.4, release=0.2,
    ),
    _term(
        "interference", "ratio", 1.0, 0.2,
        "decode time lost per second of other prompts' prefill",
        "1 when every prefill second stalls the decodes",
        engine=0.2,
    ),
    _term(
        "fill", "share of KV cache", 0.75, 0.4,
        "part of the KV cache in use at maximum load",
        "paged caches keep blocks free for growth and fragmentation",
        share=True, engine=0.4,
    ),
)
