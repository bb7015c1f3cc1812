"""What a deployment is called at each level of the hierarchy of constants."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import inf, isfinite
from typing import Final, TypeAlias

from core.models import ModelSpec
from core.physics.network import local
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
# Units that multiply a format which elsewhere is widened to 16 bits first: Quark's W4A4 on CDNA4 (ROCm 7 AITER),
# FlashInfer's W4A8 on datacentre Blackwell, whose mixed products run at the rate of the wider operand
_MULTIPLIED_IN: Final[Mapping[str, Mapping[str, str]]] = {"mxfp4": {"gfx950": "fp4", "10.0": "fp8", "10.3": "fp8"}}
BACKENDS: Final = ("cuda", "rocm", "vulkan", "metal", "sycl")
_OF_VENDOR: Final[Mapping[str, str]] = {"NVIDIA": "cuda", "AMD": "rocm", "Apple": "metal", "Intel": "sycl"}
# llama.cpp numbers its builds: b4400 is of the end of 2024, b7550 of the end of 2025
_BUILDS: Final = ((4400, "2024"), (7550, "2025"), (10**9, "2026"))
_BUILD: Final = re.compile(r"\bb(\d{4,5})\b")
_YEAR: Final = re.compile(r"\b20(2\d)\b")
_NEWEST_TENS: Final = 20         # minor releases of 0.x since which are one generation: the newest with figures
_NUMBERS: Final = re.compile(r"^v?(\d+)\.(\d+)")


def memory(gpu: GpuSpec) -> str:
    """HBM, GDDR, or memory shared with the host."""
    generation = gpu.compute_capability or gpu.architecture
    if generation in _UNIFIED_MEMORY or gpu.vendor == "Apple":
        return "unified"
    unknown = not gpu.compute_capability and gpu.bandwidth_bytes_per_s > _STACKED_FROM
    return "hbm" if generation in _STACKED_MEMORY or gpu.vendor in _ACCELERATORS or unknown else "gddr"


def compute(fmt: Format, gpu: GpuSpec) -> str:
    """Number type the matrix units multiply in; formats without units on this GPU fall back to 16 bits."""
    if (kind := multiplied_in(fmt, gpu)) in gpu.flops:
        return kind
    if fmt.compute == "fp32":
        return "fp32"
    return next((name for name in ("bf16", "fp16", "fp32") if name in gpu.flops), "fp32")


def multiplied_in(fmt: Format, gpu: GpuSpec) -> str:
    """Number type the format's own kernels multiply in; empty where they widen it to 16 bits first."""
    native = _MULTIPLIED_IN.get(fmt.name, {}).get(gpu.compute_capability or gpu.architecture, "")
    return native or ("" if fmt.weight_only else fmt.compute)


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
    dequantises = multiplied_in(fmt, gpu) not in gpu.flops
    bits = 4 if fmt.bits_per_weight < 6 else 8
    width = f"{'fp' if 'fp' in fmt.name else 'int'}{bits}"
    return f"{width} dequantised" if dequantises else "8-bit" if bits == 8 else width


def widens(deployment: Deployment) -> bool:
    """Whether kernels unpack weights to 16 bits and multiply those: never faster than weights of 16 bits are.

    GGML's are of another kind: they narrow the activations and multiply in 8 bits.
    """
    return "dequantised" in kernel(deployment.weights, deployment.gpu) and not _ggml(deployment)


def _ggml(deployment: Deployment) -> bool:
    return deployment.weights.name.startswith("gguf") or "gguf" in find(deployment.engine).containers


def unpacked_from(deployment: Deployment) -> float:
    """Rows from which a matmul unpacks its weights to memory and is a 16-bit one; inf where one kernel does both."""
    name = deployment.weights.name
    return float(find(deployment.engine).unpacked_from.get(name, _UNPACKED_FROM.get(name, inf)))


@lru_cache(maxsize=4096)
def release_of(engine: str, version: str) -> str:
    """Engine with its generation: the year of numbered builds, the major version, steps of ten to 0.20 and since.

    The engine alone where no version is stated or none can be told.
    """
    if find(engine).numbers_builds:
        build, year = _BUILD.search(version), _YEAR.search(version)
        if build:
            return f"{engine} {next(of for last, of in _BUILDS if int(build[1]) <= last)}"
        return f"{engine} 20{year[1]}" if year else engine if not version else f"{engine} undated"
    numbers = _NUMBERS.search(version)
    if not numbers:
        return f"{engine} atom" if version.startswith("atom") else engine
    major, minor = int(numbers[1]), int(numbers[2])
    return f"{engine} {major}" if major else f"{engine} 0.{min(minor // 10 * 10, _NEWEST_TENS)}"


def release(deployment: Deployment) -> str:
    """Engine with its generation."""
    return release_of(deployment.engine, deployment.engine_version)


@lru_cache(maxsize=4096)
def _named_backend(version: str) -> str:
    return next((name for name in BACKENDS if name in version.lower()), "")


def backend(deployment: Deployment) -> str:
    """Interface the engine's kernels are written for; that of the GPU's vendor where none is named."""
    return _named_backend(deployment.engine_version) or _OF_VENDOR.get(deployment.gpu.vendor, "other")


def mixing(spec: ModelSpec) -> str:
    """How a model's layers look back: the kind that costs kernels of its own, if any layer has it."""
    kinds = " ".join({mixer.kind for layer in spec.layers for mixer in layer.mixers})
    if "sparse" in kinds or "compressed" in kinds:
        return "sparse"
    if "latent" in kinds:
        return "latent"
    return "recurrent" if spec.state_bytes() else "sliding" if "sliding" in kinds else "full"


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
    of_model = {id(spec): (mixing(spec), "experts" if spec.is_moe else "dense") for spec, _ in pairs}
    rows = [_row(*of_model[id(spec)], deployment) for spec, deployment in pairs]
    return {level: tuple(row[i] for row in rows) for i, level in enumerate(LEVELS)}


LEVELS: Final = (
    "memory", "architecture", "tensor", "gpu", "kernel", "multiplied", "device", "engine", "engine_kernel",
    "engine_multiplied", "release", "backend", "kv", "mixing", "link", "sparsity", "parallel",
)


def _row(mixing: str, sparsity: str, deployment: Deployment) -> tuple[str, ...]:
    gpu, matmul = deployment.gpu, kernel(deployment.weights, deployment.gpu)
    multiplied = "16-bit" if widens(deployment) or isfinite(unpacked_from(deployment)) else matmul
    architecture = gpu.compute_capability or gpu.architecture
    return (
        memory(gpu),
        architecture,
        f"{architecture} {width(deployment.weights, gpu)}",
        gpu.name,
        matmul,
        multiplied,
        f"{architecture} {multiplied}",
        deployment.engine,
        f"{deployment.engine} {matmul}",
        f"{deployment.engine} {multiplied}",
        release(deployment),
        f"{backend(deployment)} {architecture}",
        f"{deployment.kv_cache.bits_per_value:.0f}-bit",
        f"{deployment.engine} {mixing}",
        link(gpu, local(deployment)),
        sparsity,
        "expert parallel" if deployment.ep > 1 else "together",
    )
