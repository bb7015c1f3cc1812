"""Between the published losses: how much a format costs, times how sensitive a family and a size are.

    log loss = format + family + size * (octaves below 8e9 parameters) + model + noise

A Bayesian linear regression in closed form (Bishop, Pattern Recognition and Machine Learning, 3.49-3.59):
every effect is drawn towards zero, so a family nobody measured gets the mean of all and the spread of
all. The KV cache has families of its own: a model may mind rounded weights and not a rounded cache.

Small models lose more; above 8e9 parameters the published figures show no trend that families agree on.

The spreads below are those under which models, and whole families, that were left out lie in their 80 %
range: 88 % and 87 % of the published losses do (`tests/losses/test_quality_prior.py`).
"""

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from math import exp, log, log2, sqrt
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.losses.prior.published import UNQUANTISED, Published

Floats: TypeAlias = NDArray[np.float64]
Effect: TypeAlias = tuple[str, Hashable]

_CENTRE: Final = log(0.02)          # where a format nobody knows would lie, give or take e^2
_SPREADS: Final = {"format": 2.0, "family": 0.8, "size": 0.2, "model": 0.3}
_NOISE: Final = 0.20                # text, calibration and context length, in logs
_PER_OCTAVE: Final = 0.15           # more for each octave of size to the nearest figure of the format
_FLOOR: Final = 5e-4                # perplexities are published to two or three decimals: no smaller loss is known
_TO_80_PERCENT: Final = 1.28        # standard deviations that an 80 % range reaches


@dataclass(frozen=True, slots=True)
class Case:
    """A format on a model."""

    model: str
    family: str
    params_billion: float
    weights: str
    kv_cache: str

    def effects(self) -> dict[Effect, float]:
        """What its loss is made of, each with its factor."""
        kind = "cache" if self.weights == UNQUANTISED else "weights"
        return {
            ("format", (self.weights, self.kv_cache)): 1.0, ("family", (kind, self.family)): 1.0,
            ("size", kind): max(0.0, log2(8 / self.params_billion)), ("model", (kind, self.model)): 1.0,
        }


@dataclass(frozen=True, slots=True)
class Regression:
    """The effects with their means and covariances."""

    effects: tuple[Effect, ...]
    mean: Floats
    covariance: Floats
    sizes: Mapping[Hashable, Sequence[float]]       # of the models with figures of a format [1e9 parameters]

    def loss(self, case: Case) -> tuple[float, float, float]:
        """Expected relative increase of perplexity with the ends of its 80 % range; the format must have figures."""
        factors = case.effects()
        at = np.array([factors.get(effect, 0.0) for effect in self.effects])
        new = sum((_SPREADS[effect[0]] * factor) ** 2 for effect, factor in factors.items()
                  if effect not in self.effects)
        value = _CENTRE + float(at @ self.mean)
        away = min(abs(log2(case.params_billion / size)) for size in self.sizes[case.weights, case.kv_cache])
        variance = float(at @ self.covariance @ at) + new + _noise(exp(value)) ** 2 + (_PER_OCTAVE * away) ** 2
        spread = sqrt(variance) * _TO_80_PERCENT
        return exp(value), exp(value - spread), exp(value + spread)


def case_of(row: Published) -> Case:
    """What a published figure is about."""
    return Case(row.model, row.family, row.params_billion, row.weights, row.kv_cache)


def _noise(loss: float) -> float:
    """Standard deviation of the log of one published loss; near the last decimal it drowns."""
    return float(np.hypot(_NOISE, _FLOOR / max(loss, _FLOOR)))


def fit(rows: Sequence[Published]) -> Regression:
    """The effects that published losses show; several figures of one model in one format count once."""
    losses: dict[Case, list[float]] = {}
    for row in rows:
        losses.setdefault(case_of(row), []).append(row.loss)
    effects = tuple(dict.fromkeys(effect for case in losses for effect in case.effects()))
    mean = np.array([sum(found) / len(found) for found in losses.values()])
    log_loss = np.log(np.maximum(mean, _FLOOR)) - _CENTRE
    precision = np.array([_noise(loss) ** -2 for loss in mean])
    design = np.array([[case.effects().get(effect, 0.0) for effect in effects] for case in losses])
    prior = np.array([_SPREADS[effect[0]] ** -2 for effect in effects])
    covariance = np.linalg.inv((design.T * precision) @ design + np.diag(prior))
    sizes: dict[Hashable, list[float]] = {}
    for case in losses:
        sizes.setdefault((case.weights, case.kv_cache), []).append(case.params_billion)
    return Regression(effects, covariance @ ((design.T * precision) @ log_loss), covariance, sizes)


@cache
def of_rows(rows: tuple[Published, ...]) -> Regression:
    """The regression of some rows, made once."""
    return fit(rows)


def left_out(rows: Sequence[Published], key: Callable[[Published], Hashable]) -> list[tuple[Published, float, float]]:
    """Every row with the 80 % range that the rows of other keys give it, where they know its format."""
    found = []
    for one in dict.fromkeys(map(key, rows)):
        others = [row for row in rows if key(row) != one]
        known = {(row.weights, row.kv_cache) for row in others}
        regression = fit(others)
        for row in rows:
            if key(row) == one and (row.weights, row.kv_cache) in known:
                _, low, high = regression.loss(case_of(row))
                found.append((row, low, high))
    return found
