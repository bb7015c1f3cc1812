"""Which number format runs on which GPU generation with which engine, and the reason where it does not."""

from dataclasses import dataclass
from functools import cache

from core.products.engines import ENGINES
from core.products.formats import Format
from core.products.gpus import GpuSpec, catalogue
from core.products.kernels import pointless


@dataclass(frozen=True, slots=True)
class Generation:
    """GPUs that share their kernels, and one of them to speak for all."""

    name: str                  # architecture, and the compute capability of an NVIDIA one
    vendor: str
    example: GpuSpec


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a format runs somewhere."""

    where: str
    reason: str | None         # None: it runs


@cache
def generations() -> tuple[Generation, ...]:
    """The generations of the catalogue in its order; announced ones, whose kernels nobody has seen, left out."""
    found: dict[tuple[str, str], Generation] = {}
    for gpu in catalogue():
        capability = f" {gpu.compute_capability}" if gpu.vendor == "NVIDIA" else ""
        name = gpu.architecture + capability
        if not gpu.announced:
            found.setdefault((gpu.vendor, name), Generation(name, gpu.vendor, gpu))
    return tuple(found.values())


@cache
def by_generation(fmt: Format, engine: str) -> tuple[Verdict, ...]:
    """On which generations the format runs with that engine."""
    return tuple(Verdict(each.name, pointless(fmt, each.example, engine)) for each in generations())


def by_engine(fmt: Format, gpu: GpuSpec) -> tuple[Verdict, ...]:
    """With which engines the format runs on that GPU."""
    return tuple(Verdict(engine.label, pointless(fmt, gpu, name)) for name, engine in ENGINES.items())


@cache
def runs_on(fmt: Format, engine: str) -> str:
    """The architectures a format runs on, with the capabilities where only some of one do."""
    verdicts: dict[str, list[tuple[str, bool]]] = {}
    for each in generations():
        runs = pointless(fmt, each.example, engine) is None
        verdicts.setdefault(each.example.architecture, []).append((each.example.compute_capability, runs))
    whole = [
        name if all(runs for _, runs in seen) else f"{name} {' '.join(capability for capability, runs in seen if runs)}"
        for name, seen in verdicts.items()
        if any(runs for _, runs in seen)
    ]
    return ", ".join(whole)
