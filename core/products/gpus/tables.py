"""Rows of the tables of GPUs: the units of assets/gpus.csv and assets/gpu_names.csv, column by column."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from core.basics import tables
from core.basics.tables import Note, Reads, Within
from core.basics.units import TERA
from core.products.gpus.spec import PCIE_GT_PER_S, pcie_bytes_per_s

_PEAK_TFLOPS: Final = Within(0.1, 1_000_000)


class Span(NamedTuple):
    """A peak in FLOP/s, dense; low and high apart where sources dispute it."""

    low: float
    high: float


def _peak(cell: str) -> Span | None:
    """ "989.4" or "62..119", TFLOPS; None for an empty cell."""
    if not cell:
        return None
    low, dots, high = cell.partition("..")
    ends = [float(end) for end in (low, high if dots else low)]
    if not _PEAK_TFLOPS.low <= ends[0] <= ends[1] <= _PEAK_TFLOPS.high:
        raise ValueError(cell)
    return Span(ends[0] * TERA, ends[1] * TERA)


class PcieLink(NamedTuple):
    """A card's slot: "4.0 x16", and bytes per second in one direction."""

    name: str
    bytes_per_s: float


def _pcie(cell: str) -> PcieLink | None:
    """ "4.0 x16"; None for an empty cell."""
    if not cell:
        return None
    generation, lanes = (int(part) for part in cell.split(".0 x"))
    if generation not in PCIE_GT_PER_S:
        raise ValueError(cell)
    return PcieLink(cell, pcie_bytes_per_s(generation, lanes))


def _sizes(cell: str) -> tuple[int, ...]:
    """ "24 48 64"; none for an empty cell."""
    sizes = tuple(int(word) for word in cell.split())
    if not all(1 <= size <= 4096 for size in sizes):
        raise ValueError(cell)
    return sizes


def _cores(cell: str) -> tuple[int, ...]:
    """ "14 16", ascending."""
    cores = tuple(int(word) for word in cell.split())
    if not cores or not all(1 <= count <= 1000 for count in cores) or list(cores) != sorted(cores):
        raise ValueError(cell)
    return cores


Peak: TypeAlias = Annotated[Span | None, Reads(_peak, "TFLOPS as 989.4, a range as 62..119, or empty")]
Pcie: TypeAlias = Annotated[PcieLink | None, Reads(_pcie, "a generation and lanes as 4.0 x16, or empty")]
Cores: TypeAlias = Annotated[tuple[int, ...], Reads(_cores, "numbers of cores as 14 16, the most last")]
Sizes: TypeAlias = Annotated[tuple[int, ...], Reads(_sizes, "sizes in GiB as 24 48 64, or empty")]
Gib: TypeAlias = Annotated[float, Within(1, 4096)]
Mib: TypeAlias = Annotated[float, Within(1024, 4_194_304)]


@dataclass(frozen=True, slots=True)
class GpuRow:
    """One accelerator of assets/gpus.csv."""

    name: str
    vendor: str
    architecture: str
    capability: Note                 # compute capability, gfx name; empty: none is published
    memory: Note                     # kind: HBM3, GDDR6, ...
    memory_gib: Gib                  # as sold
    memory_options: Sizes            # every size it is sold with, where there are several [GiB]
    driver_mib: Mib | None           # as nvidia-smi totals it
    engine_mib: Mib | None           # as CUDA shows it
    bandwidth_gb_s: Annotated[float, Within(10, 100_000)]
    fp32: Peak
    fp16: Peak
    bf16: Peak
    fp8: Peak
    int8: Peak
    fp4: Peak
    int4: Peak
    fp16_acc16: Annotated[float, _PEAK_TFLOPS] | None
    peak_basis: Literal["datasheet", "formula", "announced"]
    boost_mhz: Annotated[float, Within(100, 10_000)] | None
    sms: Annotated[int, Within(1, 10_000)] | None
    l2_mb: Annotated[float, Within(0.1, 10_000)] | None
    link: Note
    link_one_way_gb_s: Annotated[float, Within(1, 10_000)] | None
    link_gpus: Annotated[int, Within(1, 100_000)] | None
    pcie: Pcie
    tdp_w: Annotated[float, Within(1, 10_000)] | None
    year: Annotated[int, Within(2000, 2100)] | None
    source: str
    note: Note


@dataclass(frozen=True, slots=True)
class NameRow:
    """Another name of an accelerator: assets/gpu_names.csv."""

    alias: str
    gpu: str
    kind: Literal["driver", "short", "assumed", "unclear"]  # assumed: the first of several; unclear: say which
    source: str


@dataclass(frozen=True, slots=True)
class CoresRow:
    """The numbers of GPU cores a chip is sold with: assets/gpu_cores.csv."""

    gpu: str
    cores: Cores                     # the last is that of the row in assets/gpus.csv
    source: str


@cache
def gpu_rows() -> tuple[GpuRow, ...]:
    """assets/gpus.csv."""
    return tables.read("gpus.csv", GpuRow, ("name",))


@cache
def name_rows() -> tuple[NameRow, ...]:
    """assets/gpu_names.csv."""
    return tables.read("gpu_names.csv", NameRow, ("alias", "gpu"))


@cache
def cores_sold() -> Mapping[str, tuple[int, ...]]:
    """Name of a chip -> the numbers of GPU cores it is sold with, the most last."""
    return {row.gpu: row.cores for row in tables.read("gpu_cores.csv", CoresRow, ("gpu",))}
