"""What a number format is expected to cost in quality, from published perplexities alone.

A figure exists only where somebody published one for that format: `assets/quality_facts.csv` holds
the perplexity of a model before and after, each row with its source. Between models the loss is
interpolated over size; where no row names the format, there is no figure.
"""

import csv
from dataclasses import dataclass
from functools import cache
from math import exp, log, log2
from pathlib import Path
from typing import Final

from core.formats import Format, KvFormat
from core.models import ModelSpec
from core.terms import Basis, Estimate

_TABLE: Final = Path(__file__).parent.parent / "assets" / "quality_facts.csv"
REFERENCE_BITS: Final = 16.0
NO_FIGURE: Final = "no published figure"
_SIZE_OCTAVES: Final = 2.0      # a figure counts e^-1/2 as much at four times the size
_STRANGER: Final = 0.25         # weight of another family's figure: losses differ about 3x between families
_SPREAD: Final = 0.40           # log spread of one published figure for another model: 8B models, AWQ, 0.023-0.065
_SPREAD_PER_OCTAVE: Final = 0.15
_TO_80_PERCENT: Final = 1.28    # standard deviations that an 80 % range reaches


@dataclass(frozen=True, slots=True)
class Published:
    """The perplexity of one model in one format, and of the same model in 16 bits."""

    model: str
    family: str
    params_billion: float
    weights: str
    kv_cache: str               # empty: 16 bits
    method: str
    loss: float                 # relative increase of perplexity
    source: str


@cache
def published() -> tuple[Published, ...]:
    """Every published loss at hand."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                model=row["model"],
                family=row["family"],
                params_billion=float(row["params_billion"]),
                weights=row["weights"],
                kv_cache=row["kv_cache"],
                method=row["method"],
                loss=float(row["perplexity"]) / float(row["baseline_perplexity"]) - 1,
                source=row["source"],
            )
            for row in csv.DictReader(file)
        )


def expected_loss(spec: ModelSpec, weights: Format, kv: KvFormat) -> Estimate | None:
    """Relative increase of perplexity against the checkpoint as its makers ship it; None without a figure.

    A format the repository ships is the reference and costs nothing more, and so is a KV cache format
    it was calibrated for.
    """
    kv_known = kv.bits_per_value >= REFERENCE_BITS or (spec.shipped and spec.shipped.kv_format == kv.name)
    if is_reference(spec, weights) and kv_known:
        return Estimate(0.0, 0.0, 0.0, Basis.PUBLISHED, "the format of the checkpoint")
    rows = [row for row in published() if row.weights == weights.name and (kv_known or row.kv_cache == kv.name)]
    if not rows:
        return None
    own = [row for row in rows if row.model.lower() == spec.name.lower()]
    return _spread(own) if own else _interpolated(spec, rows)


def is_reference(spec: ModelSpec, weights: Format) -> bool:
    """Whether these weights are the checkpoint's own, or 16 bits and more."""
    as_shipped = spec.shipped is not None and spec.shipped.format == weights.name
    return as_shipped or (weights.bits_per_weight >= REFERENCE_BITS)


def _spread(rows: list[Published]) -> Estimate:
    """Published figures of this very model: their mean and their span."""
    losses = [row.loss for row in rows]
    return Estimate(sum(losses) / len(losses), min(losses), max(losses), Basis.PUBLISHED, _sources(rows))


def _interpolated(spec: ModelSpec, rows: list[Published]) -> Estimate:
    """Figures of other models, nearer in size and family counting more: a weighted mean in logs."""
    size = spec.total_params / 1e9
    octaves = [abs(log2(size / row.params_billion)) for row in rows]
    weights = [
        exp(-0.5 * (octave / _SIZE_OCTAVES) ** 2) * (1.0 if row.family in spec.name.lower() else _STRANGER)
        for octave, row in zip(octaves, rows, strict=True)
    ]
    total = sum(weights)
    if not total:                                  # hundreds of times larger or smaller than any row
        weights, total = [1.0] * len(rows), float(len(rows))
    logs = [log(max(row.loss, 1e-5)) for row in rows]
    mean = sum(w * x for w, x in zip(weights, logs, strict=True)) / total
    scatter = sum(w * (x - mean) ** 2 for w, x in zip(weights, logs, strict=True)) / total
    spread = (scatter + (_SPREAD + _SPREAD_PER_OCTAVE * min(octaves)) ** 2) ** 0.5 * _TO_80_PERCENT
    return Estimate(exp(mean), exp(mean - spread), exp(mean + spread), Basis.ESTIMATED, _sources(rows))


def _sources(rows: list[Published]) -> str:
    return "; ".join(dict.fromkeys(f"{row.source} ({row.model.split('/')[-1]})" for row in rows))
