"""What an engine keeps beside weights and cache: activations, libraries, graphs, and when it counts them.

Every rule is fitted on start-up logs of many models at once; none names a model.
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from core.basics.units import GIB, MIB
from core.models import Role, Shard
from core.physics.memory.identity import SpecKey
from core.physics.memory.settings import Settings
from core.terms import Basis, Deployment

_LOGS: Final = "27 start-up logs of vLLM 0.19 on H100 (llm-d-planner pull request 205)"


@dataclass(frozen=True, slots=True)
class Term:
    """One named part of the memory of a GPU."""

    name: str
    bytes: float
    rule: str
    source: str
    basis: Basis
    low: float
    high: float
    inside_budget: bool = True     # False: on the card, but not counted by the engine


@dataclass(frozen=True, slots=True)
class _Widths:
    """Sizes that activations scale with."""

    dense: int                     # widest dense MLP
    experts: int                   # expert width; 0 without experts
    experts_per_token: int


@lru_cache(maxsize=512)
def _widths(key: SpecKey) -> _Widths:
    rows = [linear for linear, _ in key.spec.linears() if linear.shard is Shard.ROW]
    experts = [linear for linear in rows if linear.experts]
    return _Widths(
        dense=max((linear.inputs for linear in rows if linear.role is Role.MLP), default=0),
        experts=max((linear.inputs for linear in experts), default=0),
        experts_per_token=max((linear.experts_per_token for linear in experts), default=0),
    )


def _estimate(name: str, size: float, spread: tuple[float, float], rule: str, source: str,
              inside_budget: bool = True) -> Term:
    low, high = spread
    return Term(name, size, rule, source, Basis.ESTIMATED, size * low, size * high, inside_budget)


def sampler_bytes(vocab: int, seqs: int, value_bytes: float, minor: float) -> float:
    """Logits of every sequence of a step and what the sampler makes of them [B].

    FP32 logits, probabilities and copies: 12.7 B beside the logits themselves (0.19 logs); from 0.21 on the
    sampler works in place on one FP32 copy (three logs of 0.21-0.28). Up to 0.16 V1 sorted every row with its
    64-bit indices (topk_topp_sampler.py: `logits.sort`; a Triton kernel since): 35.4 B in three logs of 0.10
    and 0.11 on H100, which lie within 3 % of each other.
    """
    copies = 35.4 if 8 <= minor < 17 else 12.7 if minor < 21 else 4.0
    return seqs * vocab * (copies + value_bytes)


def vllm_activation_bytes(key: SpecKey, deployment: Deployment, chosen: Settings) -> float:
    """Peak of vLLM's profile run besides the weights [B].

    The larger of the sampler's peak and the widest layer's, for one full step. Fitted on 28 start-up logs of
    vLLM 0.19: leaving out one family at a time, KV tokens are 0.1 % off in the median and 1.7 % at worst.
    """
    spec, widths = key.spec, _widths(key)
    value = 4.0 if deployment.weights.name == "fp32" else 2.0
    tokens, tp = chosen.max_num_batched_tokens, deployment.tp
    seqs = min(chosen.max_num_seqs, tokens)
    stream = 2 * tokens * spec.hidden_size * value                      # hidden states and residual
    sampler = sampler_bytes(spec.vocab_size, seqs, value, chosen.release) + stream
    experts = 0.0
    if widths.experts and deployment.weights.scope != "experts":        # fused_moe's workspaces stay
        wide = max(2 * widths.experts / tp, spec.hidden_size) + widths.experts / tp
        experts = tokens * widths.experts_per_token * wide * value
    layer = tokens * value * (3 * widths.dense / tp + 7 * spec.hidden_size)
    return max(sampler + experts, layer, stream + experts)


def library_bytes(deployment: Deployment) -> float:
    """CUDA context, cuBLAS and collective buffers that the allocator does not see [B].

    vLLM 0.19 logs on H100: 0.20 GiB at tp 1, 2.06 GiB over NVSwitch at tp 2 and 4; a pair of RTX 3090
    logs 0.74 GiB (vLLM 0.26, club-3090); ROCm 2.3 GiB on MI300X (log of Gemma-4-E2B: 11.88 with the weights).
    """
    if deployment.gpu.vendor == "AMD":
        return 2.3 * GIB
    if deployment.tp == 1:
        return 0.20 * GIB
    link = deployment.gpu.link
    return 2.06 * GIB if link.startswith("NVLink") and "bridge" not in link else 0.74 * GIB


def graph_bytes(key: SpecKey, chosen: Settings, pp: int) -> float:
    """CUDA graphs of a vLLM deployment [B].

    0.3 GiB and 18 MiB a layer with the 83 sizes up to 1,024, half as much again of both in MoE models;
    51 sizes when 256 sequences run. Source: vLLM 0.19 logs, 0.5-1.85 GiB.
    """
    layers = key.spec.n_layers / pp
    sizes = 83 if chosen.max_num_seqs >= 512 else 51 if chosen.max_num_seqs >= 256 else 35
    moe = 1.5 if key.spec.is_moe else 1.0
    return (0.3 * GIB + 18 * MIB * layers) * moe * sizes / 83


def _vllm(key: SpecKey, deployment: Deployment, chosen: Settings) -> tuple[Term, ...]:
    counted = chosen.release >= 21
    when = "deducted since 0.21" if counted else "outside the budget before 0.21"
    return (
        _estimate("activations", vllm_activation_bytes(key, deployment, chosen), (0.85, 1.3),
                  f"peak of a step of {chosen.max_num_batched_tokens:,} tokens and the logits of "
                  f"{chosen.max_num_seqs:,} sequences", _LOGS),
        _estimate("libraries", library_bytes(deployment), (0.7, 1.4),
                  "CUDA context, cuBLAS and collective buffers", _LOGS),
        _estimate("CUDA graphs", graph_bytes(key, chosen, deployment.pp), (0.5, 1.6),
                  f"captured decode steps, {when}", _LOGS, inside_budget=counted),
    )


def _static(_: SpecKey, deployment: Deployment, chosen: Settings) -> tuple[Term, ...]:
    """SGLang: what mem_fraction_static leaves out holds activations and graphs, used or not."""
    start = 0.6 * GIB if deployment.tp == 1 else library_bytes(deployment)
    rest = (deployment.gpu.memory_bytes - start) * (1 - chosen.memory_fraction)
    return (
        _estimate("libraries", start, (0.7, 1.4), "CUDA context and collective buffers before loading",
                  "SGLang pull request 4760: 78.6 of 79.2 GiB free"),
        _estimate("activations and graphs", rest, (1.0, 1.0),
                  f"1 - mem_fraction_static ({chosen.memory_fraction:.3f}) of what is free at start",
                  "SGLang 0.5 ServerArgs"),
    )


def _free_fraction(key: SpecKey, deployment: Deployment, chosen: Settings) -> tuple[Term, ...]:
    """TensorRT-LLM: a fraction of what is free after a first step; here the libraries and the peak."""
    return (
        _estimate("activations", vllm_activation_bytes(key, deployment, chosen), (0.7, 1.6),
                  f"peak of a step of {chosen.max_num_batched_tokens:,} tokens", _LOGS),
        _estimate("libraries", 2 * library_bytes(deployment), (0.6, 1.5),
                  "CUDA context, cuBLAS and collective buffers", _LOGS),
    )


def _loaded(_: SpecKey, __: Deployment, ___: Settings) -> tuple[Term, ...]:
    """LMDeploy: the cache is a fraction of what is free before any step; buffers come from what it leaves."""
    return (
        _estimate("libraries", 0.4 * GIB, (0.5, 1.6), "CUDA context and cuBLAS workspace",
                  "LMDeploy 0.12 turbomind BlockManager: cudaMemGetInfo after loading"),
    )


def _direct(key: SpecKey, deployment: Deployment, chosen: Settings) -> tuple[Term, ...]:
    """llama.cpp and plain PyTorch: context and one step's buffers; the cache takes what it needs."""
    spec, widths = key.spec, _widths(key)
    tokens = min(chosen.max_num_batched_tokens, chosen.max_model_len)
    step = tokens * 4.0 * (3 * widths.dense + 4 * spec.hidden_size) / max(1, deployment.tp)
    logits = chosen.max_num_seqs * spec.vocab_size * 4.0
    return (
        _estimate("activations", step + logits, (0.5, 2.0), f"FP32 buffers of a step of {tokens:,} tokens",
                  "llama.cpp n_ubatch 512: compute buffer in FP32"),
        _estimate("libraries", 0.5 * GIB, (0.5, 1.6), "CUDA context and cuBLAS workspace",
                  "PyTorch CUDA semantics: context 0.3-0.6 GiB"),
    )


_RULES: Final = {"profiled": _vllm, "static": _static, "free": _free_fraction, "loaded": _loaded,
                 "direct": _direct}


def reserved_terms(key: SpecKey, deployment: Deployment, chosen: Settings) -> tuple[Term, ...]:
    """The terms of an engine beside weights and cache."""
    terms = _RULES[chosen.engine.memory](key, deployment, chosen)
    held = (1 - deployment.gpu.free_share) * deployment.gpu.memory_bytes
    if not held or chosen.engine.memory == "profiled":      # whose fraction leaves it out
        return terms
    return (*terms, _estimate("system", held, (0.6, 1.1), "the system's share of a memory both use",
                              "free memory at start on DGX Spark"))
