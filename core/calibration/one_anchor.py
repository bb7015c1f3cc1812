"""How far one measurement goes: cross-validated errors of what was not measured, once one case was.

Deployments of one model, GPU, engine and format are estimated by constants that never saw their architecture
on that GPU; one of their published cases, drawn at random, anchors the others.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from core.calibration import fit
from core.calibration.published import METRICS, Published
from core.physics.speed import anchors
from core.physics.speed.cases import Floats, Prediction, Range, Rows
from core.physics.speed.predict import sensitivity

DRAWS: Final = 32                # of the measured case; their errors count together, 8 leave a point to chance


def errors(model: fit.Model, theta: Floats, unseen: Mapping[str, Floats], *, layout: bool) -> Mapping[str, Floats]:
    """Estimate / published - 1 of every case but the anchor, metric -> [cases of all draws].

    `layout`: anchors come from the same GPUs and layout, else from any.
    """
    data, constants = model.problem.data, fit.constants(model.problem, theta)
    figures = anchors.figures(data.cases, _prediction(data, unseen), lambda cases: sensitivity(cases, constants))
    row = np.tile(np.arange(len(data.cases.which)), len(METRICS))
    miss = np.log(np.concatenate([data.measured(m) / unseen[m] for m in METRICS]))
    draws = np.random.default_rng(0)
    left: list[tuple[Rows, Floats]] = []
    for rows in _deployments(data, layout):
        known = np.isin(row, rows) & np.isfinite(miss)
        for _ in range(DRAWS):
            at = draws.choice(rows)
            here, there = known & (row == at), known & (row != at)
            shift, _ = anchors.posterior(miss[here], figures.of(there), figures.of(here))
            left.append((figures.metric[there], miss[there] - shift))
    metric, rest = (np.concatenate(parts) for parts in zip(*left, strict=True))
    return {name: np.expm1(-rest[metric == i]) for i, name in enumerate(METRICS)}


def _deployments(data: Published, layout: bool) -> list[Rows]:
    """Rows of deployments with two cases or more that have a figure."""
    names = anchors.settings(data.cases)
    if layout:
        places = np.array([f"{d.tp}|{d.pp}|{d.dp}|{d.ep}" for _, d in data.cases.pairs])[data.cases.which]
        names = np.char.add(names, places)
    published = np.isfinite(np.stack([data.measured(m) for m in METRICS])).any(axis=0)
    groups = [np.flatnonzero((names == name) & published) for name in np.unique(names)]
    return [rows for rows in groups if len(rows) > 1]


def _prediction(data: Published, unseen: Mapping[str, Floats]) -> Prediction:
    """Estimates without ranges or bounds, which anchors do not ask for."""
    ttft, tpot, rate = (Range(unseen[m], unseen[m], unseen[m]) for m in METRICS)
    none = np.empty(len(data.cases.which), object)
    return Prediction(ttft, tpot, rate, none, none, data.cases.concurrency)
