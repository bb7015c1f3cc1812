"""Why a range is as wide as it is, in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import expm1
from typing import Final, Literal

from core.models import ModelSpec
from core.physics.efficiency import labels, load, spread
from core.terms import Deployment

NOTABLE: Final = 1.15            # factor on the half-width worth a word
_WORDS: Final = {
    "load": "{}", "engine": "the engine {}", "kernel": "{} matmuls", "architecture": "GPUs of generation {}",
    "sparsity": "models with {} layers", "layout": "{}",
}
_NAMES: Final = {"ttft": "time to first token", "tpot": "time per output token", "throughput": "throughput"}


@dataclass(frozen=True, slots=True)
class Width:
    """How wide ranges are for one kind of case, all else as usual."""

    level: str                       # one of `core.physics.efficiency.spread.LEVELS`
    label: str
    above: Mapping[str, float]       # metric -> how far above the estimate the range reaches, as a share


def widths() -> tuple[Width, ...]:
    """Every kind of case the ranges tell apart; the label "never published" stands for all others of a level."""
    known = load().spreads
    out = []
    for level in spread.LEVELS:
        labels_ = sorted({label for width in known.values() for label in width.factors.get(level, {})})
        for label in [*labels_, *(["never published"] if level in spread.NOVEL else [])]:
            out.append(Width(level, label, {
                metric: expm1(min(width.base * width.factor(level, label), spread.WIDEST))
                for metric, width in known.items()
            }))
    return tuple(out)


def why_wide(
    spec: ModelSpec, deployment: Deployment, metric: Literal["ttft", "tpot", "throughput"], load_kind: str = "",
) -> str:
    """One sentence: the range, what it rests on, and what widens it most.

    `load_kind` is one of `core.physics.efficiency.spread.LOADS`; empty when the load does not matter.
    """
    kinds = {level: names[0] for level, names in spread.kinds(labels(((spec, deployment),))).items()}
    if load_kind:
        kinds["load"] = load_kind
    known = load().spreads.get(metric, spread.Spread())
    width = known.half_width({level: (name,) for level, name in kinds.items()})[0]
    unseen = [_WORDS[level].format(name) for level, name in kinds.items()
              if level in known.unseen and name not in known.factors.get(level, {})]
    factors = {level: known.factor(level, name) for level, name in kinds.items()}
    widest = max(factors, key=lambda level: factors[level])
    start = f"80 % of published runs of this kind lie within {-expm1(-width):.0%} below and {expm1(width):.0%} above"
    if unseen:
        return f"{start} the estimated {_NAMES[metric]}; widened because none was published for {' and '.join(unseen)}."
    if factors[widest] > NOTABLE:
        return f"{start} the estimated {_NAMES[metric]}; {_WORDS[widest].format(kinds[widest])} vary most."
    return f"{start} the estimated {_NAMES[metric]}, found on models and GPUs the fit had not seen."
