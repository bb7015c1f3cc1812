"""How wide an estimate is: the 80 % range of its log error, by kind of case.

Learnt from cross-validated errors only: the half-width of a metric is a base times one factor for
each level (load, engine, kernel, architecture, experts, GPUs), shrunk towards 1 where few
architectures on GPUs were published, and an inflation where nothing of the kind was.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.physics.efficiency.labels import Labels

COVERED: Final = 0.84            # quantile that is learnt, so that 80 % of cases of unseen groups are held
LEVELS: Final = ("load", "engine", "kernel", "architecture", "sparsity", "layout")
NOVEL: Final = ("engine", "kernel", "architecture")   # levels where something unseen widens the range
SHRINK: Final = 4.0              # architectures on GPUs at which a factor is believed half
ROUNDS: Final = 6
WIDEST: Final = 1.6              # half-width beyond which a range says nothing: five times either way [log]
LOADS: Final = ("one request", "batch", "prompts only", "requests in flight", "maximum load", "near the KV limit")


@dataclass(frozen=True, slots=True)
class Spread:
    """Half-width of one metric's range [log] and what widens or narrows it."""

    base: float = 0.3
    factors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)   # level -> label -> factor
    unseen: Mapping[str, float] = field(default_factory=dict)                  # level -> factor of an unknown label

    def factor(self, level: str, label: str) -> float:
        """What a label does to the half-width; an unknown one widens it."""
        return self.factors.get(level, {}).get(label, self.unseen.get(level, 1.0))

    def half_width(self, kinds: Mapping[str, Sequence[str]]) -> NDArray[np.float64]:
        """Half-widths of rows with these labels at every level [log]."""
        width = np.full(len(next(iter(kinds.values()))), self.base)
        for level, labels in kinds.items():
            names, of_row = np.unique(np.asarray(labels, dtype=str), return_inverse=True)
            width *= np.array([self.factor(level, name) for name in names.tolist()])[of_row]
        return np.asarray(np.minimum(width, WIDEST))


def kinds(pairs: Labels) -> dict[str, tuple[str, ...]]:
    """The levels of a spread that belong to the pair, from its labels."""
    chosen = {level: pairs[level] for level in ("engine", "kernel", "architecture", "sparsity")}
    layout = tuple("one GPU" if link == "none" else "several GPUs" for link in pairs["link"])
    return {**chosen, "layout": layout}


def fitted(
    error: NDArray[np.float64], rows: Mapping[str, NDArray[np.str_]], fold: NDArray[np.intp],
) -> Spread:
    """Base and factors from absolute log errors of rows whose fit never saw their fold."""
    weight = _fold_weights(fold)
    base = _quantile(error, weight)
    width = np.full(len(error), base)
    factors: dict[str, dict[str, float]] = {level: {} for level in LEVELS}
    for _ in range(ROUNDS):
        for level in LEVELS:
            for name in np.unique(rows[level]).tolist():
                chosen = rows[level] == name
                known = len(np.unique(fold[chosen]))
                ratio = max(_quantile(error[chosen] / width[chosen], weight[chosen]), 0.05)
                change = ratio ** (known / (known + SHRINK))
                old = factors[level].get(name, 1.0)
                new = float(np.clip(old * change, 0.4, 3.0))
                factors[level][name] = new
                width[chosen] *= new / old
        correction = _quantile(error / width, weight)
        base, width = base * correction, width * correction
    return Spread(float(base), factors)


def inflation(error: NDArray[np.float64], spread: Spread, rows: Mapping[str, NDArray[np.str_]],
              level: str, fold: NDArray[np.intp]) -> float:
    """What the range must grow by when the row's label at `level` was never seen."""
    others = {name: labels.tolist() for name, labels in rows.items() if name != level}
    return max(1.0, _quantile(error / spread.half_width(others), _fold_weights(fold)))


def _fold_weights(fold: NDArray[np.intp]) -> NDArray[np.float64]:
    """Weights n^-0.5 within a fold of n: big tables do not decide alone."""
    _, of_row, size = np.unique(fold, return_inverse=True, return_counts=True)
    return np.asarray(size[of_row] ** -0.5)


def _quantile(values: NDArray[np.float64], weight: NDArray[np.float64]) -> float:
    """Weighted quantile at COVERED."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    at = min(int(np.searchsorted(share, COVERED)), len(values) - 1)
    return float(values[order][at])
