"""Which loads to measure: the few after which least is unknown of all the others.

Greedy choice by the posterior variance of the Gaussian process of `core.physics.speed.anchors`: within 1 - 1/e of the
best set (Nemhauser, Wolsey, Fisher 1978; Krause, Singh, Guestrin, JMLR 9, 2008). Nothing has to be measured to choose.
"""

from typing import Final

import numpy as np

from core.physics.efficiency import nearness
from core.physics.speed.anchors import Figures, covariance, own_variance
from core.physics.speed.cases import Floats, Rows

_NOISE: Final = np.array(nearness.NOISE) ** 2


def most_telling(figures: Figures, row: Rows, count: int) -> Rows:
    """Up to `count` rows, the most telling first; `row` names the one that each figure belongs to."""
    left = covariance(figures, figures)
    worth = 1.0 / own_variance()[figures.metric]         # a percent of TTFT is easier to be wrong by than one of TPOT
    candidates, chosen = np.unique(row), np.empty(0, np.intp)
    for _ in range(min(count, len(candidates))):
        rest = candidates[~np.isin(candidates, chosen)]
        gains = [_gain(left, figures.metric, row == candidate, worth) for candidate in rest]
        best = rest[int(np.argmax(gains))]
        chosen = np.append(chosen, best)
        left = _known(left, figures.metric, row == best)
    return chosen


def _gain(left: Floats, metric: Rows, measured: np.ndarray, worth: Floats) -> float:
    """How much less is unknown once a row is measured."""
    between = left[:, measured]
    inverse = np.linalg.inv(left[np.ix_(measured, measured)] + np.diag(_NOISE[metric[measured]]))
    return float(((between @ inverse) * between).sum(axis=1) @ worth)


def _known(left: Floats, metric: Rows, measured: np.ndarray) -> Floats:
    """The covariance that stays."""
    between = left[:, measured]
    inner = left[np.ix_(measured, measured)] + np.diag(_NOISE[metric[measured]])
    return np.asarray(left - between @ np.linalg.solve(inner, between.T))
