"""The few device attributes that only the CUDA driver states: the rated clock and the memory it shows.

NVML's highest SM clock is up to 26 % above the rated boost on GeForce cards (3105 against 2520 MHz
on an RTX 4090), and it cannot read the memory of a system on a chip. libcuda answers both without
creating a context, so no GPU memory is taken.
"""

import ctypes
import os
from dataclasses import dataclass
from typing import Any, Final

LIBRARY: Final = "nvcuda.dll" if os.name == "nt" else "libcuda.so.1"
CU_DEVICE_ATTRIBUTE_CLOCK_RATE: Final = 13      # kHz; numbers of enum CUdevice_attribute in cuda.h
CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE: Final = 38   # bytes


@dataclass(frozen=True, slots=True)
class CudaReading:
    """What the CUDA driver says of one device."""

    clock_mhz: float
    l2_bytes: int
    total_bytes: int


def cuda_reading(pci_bus_id: str, library: Any = None) -> CudaReading | None:
    """The device at a PCI address ("00000000:3B:00.0"), or None where CUDA is absent or hides it."""
    try:
        cuda = library or ctypes.CDLL(LIBRARY)
    except OSError:
        return None
    device = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetByPCIBusId(ctypes.byref(device), pci_bus_id.encode()):
        return None
    total = ctypes.c_size_t()
    if cuda.cuDeviceTotalMem_v2(ctypes.byref(total), device):
        return None
    clock_khz = _attribute(cuda, CU_DEVICE_ATTRIBUTE_CLOCK_RATE, device)
    l2_bytes = _attribute(cuda, CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE, device)
    return CudaReading(clock_khz / 1000, l2_bytes, total.value)


def _attribute(cuda: Any, attribute: int, device: ctypes.c_int) -> int:
    """A device attribute; 0 where the driver does not know it."""
    value = ctypes.c_int()
    return 0 if cuda.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) else value.value
