"""Which formats have kernels worth deploying on which GPU, engine by engine, and the reason when not.

Where the GPU lacks a format's number type, an engine may unpack its weights and multiply in 16 bits: that runs, at the
speed of a weight-only format, and is `slower`, not `unsupported`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple, TypeAlias

from core.products.engines import Engine, loads, release
from core.products.engines import find as find_engine
from core.products.families import Kernels
from core.products.formats import FORMATS, KV_FORMATS, Format, KvFormat
from core.products.gpus import GpuSpec

_Capability: TypeAlias = tuple[int, int]
_TURING: Final = (7, 5)
_AMPERE: Final = (8, 0)
_ADA: Final = (8, 9)
_HOPPER: Final = (9, 0)
_BLACKWELL: Final = (10, 0)
_ANY: Final = (99, 0)
_SIXTEEN_BITS: Final = 16.0

# GPUs whose engines run 16-bit and what their own peaks list, nothing packed.
_ACCELERATORS: Final = ("Google", "AWS", "Huawei")


@dataclass(frozen=True, slots=True)
class Slower:
    """It runs, but not as the format is meant to."""

    note: str                    # one sentence


_Verdict: TypeAlias = str | Slower | None     # why not; how instead; None: as it is meant to


class _Card(NamedTuple):
    """A GPU under one engine, asked about a format."""

    capability: _Capability      # CUDA compute capability; of other makers' none: (0, 0)
    gpu: GpuSpec
    engine: Engine
    fmt: Format

    def within(self, what: str, least: _Capability, most: _Capability = _ANY) -> bool:
        """Whether the engine's kernels run here."""
        return _within(self.engine, self.capability, what, least, most)


def _within(
    engine: Engine, capability: _Capability, what: str, least: _Capability, most: _Capability = _ANY
) -> bool:
    """Whether an engine's kernels run between these capabilities, or those its row gives instead."""
    own = engine.capabilities.get(what)
    low, high = (divmod(round(10 * end), 10) for end in own) if own else (least, most)
    return low <= capability <= high


def _capability(gpu: GpuSpec) -> _Capability | None:
    """CUDA compute capability; None for other vendors or when the figure is unreadable."""
    major, _, minor = gpu.compute_capability.partition(".")
    return (int(major), int(minor or 0)) if major.isdigit() and (minor or "0").isdigit() else None


def unsupported(fmt: Format, gpu: GpuSpec, engine: str, version: str = "") -> str | None:
    """Why the format does not run on that GPU with that engine, or None. `version`: another than the newest."""
    verdict = _not_built(gpu, find_engine(engine), version) or _verdict(fmt, gpu, engine)
    return None if isinstance(verdict, Slower) else verdict


def slower(fmt: Format, gpu: GpuSpec, engine: str) -> str | None:
    """How the format runs where it gains less than it is made for, or None."""
    verdict = _verdict(fmt, gpu, engine)
    return verdict.note if isinstance(verdict, Slower) else None


def pointless(fmt: Format, gpu: GpuSpec, engine: str) -> str | None:
    """Why nobody who can choose would take the format there: it does not run, or is slower than others of its size."""
    return unsupported(fmt, gpu, engine) or slower(fmt, gpu, engine)


def kernel(fmt: Format, gpu: GpuSpec, engine: str) -> str:
    """How weights are multiplied: 16-bit, native in the format's own number type, or weight-only (unpacked first)."""
    if fmt.bits_per_weight >= _SIXTEEN_BITS:
        return "16-bit"
    return "weight-only" if fmt.weight_only or slower(fmt, gpu, engine) else "native"


def sixteen(own: str, gpu: GpuSpec, engine: str, version: str = "") -> Format:
    """16-bit weights of that dtype, or of the other one where the GPU or the engine lacks it, as engines cast them."""
    return FORMATS[next((name for name in _either(own) if not unsupported(FORMATS[name], gpu, engine, version)), own)]


def kv_sixteen(own: str, gpu: GpuSpec, engine: str) -> KvFormat:
    """The same of a KV cache."""
    return KV_FORMATS[next((name for name in _either(own) if not kv_unsupported(KV_FORMATS[name], gpu, engine)), own)]


def _either(own: str) -> tuple[str, str]:
    return own, "fp16" if own == "bf16" else "bf16"


def _not_built(gpu: GpuSpec, engine: Engine, version: str) -> str | None:
    """Why the newest release has no code for the GPU at all: CUDA 13 ended with Volta. Older ones had."""
    capability = _capability(gpu) if gpu.vendor == "NVIDIA" else None
    is_older = release(version, engine.name) < release(engine.version, engine.name)
    if capability is None or is_older or _within(engine, capability, "release", (0, 0)):
        return None
    return (f"{engine.label} {engine.version} is built for compute capability {engine.capabilities['release'][0]} "
            f"and later; {gpu.name} has {gpu.compute_capability}.")


