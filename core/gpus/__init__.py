"""GPUs: the catalogue, the local device through NVML, and cards that nobody listed."""

from core.gpus.catalogue import DEFAULT_GPU, catalogue, find, search
from core.gpus.spec import GpuSpec

__all__ = ["DEFAULT_GPU", "GpuSpec", "catalogue", "find", "search"]
