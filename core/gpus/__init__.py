"""GPUs: the catalogue, the local device through NVML, and cards that nobody listed."""

from core.gpus.catalogue import DEFAULT_GPU, catalogue, find, search
from core.gpus.custom import custom
from core.gpus.detection import LocalGpu, LocalGpus, detect, detection
from core.gpus.prices import Quote, all_quotes, quotes
from core.gpus.spec import GpuSpec

__all__ = [
    "DEFAULT_GPU",
    "GpuSpec",
    "LocalGpu",
    "LocalGpus",
    "Quote",
    "all_quotes",
    "catalogue",
    "custom",
    "detect",
    "detection",
    "find",
    "quotes",
    "search",
]
