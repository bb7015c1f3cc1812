"""A GPU whose figures the user types in."""

import math
from collections.abc import Mapping
from typing import Final

from core.basics.bounds import Bounds
from core.basics.errors import HardwareError, InputError
from core.basics.units import GB, GIB, TERA
from core.products.gpus.derive import ARCHITECTURE
from core.products.gpus.spec import GpuSpec

# Between a tenth of the smallest and ten times the largest of assets/gpus.csv.
RANGES: Final[Mapping[str, Bounds]] = {
    "memory": Bounds(1, 8_192, "GiB"),
    "memory bandwidth": Bounds(10, 250_000, "GB/s"),
    "peak": Bounds(0.1, 1_000_000, "TFLOPS"),
    "link": Bounds(0.5, 20_000, "GB/s"),
    "power": Bounds(5, 20_000, "W"),
    "price": Bounds(0, 1_000, "USD per hour"),
}
LONGEST_NAME: Final = 80
WITHOUT_BF16: Final = frozenset({"6.0", "6.1", "7.0", "7.5"})
VENDORS: Final = ("NVIDIA", "AMD", "Intel", "Apple", "Google", "AWS", "Huawei")     # those of the catalogue


def custom(
    name: str,
    memory_gib: float | None,
    bandwidth_gb_s: float,
    fp16_tflops: float,
    *,
    bf16_tflops: float | None = None,
    fp8_tflops: float | None = None,
    int8_tops: float | None = None,
    fp4_tflops: float | None = None,
    fp32_tflops: float | None = None,
    vendor: str = "NVIDIA",
    compute_capability: str = "",
    link_gb_s: float = 31.5,
    tdp_w: float | None = None,
    price_usd_per_hour: float | None = None,
) -> GpuSpec:
    """A GPU from figures typed in: dense peaks, memory as its driver reports it, link in one direction.

    Args: `compute_capability` ("9.0") is the generation, which decides what has kernels; without it an
    NVIDIA card counts as the oldest that has the peaks given. BF16 runs at the FP16 rate unless given,
    but not on NVIDIA cards before 8.0, which have no units for it. `link_gb_s` defaults to PCIe 4.0 x16.
    Raises HardwareError without a memory figure and InputError, naming the value and its range, else.
    """
    if not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise InputError(f"Give the GPU a name of 1 to {LONGEST_NAME} printable characters.")
    if memory_gib is None or math.isnan(memory_gib):
        raise HardwareError(f"There is no memory figure for '{name}': type in its memory in GiB.")
    tflops = {
        "fp32": fp32_tflops, "fp16": fp16_tflops, "bf16": fp16_tflops if bf16_tflops is None else bf16_tflops,
        "fp8": fp8_tflops, "int8": int8_tops, "fp4": fp4_tflops,
    }
    peaks = {dtype: _checked("peak", peak, dtype) * TERA for dtype, peak in tflops.items() if peak is not None}
    capability = _capability(vendor, compute_capability, peaks)
    if capability in WITHOUT_BF16:
        del peaks["bf16"]
    link = _checked("link", link_gb_s)
    return GpuSpec(
        name=name.strip(),
        vendor=vendor,
        architecture=ARCHITECTURE.get(capability, ""),
        compute_capability=capability,
        memory_bytes=int(_checked("memory", memory_gib) * GIB),
        bandwidth_bytes_per_s=_checked("memory bandwidth", bandwidth_gb_s) * GB,
        flops=peaks,
        fp16_accumulate_flops=None,
        l2_bytes=None,
        sm_count=None,
        link_bytes_per_s=link * GB,
        link=f"{link:g} GB/s",
        tdp_w=None if tdp_w is None else _checked("power", tdp_w),
        release_year=None,
        price_usd_per_hour=None if price_usd_per_hour is None else _checked("price", price_usd_per_hour),
        price_source="" if price_usd_per_hour is None else "typed in",
        basis="estimated",
        source="typed in",
        nominal_memory_gib=memory_gib,
    )


def _capability(vendor: str, typed: str, peaks: Mapping[str, float]) -> str:
    """The compute capability typed in, or of the first NVIDIA generation with tensor cores for the peaks given."""
    if vendor not in VENDORS:
        raise InputError(f"The maker '{vendor[:40]}' is not one of {', '.join(VENDORS)}.")
    if vendor != "NVIDIA":
        return ""
    capability = typed or ("10.0" if "fp4" in peaks else "8.9" if "fp8" in peaks else "8.0")
    if capability not in ARCHITECTURE:
        raise InputError(f"Compute capability '{capability[:10]}' is not one of {', '.join(ARCHITECTURE)}.")
    return capability


def _checked(what: str, value: float, which: str = "") -> float:
    return RANGES[what].checked(f"The {which.upper()} {what}" if which else f"The {what}", value)
