"""GPUs: the catalogue, the local device through NVML, and cards that nobody listed."""

from core.products.gpus.catalogue import DEFAULT_GPU, catalogue, closest, reported_as, search
from core.products.gpus.custom import RANGES, VENDORS, custom
from core.products.gpus.detection import LocalGpu, LocalGpus, detect, detection
from core.products.gpus.naming import Meant, find, meant
from core.products.gpus.prices import Quote, all_quotes, quotes
from core.products.gpus.spec import GpuSpec

__all__ = [
    "DEFAULT_GPU",
    "RANGES",
    "VENDORS",
    "GpuSpec",
    "LocalGpu",
    "LocalGpus",
    "Meant",
    "Quote",
    "all_quotes",
    "catalogue",
    "closest",
    "custom",
    "detect",
    "detection",
    "find",
    "meant",
    "quotes",
    "reported_as",
    "search",
]
