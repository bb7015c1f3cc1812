"""The GPUs of this machine, matched to the catalogue or derived from what the driver says."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

from core.basics.units import GIB, MIB
from core.products.gpus.catalogue import normalised, same_name
from core.products.gpus.condition import linked, power_limited, sliced
from core.products.gpus.cuda_driver import CudaReading, cuda_reading
from core.products.gpus.nvml import NvmlFailure, Reading, readings
from core.products.gpus.spec import GpuSpec
from core.products.gpus.unlisted import derived
from core.products.gpus.visible_memory import CUDA_RESERVE_MIB

# A board whose memory differs more than this from the catalogued one is another build of the card.
SAME_MEMORY: Final = 0.08


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
    """What was found. `reason` is empty, or says why some or all are missing."""

    gpus: tuple[LocalGpu, ...]
    reason: str


def detect() -> tuple[LocalGpu, ...]:
    """The GPUs of this machine; empty where the driver is absent (`detection` says why). Never raises."""
    return detection().gpus


def detection(cuda: Callable[[str], CudaReading | None] = cuda_reading) -> LocalGpus:
    """The GPUs of this machine and, where some or all are missing, why: a sentence each.

    Args: `cuda` asks the CUDA driver about the device at a PCI address.
    """
    try:
        import pynvml as nvml
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
        unlisted = derived(reading, from_cuda, memory)
        if isinstance(unlisted, str):
            return unlisted
        row, (spec, notes) = None, unlisted
    for adjust in (power_limited, linked, sliced):
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
        in_use_bytes=None if reading.used_bytes is None else max(0, reading.used_bytes - (reading.reserved_bytes or 0)),
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
