"""The state a card is in: a lowered power limit, the links that are up, a slice instead of the whole."""

from dataclasses import replace
from typing import Final

from core.basics.units import GIB
from core.products.gpus.nvml import Reading
from core.products.gpus.spec import PCIE_GT_PER_S, GpuSpec, pcie_bytes_per_s

# A power limit this close to the default does not bind.
POWER_UNCHANGED: Final = 0.97
MIG_MEMORY_SLICES: Final = 8    # NVIDIA MIG user guide: memory comes in eighths, compute in sevenths
MIG_COMPUTE_SLICES: Final = 7
MIG_CAPABILITIES: Final = frozenset({"8.0", "9.0", "10.0", "10.3"})
# Share of its memory that a slice of so many eighths shows: 1g.10gb has 9.5, 2g.20gb 19.5, 3g.40gb 39.25 GiB.
MIG_MEMORY_LEFT: Final = {1: 0.95, 2: 0.975, 4: 0.981, 8: 0.984}

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
    """A MIG slice as its driver describes it: compute by its SMs, memory as read."""
    if reading.mig is None:
        return spec, ()
    sms = reading.mig.multiprocessors
    part = slice_of(spec, reading.mig.profile, _memory_slices(reading), sms)
    part_as_read = replace(part, memory_bytes=spec.memory_bytes, memory_basis=spec.memory_basis, notes=spec.notes)
    return part_as_read, (part.notes,)


def slice_of(spec: GpuSpec, profile: str, memory_slices: int, sms: int | None = None) -> GpuSpec:
    """A MIG slice of a card: compute by its SMs or sevenths, bandwidth and L2 by its eighths of the memory.

    `notes` says what share it is. Source: NVIDIA MIG user guide, profiles of the A100 and the H100.
    """
    share = sms / spec.sm_count if sms and spec.sm_count else _compute_sevenths(profile) / MIG_COMPUTE_SLICES
    memory_share = memory_slices / MIG_MEMORY_SLICES
    nominal_gib = (spec.nominal_memory_gib or 0.0) * memory_share
    return replace(
        spec,
        name=f"{spec.name} MIG {profile}",
        memory_bytes=int(nominal_gib * GIB * MIG_MEMORY_LEFT.get(memory_slices, MIG_MEMORY_LEFT[4])),
        memory_basis="estimated",
        nominal_memory_gib=nominal_gib,
        flops={dtype: peak * share for dtype, peak in spec.flops.items()},
        flops_range={dtype: (low * share, high * share) for dtype, (low, high) in spec.flops_range.items()},
        bandwidth_bytes_per_s=spec.bandwidth_bytes_per_s * memory_share,
        l2_bytes=None if spec.l2_bytes is None else int(spec.l2_bytes * memory_share),
        sm_count=sms,
        link_gpus=1,
        price_usd_per_hour=None,
        price_source="",
        basis="estimated",
        notes=f"MIG slice: {share:.0%} of the compute and {memory_slices} of {MIG_MEMORY_SLICES} memory slices of"
              " the card.",
    )


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
