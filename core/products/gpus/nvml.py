"""What the NVIDIA driver says about the GPUs of this machine, through NVML.

Any call may be unsupported on a given card, so each is asked for itself and answers None then
(NVML API reference, "NVML_ERROR_NOT_SUPPORTED"). NVML ignores CUDA_VISIBLE_DEVICES.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Final

CORES_PER_SM_64: Final = frozenset({"6.0", "7.0", "7.2", "7.5", "8.0"})     # others: 128
# One direction of one link [GB/s] by NVML version number; NVIDIA: 20 (NVLink 1), 25 (2, 3, 4), 50 (5), 100 (6).
NVLINK_GB_PER_S: Final = {1: 20.0, 2: 25.0, 3: 25.0, 4: 25.0, 5: 25.0, 6: 25.0, 7: 50.0, 8: 100.0}
NVLINK_GENERATION: Final = {1: 1, 2: 2, 3: 2, 4: 3, 5: 3, 6: 4, 7: 5, 8: 6}


@dataclass(frozen=True, slots=True)
class MigSlice:
    """A part of a card that its administrator set apart (Multi-Instance GPU)."""

    profile: str            # "1g.10gb"
    multiprocessors: int | None


@dataclass(frozen=True, slots=True)
class Reading:
    """One GPU, or one MIG slice of it, as the driver describes it; None: the driver would not say."""

    index: int
    name: str
    uuid: str
    pci_bus_id: str
    total_bytes: int | None
    reserved_bytes: int | None
    used_bytes: int | None
    compute_capability: str
    brand: int | None
    sm_count: int | None
    bus_bits: int | None
    memory_mhz: int | None
    sm_mhz: int | None
    nvlinks: int                        # active now
    nvlink_version: int | None
    nvlink_mb_per_s: int | None         # one link, one direction
    pcie_generation: int | None
    pcie_lanes: int | None
    power_limit_w: float | None
    power_default_w: float | None
    ecc: bool | None
    card_total_bytes: int | None        # of the whole card, for a slice
    mig: MigSlice | None = None


class NvmlFailure(Exception):
    """NVML would not start; the message is one sentence for a person."""


def readings(nvml: Any) -> Iterator[Reading | str]:
    """Each GPU or MIG slice of this machine, or a sentence on why one cannot be read.

    Args: `nvml` is the module `pynvml`. Raises NvmlFailure where the driver is absent or refuses.
    """
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        raise NvmlFailure(_why_not(nvml, error)) from error
    try:
        for index in range(_ask(nvml, nvml.nvmlDeviceGetCount) or 0):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                yield from _readings_of_card(nvml, handle, index)
            except nvml.NVMLError as error:
                yield f"GPU {index} does not answer ({error}): check it with nvidia-smi."
    finally:
        _ask(nvml, nvml.nvmlShutdown)


def _why_not(nvml: Any, error: Any) -> str:
    reasons = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND:
            "No NVIDIA driver on this machine: pick a GPU from the catalogue.",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED:
            "The NVIDIA driver is installed but not running: check it with nvidia-smi.",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH:
            "The NVIDIA driver was updated while in use: restart this machine.",
        nvml.NVML_ERROR_NO_PERMISSION:
            "This user may not talk to the NVIDIA driver: ask for access to the GPU devices.",
    }
    return reasons.get(error.value, f"The NVIDIA driver does not answer ({error}): check it with nvidia-smi.")


def _ask(nvml: Any, call: Callable[..., Any], *args: Any) -> Any:
    """What one call answers, or None where this card or driver does not support it."""
    try:
        return call(*args)
    except nvml.NVMLError:
        return None


def _readings_of_card(nvml: Any, handle: Any, index: int) -> Iterator[Reading | str]:
    card = _reading(nvml, handle, index)
    mode = _ask(nvml, nvml.nvmlDeviceGetMigMode, handle)
    if mode is None or mode[0] != nvml.NVML_DEVICE_MIG_ENABLE:
        yield card
        return
    slices = list(_slices(nvml, handle, card))
    if not slices:
        yield f"{card.name} (GPU {index}) is in MIG mode without instances: create one, or turn MIG off."
    yield from slices


def _slices(nvml: Any, handle: Any, card: Reading) -> Iterator[Reading]:
    for position in range(_ask(nvml, nvml.nvmlDeviceGetMaxMigDeviceCount, handle) or 0):
        part = _ask(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, handle, position)
        if part is None:
            continue        # an empty place
        name = _ask(nvml, nvml.nvmlDeviceGetName, part) or f"{card.name} MIG"
        attributes = _ask(nvml, nvml.nvmlDeviceGetAttributes_v2, part)
        total, reserved, used = _memory(nvml, part)
        if total is None and attributes is not None:
            total = attributes.memorySizeMB * 2**20
        yield replace(
            card,
            name=name,
            uuid=_ask(nvml, nvml.nvmlDeviceGetUUID, part) or "",
            total_bytes=total,
            reserved_bytes=reserved,
            used_bytes=used,
            nvlinks=0,      # slices cannot reach each other's memory
            mig=MigSlice(
                profile=name.partition(" MIG ")[2],
                multiprocessors=None if attributes is None else int(attributes.multiprocessorCount),
            ),
        )


def _reading(nvml: Any, handle: Any, index: int) -> Reading:
    total, reserved, used = _memory(nvml, handle)
    major_minor = _ask(nvml, nvml.nvmlDeviceGetCudaComputeCapability, handle)
    capability = "" if major_minor is None else f"{major_minor[0]}.{major_minor[1]}"
    cores = _ask(nvml, nvml.nvmlDeviceGetNumGpuCores, handle)
    pci = _ask(nvml, nvml.nvmlDeviceGetPciInfo, handle)
    limit = _ask(nvml, nvml.nvmlDeviceGetEnforcedPowerLimit, handle)
    default = _ask(nvml, nvml.nvmlDeviceGetPowerManagementDefaultLimit, handle)
    ecc = _ask(nvml, nvml.nvmlDeviceGetEccMode, handle)
    links, version, speed = _nvlink(nvml, handle)
    return Reading(
        index=index,
        name=_ask(nvml, nvml.nvmlDeviceGetName, handle) or "",
        uuid=_ask(nvml, nvml.nvmlDeviceGetUUID, handle) or "",
        pci_bus_id="" if pci is None else f"{pci.domain:04x}:{pci.bus:02x}:{pci.device:02x}.0",
        total_bytes=total,
        reserved_bytes=reserved,
        used_bytes=used,
        compute_capability=capability,
        brand=_ask(nvml, nvml.nvmlDeviceGetBrand, handle),
        sm_count=None if cores is None else cores // (64 if capability in CORES_PER_SM_64 else 128),
        bus_bits=_ask(nvml, nvml.nvmlDeviceGetMemoryBusWidth, handle),
        memory_mhz=_ask(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_MEM),
        sm_mhz=_ask(nvml, nvml.nvmlDeviceGetMaxClockInfo, handle, nvml.NVML_CLOCK_SM),
        nvlinks=links,
        nvlink_version=version,
        nvlink_mb_per_s=speed,
        # The highest the card and slot can do: the current generation drops to 1 or 2 at idle.
        pcie_generation=_ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkGeneration, handle),
        pcie_lanes=_ask(nvml, nvml.nvmlDeviceGetMaxPcieLinkWidth, handle),
        power_limit_w=None if limit is None else limit / 1000,
        power_default_w=None if default is None else default / 1000,
        ecc=None if ecc is None else bool(ecc[0]),
        card_total_bytes=total,
    )


def _memory(nvml: Any, handle: Any) -> tuple[int | None, int | None, int | None]:
    """Total, reserved and used bytes. Version 2 tells the reserved part; drivers before 510 lack it."""
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle, nvml.nvmlMemory_v2)
    if memory is not None:
        return int(memory.total), int(memory.reserved), int(memory.used)
    memory = _ask(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return (None, None, None) if memory is None else (int(memory.total), None, int(memory.used))


def _nvlink(nvml: Any, handle: Any) -> tuple[int, int | None, int | None]:
    """Active links, their version number, and MB/s of one link in one direction."""
    active = [
        link for link in range(int(nvml.NVML_NVLINK_MAX_LINKS))
        if _ask(nvml, nvml.nvmlDeviceGetNvLinkState, handle, link) == nvml.NVML_FEATURE_ENABLED
    ]
    if not active:
        return 0, None, None
    version = _ask(nvml, nvml.nvmlDeviceGetNvLinkVersion, handle, active[0])
    fields = _ask(nvml, nvml.nvmlDeviceGetFieldValues, handle, [nvml.NVML_FI_DEV_NVLINK_SPEED_MBPS_COMMON])
    answered = fields is not None and fields[0].nvmlReturn == nvml.NVML_SUCCESS
    return len(active), version, int(fields[0].value.uiVal) if answered else None
