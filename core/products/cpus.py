"""Processors that hold and multiply weights in host memory: what reaches them by name, or by a bandwidth typed in."""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal

from core.basics import tables
from core.basics.errors import InputError
from core.basics.tables import Within
from core.basics.units import GB
from core.products.gpus import GpuSpec

NONE: Final = "none"            # a GPU's name where there is none
CPU: Final = "CPU"              # its vendor then
_GB_S_PER_CORE: Final = 7.0      # channels are built for as many cores as can use them: EPYC 9004 with 64
_CORES: Final = re.compile(r"(\d+)-cores?\b|\b(\d+)p\+")
_AMD: Final = re.compile(r"amd|ryzen|epyc|threadripper|\bzen")


@dataclass(frozen=True, slots=True)
class CpuRow:
    """A kind of processor: a row of assets/cpus.csv. The first whose pattern is in a name is meant."""

    pattern: str                   # regular expression, small letters
    label: str
    bandwidth_gb_s: Annotated[float, Within(1, 4000)]     # of every channel at its usual rate
    cores: Annotated[int, Within(1, 512)]                 # usual ones of the kind; a name may say
    kind: Literal["avx512", "avx2", "avx", "sse", "neon", "apple"]     # widest vectors that it multiplies with
    source: str


@dataclass(frozen=True, slots=True)
class Host:
    """The host's side of a deployment."""

    name: str
    bandwidth_bytes_per_s: float   # peak of its memory
    cores: int
    kind: str
    is_typed: bool = False         # its bandwidth was given, not looked up

    @property
    def maker(self) -> str:
        """Whose memory controller: constants go by it."""
        return "apple" if self.kind == "apple" else "amd" if _AMD.search(self.name.lower()) else "intel"


@lru_cache(maxsize=1)
def _rows() -> tuple[CpuRow, ...]:
    return tables.read("cpus.csv", CpuRow)


@lru_cache(maxsize=2048)
def find(name: str, bandwidth_gb_s: float | None = None) -> Host:
    """The processor of that name, with the bandwidth of its memory where it is known better.

    Raises InputError for a name that no row covers, unless the bandwidth is given.
    """
    said = name.lower()
    row = next((row for row in _rows() if re.search(row.pattern, said)), None)
    if row is None:
        if bandwidth_gb_s is None:
            raise InputError(f"No figures for a processor named '{name[:60]}': give cpu_bandwidth_gb_per_s.")
        return typed(bandwidth_gb_s)
    counted = _CORES.search(said)
    cores = int(counted[1] or counted[2]) if counted else row.cores
    bandwidth = (bandwidth_gb_s or row.bandwidth_gb_s) * GB
    return Host(name, bandwidth, cores, row.kind, bandwidth_gb_s is not None)


def typed(bandwidth_gb_s: float) -> Host:
    """A processor of which only the memory's bandwidth is known: channels x rate x 8 bytes."""
    cores = max(8, round(bandwidth_gb_s / _GB_S_PER_CORE))
    return Host("typed in", bandwidth_gb_s * GB, cores, "avx512", True)


def alone(host: Host, memory_bytes: float) -> GpuSpec:
    """The processor in a GPU's place, where there is none: its own memory holds everything."""
    return GpuSpec(
        name=host.name, vendor=CPU, architecture=host.kind, compute_capability="", memory_bytes=int(memory_bytes),
        bandwidth_bytes_per_s=host.bandwidth_bytes_per_s, flops={"fp32": 1e12, "fp16": 1e12, "bf16": 1e12},
        fp16_accumulate_flops=None, l2_bytes=None, sm_count=None, link_bytes_per_s=1e9, link="none", tdp_w=None,
        release_year=None, price_usd_per_hour=None, price_source="", basis="estimated", source="assets/cpus.csv",
        link_gpus=1,
    )
