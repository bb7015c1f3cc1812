"""The state a card is in: a lowered power limit, the links that are up, a slice instead of the whole."""

from dataclasses import replace
from typing import Final

from core.products.gpus.nvml import Reading
from core.products.gpus.spec import PCIE_GT_PER_S, GpuSpec, pcie_bytes_per_s

# A power limit this close to the default does not bind.
POWER_UNCHANGED: Final = 0.97
MIG_MEMORY_SLICES: Final = 8    # NVIDIA MIG user guide: memory comes in eighths, compute in sevenths
MIG_COMPUTE_SLICES: Final = 7

Adjusted = tuple[GpuSpec, tuple[str, ...]]      # the card as it is, and a sentence on each difference


def power_limited(spec: GpuSpec, reading: Reading) -> Adjusted:
    """Peaks under a lowered power limit, as a range.

    Dynamic power grows with the cube of the clock, so the rate falls at best with the cube root of
    the limit; at worst in proportion: an RTX PRO 6000 reaches 459 TFLOPS at 600 W and 229 to 243 at
    300 W (aiconfigurator 0.12.0 tables; waynehacking8's Max-Q runs).
    """
    limit, default = reading.power_limit_w, reading.power_default_w
    if not limit or not default or limit >= POWER_UNCHANGED * default:
        return spec, ()
    share = limit / default
    ranges = {}
    for dtype, peak in spec.flops.items():
        low, high = spec.flops_range.get(dtype, (peak, peak))
        ranges[dtype] = (low * share, high * share ** (1 / 3))
    note = f"The power limit is {limit:.0f} W, {share:.0%} of the default: peaks are scaled down."
    middles = {dtype: (low + high) / 2 for dtype, (low, high) in ranges.items()}
    limited = replace(spec, flops=middles, flops_range=ranges, tdp_w=limit, basis="estimated")
    return limited, (note,)


def linked(spec: GpuSpec, reading: Reading) -> Adjusted:
    """The link that is really there: PCIe as this slot has it, and no NVLink where no link is up."""
    pcie = _pcie(reading)
    if pcie is None:
        return spec, ()
    rate, label = pcie
    spec = replace(spec, pcie_bytes_per_s=rate)
    if reading.nvlinks:
        return spec, ()
    note = ("No NVLink is up: GPUs talk over PCIe.",) if "NVLink" in spec.link else ()
    return replace(spec, link=label, link_bytes_per_s=rate), note


def sliced(spec: GpuSpec, reading: Reading) -> Adjusted:
    """A MIG slice: compute by its SMs, bandwidth and L2 by its eighths of the memory, nothing shared."""
    if reading.mig is None:
        return spec, ()
    slices = _memory_slices(reading)
    sevenths = _compute_sevenths(reading.mig.profile)
    sms = reading.mig.multiprocessors
    share = sms / spec.sm_count if sms and spec.sm_count else sevenths / MIG_COMPUTE_SLICES
    memory_share = slices / MIG_MEMORY_SLICES
    part = replace(
        spec,
        name=f"{spec.name} MIG {reading.mig.profile}",
        flops={dtype: peak * share for dtype, peak in spec.flops.items()},
        flops_range={dtype: (low * share, high * share) for dtype, (low, high) in spec.flops_range.items()},
        bandwidth_bytes_per_s=spec.bandwidth_bytes_per_s * memory_share,
        l2_bytes=None if spec.l2_bytes is None else int(spec.l2_bytes * memory_share),
        sm_count=sms,
        link_gpus=1,
        price_usd_per_hour=None,
        price_source="",
        basis="estimated",
    )
    note = f"MIG slice: {share:.0%} of the compute and {slices} of {MIG_MEMORY_SLICES} memory slices of the card."
    return part, (note,)


def _memory_slices(reading: Reading) -> int:
    """Memory slices of a MIG slice, 1 to 8, from its share of the card's memory."""
    if not reading.total_bytes or not reading.card_total_bytes:
        return 1
    eighths = round(MIG_MEMORY_SLICES * reading.total_bytes / reading.card_total_bytes)
    return min(max(eighths, 1), MIG_MEMORY_SLICES)


def _compute_sevenths(profile: str) -> int:
    """ "3g.40gb" -> 3: the compute slices of seven that a profile names; 1 where it names none."""
    count = profile.partition("g.")[0]
    return int(count) if count.isdecimal() else 1


def _pcie(reading: Reading) -> tuple[float, str] | None:
    """One-way bytes per second and label of the PCIe link; None where the driver does not tell."""
    generation, lanes = reading.pcie_generation, reading.pcie_lanes
    if generation not in PCIE_GT_PER_S or not lanes:
        return None
    return pcie_bytes_per_s(generation, lanes), f"PCIe {generation}.0 x{lanes}"
