"""What a deployment is called at each level of the hierarchy of constants."""

from collections.abc import Mapping, Sequence
from math import inf, isfinite
from typing import Final, TypeAlias

from core.models import ModelSpec
from core.products.engines import find
from core.products.formats import Format
from core.products.gpus import GpuSpec
from core.terms import Deployment

Pair: TypeAlias = tuple[ModelSpec, Deployment]
Labels: TypeAlias = Mapping[str, tuple[str, ...]]   # level -> label of every pair

_STACKED_MEMORY: Final = frozenset({          # HBM, by compute capability, or by architecture where there is none
    "6.0", "7.0", "8.0", "9.0", "10.0", "10.3", "gfx908", "gfx90a", "gfx942", "gfx950", "Gaudi2", "Gaudi3",
    "Ponte Vecchio",
})
_UNIFIED_MEMORY: Final = frozenset({"7.2", "8.7", "11.0", "12.1", "gfx1151"})   # LPDDR shared with the host
_ACCELERATORS: Final = frozenset({"Google", "AWS", "Huawei"})                   # vendors of cards with HBM only
_STACKED_FROM: Final = 1.9e12                 # bandwidth of a card of unknown generation that must be HBM [B/s]
# Rows from which bitsandbytes writes weights to memory unpacked, for a 16-bit matmul, whatever the engine. An engine's
# own are in its row: AutoAWQ, FP16_MATMUL_HEURISTIC_CONDITION of WQLinear_GEMM; ExLlamaV2, MAX_Q_GEMM_ROWS of q_gemm.cu
_UNPACKED_FROM: Final[Mapping[str, float]] = {"bnb-nf4": 2, "bnb-fp4": 2}
_SIXTEEN_BIT: Final = frozenset({"fp16", "bf16"})


def memory(gpu: GpuSpec) -> str:
    """HBM, GDDR, or memory shared with the host."""
    generation = gpu.compute_capability or gpu.architecture
    if generation in _UNIFIED_MEMORY or gpu.vendor == "Apple":
        return "unified"
    unknown = not gpu.compute_capability and gpu.bandwidth_bytes_per_s > _STACKED_FROM
    return "hbm" if generation in _STACKED_MEMORY or gpu.vendor in _ACCELERATORS or unknown else "gddr"


def compute(fmt: Format, gpu: GpuSpec) -> str:
    """Number type the matrix units multiply in; formats without units on this GPU fall back to 16 bits."""
    if fmt.compute in gpu.flops and not fmt.weight_only:
        return fmt.compute
    if fmt.compute == "fp32":
        return "fp32"
    return next((name for name in ("bf16", "fp16", "fp32") if name in gpu.flops), "fp32")


def kernel(fmt: Format, gpu: GpuSpec) -> str:
    """Family of matmul kernels: what they read and whether they dequantise.

    Operands of 8 bits are one family: INT8's kernels read the same bytes at the same peak as FP8's.
    """
    if fmt.name in _SIXTEEN_BIT or fmt.name == "fp32":
        return "16-bit" if fmt.name in _SIXTEEN_BIT else "fp32"
    if fmt.name.startswith("gguf"):
        return "gguf"
    if fmt.name.startswith("bnb"):
        return fmt.name
    if fmt.name == "w4a8":
        return "w4a8"
    dequantises = fmt.weight_only or fmt.compute not in gpu.flops
    bits = 4 if fmt.bits_per_weight < 6 else 8
    width = f"{'fp' if 'fp' in fmt.name else 'int'}{bits}"
    return f"{width} dequantised" if dequantises else "8-bit" if bits == 8 else width


def unpacked_from(deployment: Deployment) -> float:
    """Rows from which a matmul unpacks its weights to memory and is a 16-bit one; inf where one kernel does both."""
    name = deployment.weights.name
    return float(find(deployment.engine).unpacked_from.get(name, _UNPACKED_FROM.get(name, inf)))


def release(deployment: Deployment) -> str:
    """Engine with its generation, roughly: the major version, and the minor below 1.0 in steps."""
    engine, version = deployment.engine, deployment.engine_version
    numbers = version.lstrip("v").split(".")
    if len(numbers) < 2 or not (numbers[0].isdigit() and numbers[1].isdigit()):
        return engine
    major, minor = int(numbers[0]), int(numbers[1])
    return f"{engine} {major}" if major else f"{engine} 0.{minor // 10 * 10}"


def link(gpu: GpuSpec, gpus: int) -> str:
    """Interconnect and the GPUs that share it, or none for one GPU."""
    if gpus == 1:
        return "none"
    kind = "pcie" if "pci" in gpu.link.lower() or gpus > gpu.link_gpus else "nvlink"
    return f"{kind} {2 if gpus < 3 else 4 if gpus < 6 else 8}"


def width(fmt: Format, gpu: GpuSpec) -> int:
    """Bits of the operands the matrix units multiply."""
    return {"fp8": 8, "int8": 8, "fp4": 4, "int4": 4, "fp32": 32}.get(compute(fmt, gpu), 16)


def labels(pairs: Sequence[Pair]) -> Labels:
    """Label of every pair at every level."""
    rows = [_row(spec, deployment) for spec, deployment in pairs]
    return {level: tuple(row[i] for row in rows) for i, level in enumerate(LEVELS)}


LEVELS: Final = (
    "memory", "architecture", "tensor", "gpu", "kernel", "multiplied", "engine", "engine_kernel", "engine_multiplied",
    "release", "kv", "link", "sparsity", "parallel",
)


def _row(spec: ModelSpec, deployment: Deployment) -> tuple[str, ...]:
    gpu, matmul = deployment.gpu, kernel(deployment.weights, deployment.gpu)
    multiplied = "16-bit" if isfinite(unpacked_from(deployment)) else matmul
    architecture = gpu.compute_capability or gpu.architecture
    return (
        memory(gpu),
        architecture,
        f"{architecture} {width(deployment.weights, gpu)}",
        gpu.name,
        matmul,
        multiplied,
        deployment.engine,
        f"{deployment.engine} {matmul}",
        f"{deployment.engine} {multiplied}",
        release(deployment),
        f"{deployment.kv_cache.bits_per_value:.0f}-bit",
        link(gpu, deployment.tp * deployment.dp),
        "experts" if spec.is_moe else "dense",
        "expert parallel" if deployment.ep > 1 else "together",
    )
