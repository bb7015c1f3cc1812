"""What a few measurements are worth: estimates anchored on one, four or eight measured loads of a deployment.

Cross-validated: all cases of a model, GPU, engine and format are estimated by constants that never saw their
architecture on that GPU; some of their published cases anchor the others. Those are drawn at random, or chosen as
`sweetspot measure` chooses its loads: by what they tell of the rest, before any of them is known.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.calibration import fit
from core.calibration.published import METRICS, Published
from core.physics.efficiency import TERMS
from core.physics.speed import anchors, telling
from core.physics.speed.anchors import Figures
from core.physics.speed.cases import Floats, Rows
from core.physics.speed.predict import logs

DRAWS: Final = 32                # of the measured cases; their errors count together, 8 leave a point to chance


@dataclass(frozen=True, slots=True)
class Anchoring:
    """How many cases of what are measured, and which."""

    count: int
    layout: bool                 # of the same GPUs and layout, engine release and mode; else of any
    chosen: bool                 # by what they tell of the rest; else at random


def errors(model: fit.Model, theta: Floats, unseen: Mapping[str, Floats], how: Anchoring) -> Mapping[str, Floats]:
    """Estimate / published - 1 of every case but the measured ones, metric -> [cases of all draws]."""
    data, constants = model.problem.data, fit.constants(model.problem, theta)
    slopes = anchors.slopes(data.cases, np.zeros((len(data.cases.pairs), len(TERMS))),
                            lambda cases, shifts: logs(cases, constants, shifts))
    figures = anchors.figures(data.cases, np.log(np.stack([unseen[m] for m in METRICS])), slopes)
    row = np.tile(np.arange(len(data.cases.which)), len(METRICS))
    miss = np.log(np.concatenate([data.measured(m) / unseen[m] for m in METRICS]))
    known = np.isfinite(miss)
    draws = np.random.default_rng(0)
    left: list[tuple[Rows, Floats]] = []
    for rows in _deployments(data, how):
        inside = known & np.isin(row, rows)
        for picked in _picked(figures.of(inside), row[inside], rows, how, draws):
            here, there = inside & np.isin(row, picked), inside & ~np.isin(row, picked)
            if there.any():
                shift, _ = anchors.posterior(miss[here], figures.of(there), figures.of(here))
                left.append((figures.metric[there], miss[there] - shift))
    metric, rest = (np.concatenate(parts) for parts in zip(*left, strict=True))
    return {name: np.expm1(-rest[metric == i]) for i, name in enumerate(METRICS)}


def _picked(figures: Figures, row: Rows, rows: Rows, how: Anchoring, draws: np.random.Generator) -> list[Rows]:
    """The rows that are measured, one set a draw."""
    if how.chosen:
        return [telling.most_telling(figures, row, how.count)]
    return [draws.choice(rows, how.count, replace=False) for _ in range(DRAWS)]


def _deployments(data: Published, how: Anchoring) -> list[Rows]:
    """Rows of deployments with more cases that have a figure than are measured."""
    names: NDArray[np.str_] = anchors.settings(data.cases)
    if how.layout:
        layouts = np.array([f"|{d.tp}|{d.pp}|{d.dp}|{d.ep}|" for _, d in data.cases.pairs])[data.cases.which]
        names = np.char.add(np.char.add(names, layouts), anchors.kinds(data.cases))
    published = np.isfinite(np.stack([data.measured(m) for m in METRICS])).any(axis=0)
    groups = [np.flatnonzero((names == name) & published) for name in np.unique(names)]
    return [rows for rows in groups if len(rows) > how.count]
