"""Peaks of NVIDIA cards that no table lists: SMs x clock x operations per clock, by generation."""

from collections.abc import Mapping
from typing import Final

MHZ: Final = 1e6

# Dense operations per clock and SM with FP32 accumulation. Sources: NVIDIA architecture white papers
# (V100, Turing, GA100, GA102, AD102, H100, Blackwell). On the 49 published peaks whose clock is not
# itself computed from the peak, SMs x rated boost x rate is within 1.2 % (tests/products/test_gpus_derived.py).
RATE: Final[Mapping[str, Mapping[str, int]]] = {
    "7.0": {"fp16": 1024},
    "7.5": {"fp16": 1024, "int8": 2048, "int4": 4096},
    "8.0": {"fp16": 2048, "bf16": 2048, "int8": 4096, "int4": 8192},
    "8.6": {"fp16": 1024, "bf16": 1024, "int8": 2048, "int4": 4096},
    "8.9": {"fp16": 1024, "bf16": 1024, "fp8": 2048, "int8": 2048, "int4": 4096},
    "9.0": {"fp16": 4096, "bf16": 4096, "fp8": 8192, "int8": 8192},
    "10.0": {"fp16": 8192, "bf16": 8192, "fp8": 16384, "int8": 16384, "fp4": 32768},
    "10.3": {"fp16": 8192, "bf16": 8192, "fp8": 16384, "int8": 512, "fp4": 49152},
    "12.0": {"fp16": 1024, "bf16": 1024, "fp8": 2048, "int8": 2048, "fp4": 4096},
}
# GeForce cards accumulate FP16 and FP8 products in FP32 at half the rate of their professional twins;
# with FP16 accumulation they run at the full one. Integer and FP4 rates are not cut.
GEFORCE_GENERATIONS: Final = frozenset({"7.5", "8.6", "8.9", "12.0"})
GEFORCE_HALVED: Final = frozenset({"fp16", "bf16", "fp8"})

FP32_LANES: Final[Mapping[str, int]] = {    # CUDA cores per SM; NVIDIA CUDA programming guide
    "6.0": 64, "6.1": 128, "7.0": 64, "7.5": 64, "8.0": 64, "8.6": 128, "8.9": 128,
    "9.0": 128, "10.0": 128, "10.3": 128, "12.0": 128,
}
ARCHITECTURE: Final[Mapping[str, str]] = {
    "6.0": "Pascal", "6.1": "Pascal", "7.0": "Volta", "7.5": "Turing", "8.0": "Ampere", "8.6": "Ampere",
    "8.7": "Ampere", "8.9": "Ada Lovelace", "9.0": "Hopper", "10.0": "Blackwell", "10.3": "Blackwell Ultra",
    "11.0": "Blackwell (Thor)", "12.0": "Blackwell", "12.1": "Blackwell",
}
# The rated peaks of Hopper hold at 1830 MHz where the driver states 1980: the share of its clock to use.
RATED_CLOCK_SHARE: Final[Mapping[str, float]] = {"9.0": 0.924}
# These share a generation with full-rate cards but not the rate; most are in the catalogue and found
# there before any formula is tried.
EXPORT_PARTS: Final = frozenset(
    {"h20", "l20", "l2", "l40", "a10g", "rtx5090d", "rtx5090dv2", "rtx6000d"}
)
SYSTEMS_ON_CHIP: Final = frozenset({"5.3", "6.2", "7.2", "8.7", "11.0", "12.1"})


def peak_flops(capability: str, geforce: bool, sms: int, clock_mhz: float) -> dict[str, float]:
    """Dense peaks by dtype [FLOP/s] of a card of a known generation; {} for an unknown one.

    Args: `clock_mhz` is the rated boost clock, as the CUDA driver states it.
    """
    clock_hz = clock_mhz * RATED_CLOCK_SHARE.get(capability, 1.0) * MHZ
    peaks = {dtype: sms * rate * clock_hz for dtype, rate in RATE.get(capability, {}).items()}
    if geforce and capability in GEFORCE_GENERATIONS:
        peaks = {dtype: peak / 2 if dtype in GEFORCE_HALVED else peak for dtype, peak in peaks.items()}
    if capability in FP32_LANES:
        peaks["fp32"] = sms * FP32_LANES[capability] * 2 * clock_mhz * MHZ      # a multiply and an add
    return peaks


def fp16_accumulate_peak(capability: str, geforce: bool, peaks: Mapping[str, float]) -> float | None:
    """FLOP/s of FP16 products summed in FP16, where that is faster: GeForce cards, twice. Else None."""
    if geforce and capability in GEFORCE_GENERATIONS and "fp16" in peaks:
        return 2 * peaks["fp16"]
    return None


def memory_bandwidth(bus_bits: int, clock_mhz: float) -> float:
    """Bytes per second of a discrete card's memory: two transfers a clock, as NVML counts clocks.

    Within 2.4 % of the published figure on 20 cards from V100 to B200; wrong on systems on a chip,
    which report the data rate or nothing.
    """
    return bus_bits / 8 * clock_mhz * MHZ * 2


def refusal(normalised_name: str, capability: str) -> str | None:
    """Why the formula must not be used for a card, as a clause; None where it may."""
    if normalised_name in EXPORT_PARTS:
        return "it is an export part whose tensor rate is cut below its generation's"
    if capability in SYSTEMS_ON_CHIP:
        return "the SMs and clocks of a system on a chip depend on its power mode"
    if capability not in RATE:
        return f"compute capability {capability or 'unknown'} has no known tensor rates"
    return None