def _verdict(fmt: Format, gpu: GpuSpec, engine: str) -> _Verdict:
    serving = find_engine(engine)
    if serving.vendors and gpu.vendor not in serving.vendors:
        return f"{serving.label} does not run on {gpu.vendor} GPUs."
    if not loads(serving.formats, fmt.name):
        return f"{serving.label} does not load {fmt.label} weights."
    if fmt.scope == "file" and "gguf" not in serving.containers:
        return "GGUF files are served by llama.cpp; choose that engine."
    if serving.has_own_kernels(gpu.vendor):
        return None                      # llama.cpp's run from Maxwell on
    if fmt.runtime and not serving.formats:
        return f"{fmt.label} weights are run by {fmt.runtime} alone."
    rule, capability = _RULES[fmt.kernels], _capability(gpu)
    card = _Card(capability or (0, 0), gpu, serving, fmt)
    if gpu.vendor == "NVIDIA":
        return rule.nvidia(card) if capability else None
    if gpu.vendor == "AMD":
        return rule.amd(card)
    return None if rule.elsewhere(card) else _not_here(card)


def _bf16(card: _Card) -> str | None:
    """CUDA programming guide, arithmetic instructions: BF16 tensor cores from 8.0."""
    if card.capability < _AMPERE:
        return f"{card.gpu.architecture} has no BF16 tensor cores; use FP16."
    return None


def _fp8(card: _Card) -> _Verdict:
    """FP8 MMA from 8.9; vLLM 0.33 `Fp8Config.get_min_capability` is 7.5: Marlin below."""
    if card.capability >= _ADA:
        return None
    if card.capability >= _TURING and card.engine.marlin:
        return Slower(f"{card.gpu.architecture} has no FP8 tensor cores: {card.engine.label} unpacks the weights to "
                      "16 bits (W8A16, Marlin) and gains no compute; INT8 W8A8 does, in the same memory.")
    return f"{card.gpu.architecture} has no FP8 tensor cores; use INT8."


def _mxfp8(card: _Card) -> str | None:
    """Block-scaled MMA: PTX ISA, tcgen05.mma and mma.block_scale, sm_100 and up."""
    if card.capability >= _BLACKWELL:
        return None
    return "MXFP8 needs Blackwell's block-scaled tensor cores; use FP8."


def _w8a8(card: _Card) -> str | None:
    """vLLM cutlass scaled_mm_helper.hpp: INT8 on SM 75-90 only; GB300 datasheet: INT8 at 1/32 of FP8."""
    if card.capability < _TURING:
        return f"{card.gpu.architecture} has no INT8 tensor cores; use weight-only INT8 or INT4."
    if card.capability[:2] == (10, 3):
        return f"{card.gpu.architecture} keeps almost no INT8 tensor throughput; use FP8 or NVFP4."
    if card.capability >= _BLACKWELL:
        return "The engines have no INT8 W8A8 kernels for Blackwell (SM 100 and up); use FP8 or NVFP4."
    return None


def _w4a8(card: _Card) -> str | None:
    """QServe: INT8 MMA on 8.0-8.9 (omniserve README); TensorRT-LLM 1.0: 8.9, 9.0; vLLM CUTLASS W4A8: 9.0."""
    if card.within("w4a8", _HOPPER, _HOPPER):
        return None
    return f"{card.engine.label} has no W4A8 kernels for {card.gpu.name}."


def _nvfp4(card: _Card) -> _Verdict:
    """FP4 MMA from SM 100 and SM 120; below, vLLM 0.33 `is_fp4_marlin_supported` unpacks NVFP4 from 7.5."""
    if card.capability >= _BLACKWELL:
        return None
    if card.capability >= _TURING and card.engine.marlin:
        return Slower(f"NVFP4 needs Blackwell's FP4 tensor cores; here {card.engine.label} unpacks it to 16 bits "
                      "(Marlin), where AWQ or GPTQ INT4 does the same in less memory.")
    return "NVFP4 needs Blackwell's FP4 tensor cores; use INT4."


def _mxfp4(card: _Card) -> str | None:
    """gpt-oss: vLLM and SGLang through Triton or Marlin from 8.0; TensorRT-LLM from 9.0."""
    if card.within("mxfp4", _AMPERE):
        return None
    if "mxfp4" in card.engine.capabilities:
        return f"{card.engine.label} runs MXFP4 experts on Hopper and later."
    return "The MXFP4 expert kernels (Triton, Marlin) need Ampere or later."


def _bitsandbytes(card: _Card) -> str | None:
    """bitsandbytes 0.49 installation guide: NF4 from 6.0, LLM.int8() from 7.5."""
    if card.capability >= _TURING:
        return None
    return f"bitsandbytes' kernels are worth it from Turing on, not on {card.gpu.architecture}."


def _packed(card: _Card) -> str | None:
    """INT4 and INT8 weight-only: Marlin from 8.0 (vLLM 0.33: 7.5), AWQ GEMM from 7.5, ExLlama from 6.0."""
    if not card.within("packed", _TURING):
        return f"{card.engine.label} has no kernels for packed weights on {card.gpu.architecture}; use GGUF."
    return None


