"""Models that an engine does not run in FP16, as their values leave its range: assets/no_fp16.csv.

Where a GPU has no BF16 either (Volta, Turing), the engine casts them to FP32, and nothing multiplied in FP16 runs.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from core.basics import tables
from core.products.engines import find
from core.products.formats import FORMATS, Format
from core.products.gpus import GpuSpec
from core.products.kernels import unsupported

TABLE: Final = "no_fp16.csv"


@dataclass(frozen=True, slots=True)
class NoHalf:
    """A family that an engine refuses to run in FP16."""

    engine: str
    family: str                # model_type
    source: str


@cache
def _refused() -> frozenset[tuple[str, str]]:
    return frozenset((row.engine, row.family) for row in tables.read(TABLE, NoHalf, ("engine", "family")))


def only_fp32(family: str, gpu: GpuSpec, engine: str) -> bool:
    """Whether the engine runs the family on that GPU in FP32 alone."""
    return (find(engine).name, family) in _refused() and unsupported(FORMATS["bf16"], gpu, engine) is not None


def too_narrow(fmt: Format, family: str, gpu: GpuSpec, engine: str) -> str | None:
    """Why weights of that format cannot be multiplied there; None where they can."""
    if fmt.name == "fp32" or not only_fp32(family, gpu, engine):
        return None
    return f"{find(engine).label} runs {family} models in BF16 or FP32 alone, and {gpu.name} has no BF16: FP32 is left."
