"""GPUs: the catalogue, the local device through NVML, and cards that nobody listed."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class GpuSpec:
    """One accelerator as a planner sees it. Peaks are dense."""

    name: str
    vendor: str
    architecture: str                       # "Hopper", "Ada Lovelace", ...
    compute_capability: str                 # "9.0"; empty for other vendors
    memory_bytes: int                       # what the driver reports to an engine
    bandwidth_bytes_per_s: float
    flops: Mapping[str, float]              # dtype -> dense FLOP/s: fp32 fp16 bf16 fp8 int8 fp4 int4
    fp16_accumulate_flops: float | None     # GeForce: twice the FP32-accumulate rate
    l2_bytes: int | None
    sm_count: int | None
    link_bytes_per_s: float                 # GPU to GPU, one direction: NVLink, Infinity Fabric, else PCIe
    link: str                               # "NVLink4 900 GB/s", "PCIe 4.0 x16"
    tdp_w: float | None
    release_year: int | None
    price_usd_per_hour: float | None        # on demand, one GPU
    price_source: str
    basis: str                              # published | estimated (derived peaks) | measured
    source: str
    notes: str = ""
    aliases: tuple[str, ...] = field(default=())
