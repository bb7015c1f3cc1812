"""libnvidia-ml and libcuda as ctypes sees them, for tests on machines without a GPU.

`pynvml` is the real module: only the shared library under it is ours, so its structures, error codes
and string handling are exercised. Functions that a card does not support return the code that NVIDIA's
API reference documents; functions that an old driver lacks do not exist at all.
"""

import ctypes
from dataclasses import dataclass, field

SUCCESS, INVALID_ARGUMENT, NOT_SUPPORTED, NOT_FOUND, INSUFFICIENT_SIZE, GPU_IS_LOST = 0, 2, 3, 6, 7, 15
MIB = 2**20


@dataclass
class Slice:
    """A MIG instance."""

    name: str
    multiprocessors: int
    total_mib: int


@dataclass
class Card:
    """What the driver answers about one card; None: the call is not supported."""

    name: str
    total_mib: int | None = 24564
    reserved_mib: int = 500
    used_mib: int = 1000                # version 2 counts the reserved part as used
    capability: tuple[int, int] | None = (8, 9)
    brand: int = 5
    cores: int | None = 16384
    bus_bits: int | None = 384
    memory_mhz: int | None = 10501
    sm_mhz: int | None = 3105
    nvlinks: int = 0
    nvlink_version: int = 6
    nvlink_mb_per_s: int | None = None
    pcie: tuple[int, int] | None = (4, 16)
    power_limit_w: int | None = 450
    power_default_w: int | None = 450
    ecc: bool | None = None
    mig: bool | None = None
    slices: list[Slice] = field(default_factory=list)
    lost: bool = False
    sm_now_mhz: int | None = 1980
    event_reasons: int = 0
    power_w: int = 350
    celsius: int = 55
    busy_percent: int = 0
    processes: int = 1


def h100(**changes):
    """An H100 SXM5: nvidia-smi 81559 MiB of which 551 are reserved."""
    return Card(**{
        "name": "NVIDIA H100 80GB HBM3", "total_mib": 81559, "reserved_mib": 551, "used_mib": 551,
        "capability": (9, 0), "brand": 14, "cores": 16896, "bus_bits": 5120, "memory_mhz": 2619, "sm_mhz": 1980,
        "nvlinks": 18, "pcie": (5, 16), "power_limit_w": 700, "power_default_w": 700, "ecc": True, "mig": False,
    } | changes)


def rtx4090(**changes):
    """A GeForce RTX 4090: no MIG, ECC or NVLink calls."""
    return Card(**{"name": "NVIDIA GeForce RTX 4090"} | changes)


def _put(pointer, value):
    pointer._obj.value = value
    return SUCCESS


def _put_or_refuse(pointer, value):
    return NOT_SUPPORTED if value is None else _put(pointer, value)


