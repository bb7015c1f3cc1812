"""Measurements that anchor estimates: what was measured nearby shifts and narrows what was not.

Most of an error belongs to the deployment, not to the load: a kernel is slower or a launch longer
than its kind suggests. So every term of `core.efficiency` may be off for this model on this GPU by an
unknown shift; a measurement says how far, weighted by how strongly it depends on each term, and a
remaining part is shared by similar loads only. This is the posterior mean of a Gaussian process whose
covariance is the model's own sensitivity (Rasmussen & Williams 2006, chapter 2.7).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.speed.cases import Cases, Floats, Prediction, Range

TERM: Final = 0.4                # shift of a term for one deployment [log or logit]
METRICS: Final = ("ttft_s", "tpot_s", "output_tokens_per_s_per_gpu")
LEVEL: Final[Mapping[str, float]] = {"ttft_s": 0.10, "tpot_s": 0.04, "output_tokens_per_s_per_gpu": 0.05}
LOCAL: Final[Mapping[str, float]] = {"ttft_s": 0.20, "tpot_s": 0.04, "output_tokens_per_s_per_gpu": 0.12}
NOISE: Final[Mapping[str, float]] = {"ttft_s": 0.06, "tpot_s": 0.02, "output_tokens_per_s_per_gpu": 0.02}   # repeats
REACH: Final = 3.0               # distance in logs of the load at which the local part has fallen to 1/e

Sensitivity = Callable[[Cases], Mapping[str, Floats]]   # metric -> derivative of its log by the terms [rows, terms]


@dataclass(frozen=True, slots=True)
class Anchors:
    """Measured cases; NaN where a figure was not measured. Arrays [rows of cases]."""

    cases: Cases
    ttft_s: Floats
    tpot_s: Floats
    output_tokens_per_s_per_gpu: Floats


def settings(cases: Cases) -> NDArray[np.str_]:
    """What a measurement must share with a case to speak for it: model, GPU, engine, format, mode [rows]."""
    names = np.array([f"{s.name}|{d.gpu.name}|{d.engine}|{d.weights.name}".lower() for s, d in cases.pairs])
    return np.asarray(np.char.add(names[cases.which], np.where(cases.static, "|static", "|serving")))


def places(cases: Cases) -> Floats:
    """Where a load lies: logs of requests, prompt, answer and GPUs [rows, 4]."""
    gpus = np.array([d.gpus for _, d in cases.pairs], float)[cases.which]
    requests = np.where(np.isnan(cases.concurrency), 512.0, np.maximum(cases.concurrency, 1.0))
    columns = (requests, cases.input_tokens, np.maximum(cases.output_tokens, 1.0), gpus)
    return np.asarray(np.log(np.stack(columns, axis=1)))


def anchored(
    cases: Cases, estimate: Prediction, anchors: Anchors, at_anchors: Prediction, sensitivity: Sensitivity,
) -> Prediction:
    """The estimate of `cases` shifted towards the anchors and narrowed; `at_anchors` estimates those."""
    ours, theirs = settings(cases), settings(anchors.cases)
    shared = sorted(set(ours.tolist()) & set(theirs.tolist()))
    if not shared:
        return estimate
    slopes, anchor_slopes = sensitivity(cases), sensitivity(anchors.cases)
    ranges = {}
    for metric in METRICS:
        before, at = getattr(estimate, metric), getattr(at_anchors, metric)
        error = np.log(getattr(anchors, metric) / at.value)
        shift, left = np.zeros(len(ours)), np.ones(len(ours))
        for setting in shared:
            rows, known = np.flatnonzero(ours == setting), np.flatnonzero((theirs == setting) & np.isfinite(error))
            if len(known):
                shift[rows], left[rows] = _posterior(
                    metric, error[known], (slopes[metric][rows], places(cases)[rows]),
                    (anchor_slopes[metric][known], places(anchors.cases)[known]),
                )
        ranges[metric] = _moved(before, shift, left)
    return Prediction(
        ranges["ttft_s"], ranges["tpot_s"], ranges["output_tokens_per_s_per_gpu"],
        estimate.prefill_bound, estimate.decode_bound, estimate.running,
    )


def _posterior(
    metric: str, error: Floats, rows: tuple[Floats, Floats], known: tuple[Floats, Floats],
) -> tuple[Floats, Floats]:
    """Expected log error of rows given that of the anchors, and the part of its deviation that stays."""
    among = _covariance(metric, known, known) + np.eye(len(error)) * NOISE[metric] ** 2
    towards = _covariance(metric, rows, known)
    weights = np.linalg.solve(among, towards.T).T
    total = TERM**2 * (rows[0] ** 2).sum(axis=1) + LEVEL[metric] ** 2 + LOCAL[metric] ** 2
    remaining = np.maximum(total - (weights * towards).sum(axis=1), NOISE[metric] ** 2)
    return np.asarray(weights @ error), np.sqrt(remaining / total)


def _covariance(metric: str, left: tuple[Floats, Floats], right: tuple[Floats, Floats]) -> Floats:
    """Covariance of the log errors of two sets of (sensitivities, places) [left, right]."""
    apart = np.sqrt(((left[1][:, None, :] - right[1][None, :, :]) ** 2).sum(axis=2))
    local = LOCAL[metric] ** 2 * np.exp(-apart / REACH)
    return np.asarray(TERM**2 * left[0] @ right[0].T + LEVEL[metric] ** 2 + local)


def _moved(before: Range, shift: Floats, left: Floats) -> Range:
    value = before.value * np.exp(shift)
    below, above = before.low / before.value, before.high / before.value
    return Range(value, value * below**left, value * above**left)
