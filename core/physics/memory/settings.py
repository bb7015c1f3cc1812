"""What an engine runs with on a given GPU when the deployment leaves it open."""

from dataclasses import dataclass
from typing import Final

from core.basics.units import GIB, MIB
from core.models import ModelSpec
from core.products.engines import Engine, find, release
from core.products.gpus import GpuSpec
from core.terms import Deployment

_LARGE_GPU: Final = 70 * GIB          # vLLM 0.33 EngineArgs.get_batch_defaults
_SLACK: Final = 0.02                  # of a memory shared with the system: what its file cache takes while loading
_MODEL_LEN: Final = 8192              # assumed where neither the user nor the config says


@dataclass(frozen=True, slots=True)
class Settings:
    """A deployment with every default resolved."""

    engine: Engine
    release: float                    # minor release of a 0.x engine
    max_model_len: int                # tokens
    max_num_batched_tokens: int       # tokens of one step
    max_num_seqs: int                 # sequences of one step
    memory_fraction: float


def settings(spec: ModelSpec, deployment: Deployment) -> Settings:
    """The engine's settings; what the deployment names wins."""
    engine, gpu = find(deployment.engine), deployment.gpu
    max_len = deployment.max_model_len or spec.max_context or _MODEL_LEN
    tokens, seqs = _batch_limits(engine, deployment, max_len)
    seqs = deployment.max_num_seqs or seqs
    return Settings(
        engine=engine,
        release=release(deployment.engine_version, engine.name),
        max_model_len=max_len,
        max_num_batched_tokens=deployment.max_num_batched_tokens or min(tokens, seqs * max_len),
        max_num_seqs=seqs,
        memory_fraction=deployment.memory_fraction or min(_memory_fraction(engine, deployment), reachable(engine, gpu)),
    )


def reachable(engine: Engine, gpu: GpuSpec) -> float:
    """The largest fraction of the reported memory that the engine finds free at start: less where the system uses it.

    vLLM 0.33 worker `request_memory` refuses more; others take fractions of what is free anyway.
    """
    return gpu.free_share - _SLACK if engine.memory == "profiled" and gpu.free_share < 1 else 1.0


def unreachable(deployment: Deployment) -> str | None:
    """Why the engine refuses to start with the fraction of memory that the deployment names; None where it may."""
    engine, gpu, asked = find(deployment.engine), deployment.gpu, deployment.memory_fraction
    if asked is None or engine.memory != "profiled" or gpu.free_share == 1 or asked <= gpu.free_share:
        return None
    return (f"The system uses the memory of {gpu.name} too: about {gpu.free_share:.0%} is free when {engine.label} "
            f"starts, and it refuses to take {asked:.0%}.")


def _batch_limits(engine: Engine, deployment: Deployment, max_len: int) -> tuple[int, int]:
    """Tokens and sequences of one scheduler step."""
    gpu = deployment.gpu
    if engine.batch == "by GPU":
        if release(deployment.engine_version) < 8:      # before V1: whole prompts, chunks beyond 32k
            return (2048 if max_len > 32_768 else max(max_len, 2048)), 256
        # vLLM 0.33 get_batch_defaults, API server: larger steps from 70 GiB on, A100 excepted.
        large = gpu.memory_bytes >= _LARGE_GPU and "a100" not in gpu.name.lower()
        return (8192, 1024) if large else (2048, 256)
    if engine.batch == "by memory":
        return _sglang_chunk(gpu.memory_bytes), engine.max_num_seqs
    return engine.max_num_batched_tokens, engine.max_num_seqs


def _sglang_chunk(memory_bytes: float) -> int:
    """SGLang 0.5 ServerArgs: chunked_prefill_size by GPU memory [tokens]."""
    steps = ((35, 2048), (60, 4096), (160, 8192))
    return next((chunk for below, chunk in steps if memory_bytes < below * GIB), 16384)


def _sglang_graph_batch(memory_bytes: float, tp: int) -> int:
    """SGLang 0.5 ServerArgs: cuda_graph_max_bs by GPU memory and tp [sequences]."""
    steps = ((20, 8, 8), (35, 24, 80), (60, 32, 160), (90, 256, 512))
    small, large = next(((a, b) for below, a, b in steps if memory_bytes < below * GIB), (512, 512))
    return small if tp < 4 else large


def _memory_fraction(engine: Engine, deployment: Deployment) -> float:
    if engine.memory_fraction is not None:
        return engine.memory_fraction
    return sglang_static_fraction(deployment.gpu.memory_bytes, deployment.tp, deployment.pp,
                                  release(deployment.engine_version, engine.name))


def sglang_static_fraction(memory_bytes: float, tp: int, pp: int, minor: float) -> float:
    """SGLang's mem_fraction_static: weights and cache over what is free at start.

    Source: SGLang 0.5 ServerArgs._handle_gpu_memory_settings; before 0.4.8 (mid 2025) a constant by tp.
    """
    if minor < 4.08:
        return {1: 0.88, 2: 0.87, 4: 0.86, 8: 0.85}.get(tp, 0.85)
    mib = memory_bytes / MIB
    reserved = 512 + 1.5 * _sglang_chunk(memory_bytes) + 2 * _sglang_graph_batch(memory_bytes, tp) + 128 * tp * pp
    return max(0.05, (mib - reserved) / mib)