class NvmlLibrary:
    """The functions of libnvidia-ml.so.1 that detection calls, over a list of cards."""

    def __init__(self, cards, init_code=SUCCESS, missing=()):
        self.cards = cards
        self.init_code = init_code
        self.missing = set(missing)
        self.shut_down = 0

    def __getattribute__(self, name):
        if name.startswith("nvml") and name in object.__getattribute__(self, "missing"):
            raise AttributeError(name)
        return object.__getattribute__(self, name)

    # Handles: card i is address i + 1; slice j of it is 1000 * (i + 1) + j.
    def _card(self, handle):
        address = ctypes.cast(handle, ctypes.c_void_p).value
        return self.cards[(address // 1000 or address) - 1]

    def _slice(self, handle):
        address = ctypes.cast(handle, ctypes.c_void_p).value
        return self.cards[address // 1000 - 1].slices[address % 1000] if address >= 1000 else None

    @staticmethod
    def _address(pointer, address):
        ctypes.memmove(pointer, ctypes.byref(ctypes.c_void_p(address)), ctypes.sizeof(ctypes.c_void_p))
        return SUCCESS

    def nvmlInitWithFlags(self, flags):  # noqa: N802 - the library's own name, as all below
        return self.init_code

    def nvmlInit_v2(self):  # noqa: N802
        return self.init_code

    def nvmlShutdown(self):  # noqa: N802
        self.shut_down += 1
        return SUCCESS

    def nvmlErrorString(self, code):  # noqa: N802
        return {GPU_IS_LOST: b"GPU is lost"}.get(code, b"Unknown Error")

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        return _put(count, len(self.cards))

    def nvmlDeviceGetHandleByIndex_v2(self, index, handle):  # noqa: N802
        if self.cards[index.value].lost:
            return GPU_IS_LOST
        return self._address(handle, index.value + 1)

    def nvmlDeviceGetName(self, handle, text, length):  # noqa: N802
        text.value = (self._slice(handle) or self._card(handle)).name.encode()
        return SUCCESS

    def nvmlDeviceGetUUID(self, handle, text, length):  # noqa: N802
        text.value = b"MIG-1" if self._slice(handle) else b"GPU-1"
        return SUCCESS

    def nvmlDeviceGetPciInfo_v3(self, handle, info):  # noqa: N802
        info._obj.domain, info._obj.bus, info._obj.device = 0, self.cards.index(self._card(handle)) + 0x3B, 0
        return SUCCESS

    def nvmlDeviceGetMemoryInfo_v2(self, handle, memory):  # noqa: N802
        part, card = self._slice(handle), self._card(handle)
        total = part.total_mib if part else card.total_mib
        if total is None:
            return NOT_SUPPORTED
        memory._obj.total = total * MIB
        memory._obj.reserved = 0 if part else card.reserved_mib * MIB
        memory._obj.used = 0 if part else card.used_mib * MIB
        return SUCCESS

    def nvmlDeviceGetMemoryInfo(self, handle, memory):  # noqa: N802
        card = self._card(handle)
        if card.total_mib is None:
            return NOT_SUPPORTED
        memory._obj.total, memory._obj.used = card.total_mib * MIB, card.used_mib * MIB
        return SUCCESS

    def nvmlDeviceGetCudaComputeCapability(self, handle, major, minor):  # noqa: N802
        card = self._card(handle)
        if card.capability is None:
            return NOT_SUPPORTED
        _put(major, card.capability[0])
        return _put(minor, card.capability[1])

    def nvmlDeviceGetBrand(self, handle, brand):  # noqa: N802
        return _put(brand, self._card(handle).brand)

    def nvmlDeviceGetNumGpuCores(self, handle, cores):  # noqa: N802
        return _put_or_refuse(cores, self._card(handle).cores)

    def nvmlDeviceGetMemoryBusWidth(self, handle, bits):  # noqa: N802
        return _put_or_refuse(bits, self._card(handle).bus_bits)

    def nvmlDeviceGetMaxClockInfo(self, handle, kind, mhz):  # noqa: N802
        card = self._card(handle)
        return _put_or_refuse(mhz, {1: card.sm_mhz, 2: card.memory_mhz}[getattr(kind, "value", kind)])

    def nvmlSystemGetDriverVersion(self, text, length):  # noqa: N802
        text.value = b"580.159.04"
        return SUCCESS

    def nvmlDeviceGetHandleByUUID(self, uuid, handle):  # noqa: N802
        return self._address(handle, 1) if uuid.value == b"GPU-1" else NOT_FOUND

    def nvmlDeviceGetClockInfo(self, handle, kind, mhz):  # noqa: N802
        card = self._card(handle)
        return _put_or_refuse(mhz, {1: card.sm_now_mhz, 2: card.memory_mhz}[getattr(kind, "value", kind)])

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle, reasons):  # noqa: N802
        return _put(reasons, self._card(handle).event_reasons)

    def nvmlDeviceGetPowerUsage(self, handle, milliwatts):  # noqa: N802
        return _put(milliwatts, self._card(handle).power_w * 1000)

    def nvmlDeviceGetTemperature(self, handle, sensor, celsius):  # noqa: N802
        return _put(celsius, self._card(handle).celsius)

    def nvmlDeviceGetUtilizationRates(self, handle, rates):  # noqa: N802
        rates._obj.gpu = self._card(handle).busy_percent
        return SUCCESS

    def nvmlDeviceGetComputeRunningProcesses_v3(self, handle, count, processes):  # noqa: N802
        running = self._card(handle).processes
        enough = processes is not None or not running
        _put(count, running)
        return SUCCESS if enough else INSUFFICIENT_SIZE

    def nvmlDeviceGetNvLinkState(self, handle, link, state):  # noqa: N802
        card = self._card(handle)
        if not card.nvlinks:
            return NOT_SUPPORTED
        number = getattr(link, "value", link)
        return _put(state, 1) if number < card.nvlinks else INVALID_ARGUMENT

    def nvmlDeviceGetNvLinkVersion(self, handle, link, version):  # noqa: N802
        return _put(version, self._card(handle).nvlink_version)

    def nvmlDeviceGetFieldValues(self, handle, count, values):  # noqa: N802
        speed = self._card(handle).nvlink_mb_per_s
        answer = values._obj[0]
        answer.nvmlReturn = NOT_SUPPORTED if speed is None else SUCCESS
        answer.value.uiVal = speed or 0
        return SUCCESS

    def nvmlDeviceGetMaxPcieLinkGeneration(self, handle, generation):  # noqa: N802
        pcie = self._card(handle).pcie
        return _put_or_refuse(generation, pcie and pcie[0])

    def nvmlDeviceGetMaxPcieLinkWidth(self, handle, lanes):  # noqa: N802
        pcie = self._card(handle).pcie
        return _put_or_refuse(lanes, pcie and pcie[1])

    def nvmlDeviceGetEnforcedPowerLimit(self, handle, milliwatts):  # noqa: N802
        limit = self._card(handle).power_limit_w
        return _put_or_refuse(milliwatts, limit and limit * 1000)

    def nvmlDeviceGetPowerManagementDefaultLimit(self, handle, milliwatts):  # noqa: N802
        limit = self._card(handle).power_default_w
        return _put_or_refuse(milliwatts, limit and limit * 1000)

    def nvmlDeviceGetEccMode(self, handle, current, pending):  # noqa: N802
        ecc = self._card(handle).ecc
        if ecc is None:
            return NOT_SUPPORTED
        _put(current, int(ecc))
        return _put(pending, int(ecc))

    def nvmlDeviceGetMigMode(self, handle, current, pending):  # noqa: N802
        mig = self._card(handle).mig
        if mig is None:
            return NOT_SUPPORTED
        _put(current, int(mig))
        return _put(pending, int(mig))

    def nvmlDeviceGetMaxMigDeviceCount(self, handle, count):  # noqa: N802
        return _put(count, 7)

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle, index, part):  # noqa: N802
        card, position = self._card(handle), getattr(index, "value", index)
        if position >= len(card.slices):
            return NOT_FOUND
        return self._address(part, 1000 * (self.cards.index(card) + 1) + position)

    def nvmlDeviceGetAttributes_v2(self, handle, attributes):  # noqa: N802
        part = self._slice(handle)
        if part is None:
            return NOT_SUPPORTED
        attributes._obj.multiprocessorCount = part.multiprocessors
        attributes._obj.memorySizeMB = part.total_mib
        return SUCCESS


class CudaLibrary:
    """The functions of libcuda.so.1 that detection calls, for one device."""

    def __init__(self, clock_khz, total_mib, l2_bytes=0, hidden=False):
        self.clock_khz, self.total_mib, self.l2_bytes, self.hidden = clock_khz, total_mib, l2_bytes, hidden

    def cuInit(self, flags):  # noqa: N802
        return 0

    def cuDeviceGetByPCIBusId(self, device, bus_id):  # noqa: N802
        assert bus_id == b"0000:3b:00.0"
        return 101 if self.hidden else _put(device, 0)     # CUDA_ERROR_INVALID_DEVICE

    def cuDeviceTotalMem_v2(self, total, device):  # noqa: N802
        return _put(total, self.total_mib * MIB)

    def cuDeviceGetAttribute(self, value, attribute, device):  # noqa: N802
        return _put(value, {13: self.clock_khz, 38: self.l2_bytes}[attribute])