def _anywhere(_: _Card) -> None:
    """No GPU of the maker lacks them."""


# On AMD: vLLM 0.33 'Supported hardware' table for quantisation; CDNA 3, CDNA 4 and RDNA 4 ISA guides.
def _not_on_amd(card: _Card) -> str:
    return f"{card.fmt.label} has no kernels on AMD GPUs; use FP8."


def _fp8_on_amd(card: _Card) -> str | None:
    return None if card.gpu.flops.get("fp8") else f"{card.gpu.architecture} has no FP8 matrix cores; use FP16."


def _cuda_only(card: _Card) -> str:
    return f"{card.fmt.label} rests on kernels that are CUDA only (Marlin, Humming). Use GPTQ INT4 or FP8."


def _awq_on_amd(card: _Card) -> _Verdict:
    """vLLM 0.33 `awq_triton.py`: on ROCm AWQ is dequantised by Triton before a 16-bit matmul."""
    if not card.engine.marlin:
        return _cuda_only(card)
    return Slower(f"{card.engine.label} unpacks AWQ weights with Triton on ROCm before it multiplies; "
                  "GPTQ INT4 and FP8 run faster.")


def _mxfp4_on_amd(card: _Card) -> str | None:
    if card.gpu.architecture.startswith("CDNA"):
        return None
    return "The MXFP4 expert kernels on ROCm are for Instinct GPUs; use GGUF."


# On Apple, Intel, TPU, Trainium and Ascend: 16 bits everywhere, packed formats through llama.cpp.
def _always(_: _Card) -> bool:
    return True


def _never(_: _Card) -> bool:
    return False


def _multiplied(card: _Card) -> bool:
    return bool(card.gpu.flops.get(card.fmt.compute))


def _on_intel(card: _Card) -> bool:
    """vLLM 0.33 supported hardware: AWQ and GPTQ of 4 bits on Intel GPUs."""
    return card.gpu.vendor == "Intel" and 4 <= card.fmt.bits_per_weight < 5


def _not_here(card: _Card) -> str:
    missing = f"{card.engine.label} has no {card.fmt.label} kernels for {card.gpu.vendor}"
    if card.gpu.vendor in _ACCELERATORS:
        return f"{missing} accelerators; use BF16."
    return f"{missing} GPUs; use GGUF with llama.cpp."


class _Rule(NamedTuple):
    """Where kernels exist: the reason against an NVIDIA and an AMD GPU, and whether they exist on others."""

    nvidia: Callable[[_Card], _Verdict]
    amd: Callable[[_Card], _Verdict] = _anywhere
    elsewhere: Callable[[_Card], bool] = _never


# By the kernels that a format's row names.
_RULES: Final[Mapping[Kernels, _Rule]] = {
    "any": _Rule(_anywhere, elsewhere=_always),
    "bf16": _Rule(_bf16, elsewhere=_always),
    "fp8": _Rule(_fp8, _fp8_on_amd, _multiplied),
    "mxfp8": _Rule(_mxfp8, _not_on_amd),
    "w8a8": _Rule(_w8a8, elsewhere=_multiplied),
    "w4a8": _Rule(_w4a8, _not_on_amd),
    "nvfp4": _Rule(_nvfp4, _not_on_amd),
    "mxfp4": _Rule(_mxfp4, _mxfp4_on_amd),
    "bitsandbytes": _Rule(_bitsandbytes),
    "packed": _Rule(_packed),
    "cuda": _Rule(_packed, _cuda_only),
    "awq": _Rule(_packed, _awq_on_amd, _on_intel),
    "gptq": _Rule(_packed, elsewhere=_on_intel),
}


def kv_unsupported(kv: KvFormat, gpu: GpuSpec, engine: str) -> str | None:
    """Why that KV cache format does not run on that GPU with that engine, or None."""
    serving = find_engine(engine)
    capability = _capability(gpu) if gpu.vendor == "NVIDIA" else None
    if not loads(serving.kv_formats, kv.name):
        return f"{serving.label} has no {kv.name.upper()} KV cache."
    if capability and kv.name == "bf16" and capability < _AMPERE and not serving.has_own_kernels(gpu.vendor):
        return f"{gpu.architecture} has no BF16; cache in FP16."
    if kv.name == "fp8":
        # vLLM 0.33 FlashInfer and Triton read FP8 pages from 8.0 (e5m2 below 8.9); TensorRT-LLM from 8.9.
        if capability and not _within(serving, capability, "fp8 cache", _AMPERE):
            since = "Ada" if serving.capabilities.get("fp8 cache") else "Ampere"
            return f"{serving.label} reads an FP8 KV cache on {since} GPUs and later."
        if gpu.vendor != "NVIDIA" and not gpu.flops.get("fp8"):
            return f"{gpu.name} has no FP8; cache in 16 bits."
    return None
