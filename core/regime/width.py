"""Why a range is as wide as it is: what the cross-validated errors of such cases have been."""

from dataclasses import dataclass
from math import log
from typing import Final

from core.efficiency import labels, load, spread
from core.models import ModelSpec
from core.terms import Deployment, Estimate

LEVEL_WORDS: Final = {
    "engine": "engine", "kernel": "kind of kernel", "architecture": "GPU generation", "sparsity": "dense or experts",
    "layout": "GPUs", "load": "load",
}


@dataclass(frozen=True, slots=True)
class Widening:
    """What one property of the case does to the range."""

    level: str                 # words of `LEVEL_WORDS`
    label: str                 # of this case
    factor: float              # on the half-width; above 1 widens
    published: bool            # figures of that kind were among the published ones


@dataclass(frozen=True, slots=True)
class Width:
    """A range taken apart: half-width = base x factors [log]."""

    half_width: float
    base: float
    parts: tuple[Widening, ...]


def width(spec: ModelSpec, deployment: Deployment, estimate: Estimate, metric: str) -> Width:
    """The range of an estimate of "tpot", "ttft" or "throughput" taken apart, largest effect first.

    What the properties of model and deployment leave unexplained is the kind of load.
    """
    learnt = load().spreads.get(metric, spread.Spread())
    kinds = spread.kinds(labels(((spec, deployment),)))
    parts = [_widening(learnt, level, label) for level, (label,) in kinds.items()]
    half_width = log(estimate.high / estimate.value)
    rest = half_width / learnt.base
    for part in parts:
        rest /= part.factor
    kind = min(spread.LOADS, key=lambda name: abs(learnt.factor("load", name) - rest))
    parts.append(Widening(LEVEL_WORDS["load"], kind, rest, True))
    return Width(half_width, learnt.base, tuple(sorted(parts, key=lambda part: -abs(log(part.factor)))))


def _widening(learnt: spread.Spread, level: str, label: str) -> Widening:
    known = label in learnt.factors.get(level, {})
    return Widening(LEVEL_WORDS.get(level, level), label, learnt.factor(level, label), known)
