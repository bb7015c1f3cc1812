"""The GPUs of this machine, matched to the catalogue or derived from what the driver says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any, Final

from core.gpus.catalogue import normalised, same_name
from core.gpus.cuda_driver import CudaReading, cuda_reading
from core.gpus.derive import (
    ARCHITECTURE,
    fp16_accumulate_peak,
    memory_bandwidth,
    peak_flops,
    refusal,
)
from core.gpus.nvml import NVLINK_GB_PER_S, NVLINK_GENERATION, NvmlFailure, Reading, readings
from core.gpus.spec import PCIE_GT_PER_S, GpuSpec, pcie_bytes_per_s
from core.gpus.visible_memory import CUDA_RESERVE_MIB
from core.units import GB, GIB, MIB

# A board whose memory differs more than this from the catalogued one is another build of the card.
SAME_MEMORY: Final = 0.08
# Spread of derived peaks: the formula's own error and boards that clock above their rating.
DERIVED_SPREAD: Final = 0.10
# NVML's highest clock over the rated boost: 1.00 on data-centre cards, up to 1.26 on GeForce.
NVML_CLOCK_OVER_BOOST: Final = 1.26
# A power limit this close to the default does not bind.
POWER_UNCHANGED: Final = 0.97
GEFORCE_BRAND: Final = 5    # NVML_BRAND_GEFORCE
MIG_MEMORY_SLICES: Final = 8    # NVIDIA MIG user guide: memory comes in eighths on A100, H100 and later


@dataclass(frozen=True, slots=True)
class LocalGpu:
    """A GPU of this machine, or a MIG slice of one, ready to plan for."""

    index: int
    uuid: str
    reported_name: str
    spec: GpuSpec               # memory as read from the device
    catalogue_name: str | None  # None: not in the catalogue, peaks derived
    in_use_bytes: int | None    # taken now by other programs
    notes: tuple[str, ...]      # what differs from the catalogue, one sentence each


@dataclass(frozen=True, slots=True)
class LocalGpus:
    """What was found. `reason` is empty, or says why there is nothing or not everything."""

    gpus: tuple[LocalGpu, ...]
    reason: str


def detect() -> tuple[LocalGpu, ...]:
    """The GPUs of this machine; empty where the driver is absent (`detection` says why). Never raises."""
    return detection().gpus


def detection(
    nvml: Any = None, cuda: Callable[[str], CudaReading | None] = cuda_reading
) -> LocalGpus:
    """The GPUs of this machine and, where some or all are missing, one sentence on why.

    Args: `nvml`: the module `pynvml` or one that answers like it; `cuda`: reads the CUDA driver.
    """
    if nvml is None:
        try:
            nvml = import_module("pynvml")
        except ImportError:
            return LocalGpus((), "GPUs of this machine are not looked for: install nvidia-ml-py.")
    found: list[LocalGpu] = []
    reasons: list[str] = []
    try:
        for reading in readings(nvml):
            gpu = reading if isinstance(reading, str) else local_gpu(reading, cuda)
            if isinstance(gpu, str):
                reasons.append(gpu)
            else:
                found.append(gpu)
    except NvmlFailure as failure:
        reasons.append(str(failure))
    if not found and not reasons:
        reasons.append("The NVIDIA driver shows no GPU on this machine: pick one from the catalogue.")
    return LocalGpus(tuple(found), " ".join(reasons))


def local_gpu(reading: Reading, cuda: Callable[[str], CudaReading | None]) -> LocalGpu | str:
    """The GPU behind one reading, or a sentence on why it cannot be planned for."""
    rows = same_name().get(normalised(reading.name), ())
    from_cuda = cuda(reading.pci_bus_id) if not rows or reading.total_bytes is None else None
    total = reading.total_bytes or (from_cuda.total_bytes if from_cuda else None)
    memory = _visible_bytes(reading, from_cuda)
    if rows:
        row = _closest_memory(rows, reading.card_total_bytes or total)
        spec = row if memory is None else replace(row, memory_bytes=memory, memory_basis="measured")
        spec, notes = _as_built(spec, reading, total)
    else:
        derived = _derived(reading, from_cuda, memory)
        if isinstance(derived, str):
            return derived
        row, (spec, notes) = None, derived
    for adjust in (_power_limited, _linked, _sliced):
        spec, note = adjust(spec, reading)
        notes += note
    if reading.ecc:
        notes += ("ECC is on; the memory it takes is not counted.",)
    return LocalGpu(
        index=reading.index,
        uuid=reading.uuid,
        reported_name=reading.name,
        spec=replace(spec, notes=" ".join((spec.notes, *notes)).strip()),
        catalogue_name=None if row is None else row.name,
        in_use_bytes=reading.used_bytes if reading.reserved_bytes is None or reading.used_bytes is None
        else max(0, reading.used_bytes - reading.reserved_bytes),
        notes=notes,
    )


def _visible_bytes(reading: Reading, from_cuda: CudaReading | None) -> int | None:
    """What an engine can allocate: the total less what the driver keeps, and no more than CUDA shows."""
    cuda_total = from_cuda.total_bytes if from_cuda else None
    if reading.total_bytes is None:
        return cuda_total
    reserved = reading.reserved_bytes
    if reserved is None:
        reserved = 0 if reading.mig else int(CUDA_RESERVE_MIB * MIB)
    visible = reading.total_bytes - reserved
    return visible if cuda_total is None else min(visible, cuda_total)


def _closest_memory(rows: tuple[GpuSpec, ...], total_bytes: int | None) -> GpuSpec:
    """Among cards of one name, the one with that memory; the first where the memory is not known."""
    if total_bytes is None:
        return rows[0]
    return min(rows, key=lambda row: abs((row.nominal_memory_gib or 0.0) * GIB - total_bytes))


def _as_built(spec: GpuSpec, reading: Reading, total_bytes: int | None) -> tuple[GpuSpec, tuple[str, ...]]:
    """Another build of a catalogued card (a 48 GB RTX 4090) keeps its rates and has its own memory."""
    whole = reading.card_total_bytes or total_bytes
    nominal = (spec.nominal_memory_gib or 0.0) * GIB
    if whole is None or abs(whole - nominal) <= SAME_MEMORY * nominal:
        return spec, ()
    gib = whole / GIB
    note = f"This board has {gib:.0f} GiB where the catalogue lists {spec.nominal_memory_gib:.0f}; its rates are kept."
    return replace(spec, name=f"{spec.name} ({gib:.0f} GiB board)", nominal_memory_gib=round(gib)), (note,)


def _power_limited(spec: GpuSpec, reading: Reading) -> tuple[GpuSpec, tuple[str, ...]]:
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
    limited = replace(spec, flops=_middles(ranges), flops_range=ranges, tdp_w=limit, basis="estimated")
    return limited, (note,)


def _linked(spec: GpuSpec, reading: Reading) -> tuple[GpuSpec, tuple[str, ...]]:
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


def _sliced(spec: GpuSpec, reading: Reading) -> tuple[GpuSpec, tuple[str, ...]]:
    """A MIG slice: compute by its SMs, bandwidth and L2 by its eighths of the memory, nothing shared."""
    if reading.mig is None:
        return spec, ()
    slices = _memory_slices(reading)
    sevenths = _compute_sevenths(reading.mig.profile)
    sms = reading.mig.multiprocessors
    share = sms / spec.sm_count if sms and spec.sm_count else sevenths / 7
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
    return part, (f"MIG slice: {share:.0%} of the compute and {slices} of 8 memory slices of the card.",)


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


def _derived(
    reading: Reading, from_cuda: CudaReading | None, memory: int | None
) -> tuple[GpuSpec, tuple[str, ...]] | str:
    """An unlisted card by the formula of `derive`, or a sentence on what is missing for it."""
    capability = reading.compute_capability
    why = refusal(normalised(reading.name), capability)
    if why:
        return f"{reading.name} is not in the catalogue and its peaks cannot be derived, as {why}: type its figures in."
    clock, spread = _clock(reading, from_cuda)
    needed = {
        "memory": memory, "SM count": reading.sm_count, "clock": clock,
        "memory bus": reading.bus_bits, "memory clock": reading.memory_mhz,
    }
    missing = [what for what, value in needed.items() if not value]
    if missing or not (memory and reading.sm_count and clock and reading.bus_bits and reading.memory_mhz):
        return (
            f"{reading.name} is not in the catalogue and the driver does not tell its {', '.join(missing)}: "
            "type its figures in."
        )
    geforce = reading.brand == GEFORCE_BRAND
    peaks = peak_flops(capability, geforce, reading.sm_count, clock)
    link, link_rate = _nvlink(reading)
    spec = GpuSpec(
        name=reading.name.removeprefix("NVIDIA "),
        vendor="NVIDIA",
        architecture=ARCHITECTURE[capability],
        compute_capability=capability,
        memory_bytes=memory,
        bandwidth_bytes_per_s=memory_bandwidth(reading.bus_bits, reading.memory_mhz),
        flops=peaks,
        fp16_accumulate_flops=fp16_accumulate_peak(capability, geforce, peaks),
        l2_bytes=from_cuda.l2_bytes or None if from_cuda else None,
        sm_count=reading.sm_count,
        link_bytes_per_s=link_rate,
        link=link,
        tdp_w=reading.power_default_w,
        release_year=None,
        price_usd_per_hour=None,
        price_source="",
        basis="estimated",
        source="derived from what the NVIDIA driver reports: SMs, clock, memory bus",
        memory_basis="measured",
        nominal_memory_gib=round(memory / GIB),
        flops_range={dtype: (peak * (1 - spread), peak * (1 + spread)) for dtype, peak in peaks.items()},
        boost_mhz=clock,
    )
    return spec, (f"Not in the catalogue: peaks derived from its SMs and clock, ±{spread:.0%}.",)


def _clock(reading: Reading, from_cuda: CudaReading | None) -> tuple[float | None, float]:
    """The rated boost clock [MHz] and the spread of peaks derived from it.

    CUDA states the rated clock; NVML only the highest, which lies between the rated one and 1.26
    times it, so the middle of that span stands in.
    """
    if from_cuda and from_cuda.clock_mhz:
        return from_cuda.clock_mhz, DERIVED_SPREAD
    if not reading.sm_mhz:
        return None, DERIVED_SPREAD
    middle = reading.sm_mhz * (1 + 1 / NVML_CLOCK_OVER_BOOST) / 2
    return middle, DERIVED_SPREAD + (reading.sm_mhz / middle - 1)


def _nvlink(reading: Reading) -> tuple[str, float]:
    """Label and one-way bytes per second of the NVLinks that are up; PCIe 3.0 x16 stands in for nothing known."""
    if not reading.nvlinks or reading.nvlink_version not in NVLINK_GENERATION:
        return "PCIe 3.0 x16", pcie_bytes_per_s(3, 16)
    each = reading.nvlink_mb_per_s / 1000 if reading.nvlink_mb_per_s else NVLINK_GB_PER_S[reading.nvlink_version]
    one_way = reading.nvlinks * each
    return f"NVLink {NVLINK_GENERATION[reading.nvlink_version]} {2 * one_way:.0f} GB/s", one_way * GB


def _pcie(reading: Reading) -> tuple[float, str] | None:
    """One-way bytes per second and label of the PCIe link; None where the driver does not tell."""
    generation, lanes = reading.pcie_generation, reading.pcie_lanes
    if generation not in PCIE_GT_PER_S or not lanes:
        return None
    return pcie_bytes_per_s(generation, lanes), f"PCIe {generation}.0 x{lanes}"


def _middles(ranges: dict[str, tuple[float, float]]) -> dict[str, float]:
    return {dtype: (low + high) / 2 for dtype, (low, high) in ranges.items()}
