"""Measurements that anchor estimates: what was measured nearby shifts and narrows what was not.

Most of an error belongs to the deployment, not to the load: a kernel is slower or a launch longer
than its kind suggests. So every term of `core.physics.efficiency` may be off for this model on this GPU by an
unknown shift; a measurement says how far, weighted by how strongly it depends on each term, and a
remaining part is shared by similar loads only. This is the posterior mean of a Gaussian process whose
covariance is the model's own sensitivity (Rasmussen & Williams 2006, chapter 2.7), over all figures
together: a measured TPOT speaks for the throughput, and a throughput for both times it is made of.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.physics.efficiency import nearness
from core.physics.speed.cases import Cases, Floats, Prediction, Range, Rows

METRICS: Final = ("ttft_s", "tpot_s", "output_tokens_per_s_per_gpu")
FULL: Final = 512.0              # requests in flight that stand for maximum load in distances

Sensitivity = Callable[[Cases], Mapping[str, Floats]]   # metric -> derivative of its log by the terms [rows, terms]


@dataclass(frozen=True, slots=True)
class Anchors:
    """Measured cases; NaN where a figure was not measured. Arrays [rows of cases]."""

    cases: Cases
    ttft_s: Floats
    tpot_s: Floats
    output_tokens_per_s_per_gpu: Floats


@dataclass(frozen=True, slots=True)
class Figures:
    """What the log errors of some figures are made of; arrays [figures]."""

    metric: Rows                 # index into METRICS
    slopes: Floats               # [figures, terms] of the fitted terms' shifts
    parts: Floats                # [figures, METRICS] of the errors that TTFT, TPOT and throughput have of their own
    place: Floats                # [figures, dimensions] in units of their reach
    kind: NDArray[np.str_]       # engine version and mode

    def of(self, chosen: NDArray[np.bool_] | Rows) -> "Figures":
        """Some of them."""
        return Figures(self.metric[chosen], self.slopes[chosen], self.parts[chosen], self.place[chosen],
                       self.kind[chosen])


def settings(cases: Cases) -> NDArray[np.str_]:
    """What a measurement must share with a case to speak for it: model, GPU, engine, format [rows]."""
    names = np.array([f"{s.name}|{d.gpu.name}|{d.engine}|{d.weights.name}".lower() for s, d in cases.pairs])
    return np.asarray(names[cases.which])


def places(cases: Cases) -> Floats:
    """Where a load lies: logs of requests, prompt, answer and ranks, in units of their reach [rows, dimensions]."""
    requests = np.where(np.isnan(cases.concurrency), FULL, np.maximum(cases.concurrency, 1.0))
    computed = cases.input_tokens - cases.found_tokens      # what a prompt costs goes by what was not in the cache
    load = np.log(np.stack([requests, computed, np.maximum(cases.output_tokens, 1.0)], axis=1))
    ranks = np.log(np.array([[d.tp, d.pp, d.dp, d.ep] for _, d in cases.pairs], float))[cases.which]
    return np.asarray(np.column_stack([load, ranks]) / nearness.REACH)


def kinds(cases: Cases) -> NDArray[np.str_]:
    """Engine version and mode: local errors of other ones are less alike [rows]."""
    versions = np.array([d.engine_version for _, d in cases.pairs])[cases.which]
    return np.asarray(np.char.add(versions, np.where(cases.static, "|static", "|serving")))


def anchored(
    cases: Cases, estimate: Prediction, anchors: Anchors, at_anchors: Prediction, sensitivity: Sensitivity,
) -> Prediction:
    """The estimate of `cases` shifted towards the anchors and narrowed; `at_anchors` estimates those."""
    ours, theirs = settings(cases), settings(anchors.cases)
    shared = sorted(set(ours.tolist()) & set(theirs.tolist()))
    if not shared:
        return estimate
    error = np.concatenate([np.log(getattr(anchors, m) / getattr(at_anchors, m).value) for m in METRICS])
    asked, known = figures(cases, estimate, sensitivity), figures(anchors.cases, at_anchors, sensitivity)
    shift, left = np.zeros(len(asked.metric)), np.ones(len(asked.metric))
    for setting in shared:
        rows = np.tile(ours == setting, len(METRICS))
        measured = np.tile(theirs == setting, len(METRICS)) & np.isfinite(error)
        if measured.any():
            shift[rows], left[rows] = posterior(error[measured], asked.of(rows), known.of(measured))
    ttft, tpot, rate = (
        _moved(getattr(estimate, metric), one, part)
        for metric, one, part in zip(METRICS, np.split(shift, len(METRICS)), np.split(left, len(METRICS)), strict=True)
    )
    return Prediction(ttft, tpot, rate, estimate.prefill_bound, estimate.decode_bound, estimate.running)


def figures(cases: Cases, estimate: Prediction, sensitivity: Sensitivity) -> Figures:
    """The three figures of every row, metric after metric [METRICS x rows]."""
    slopes, rows = sensitivity(cases), len(cases.which)
    later = np.where(cases.output_tokens > 1, np.nan_to_num(estimate.tpot_s.value) * (cases.output_tokens - 1), 0.0)
    first = estimate.ttft_s.value / (estimate.ttft_s.value + later)      # share of TTFT in a request's time
    parts = np.zeros((len(METRICS), rows, len(METRICS)))
    parts[[0, 1, 2], :, [0, 1, 2]] = 1.0
    parts[2, :, 0], parts[2, :, 1] = -first, first - 1
    return Figures(
        np.repeat(np.arange(len(METRICS)), rows), np.concatenate([slopes[metric] for metric in METRICS]),
        parts.reshape(-1, len(METRICS)), np.tile(places(cases), (len(METRICS), 1)),
        np.tile(kinds(cases), len(METRICS)),
    )


def posterior(error: Floats, asked: Figures, known: Figures) -> tuple[Floats, Floats]:
    """Expected log error of `asked` given that of `known`, and the part of its deviation that stays."""
    noise = np.array(nearness.NOISE) ** 2
    between = covariance(asked, known)
    weights = np.linalg.solve(covariance(known, known) + np.diag(noise[known.metric]), between.T).T
    total = nearness.TERM**2 * (asked.slopes**2).sum(axis=1) + asked.parts**2 @ _own_variance()
    explained = (weights * between).sum(axis=1)
    remaining = np.maximum(total - explained, noise[asked.metric])
    return np.asarray(weights @ error), np.sqrt(np.minimum(remaining / total, 1.0))


def covariance(left: Figures, right: Figures) -> Floats:
    """Covariance of the log errors of two sets of figures [left, right]."""
    apart = np.sqrt(((left.place[:, None, :] - right.place[None, :, :]) ** 2).sum(axis=2))
    apart = np.hypot(apart, np.where(left.kind[:, None] == right.kind[None, :], 0.0, nearness.OTHER_KIND))
    level = (left.parts * np.array(nearness.LEVEL) ** 2) @ right.parts.T
    local = (left.parts * np.array(nearness.LOCAL) ** 2) @ right.parts.T
    return np.asarray(nearness.TERM**2 * left.slopes @ right.slopes.T + level + local * np.exp(-apart))


def _own_variance() -> Floats:
    return np.asarray(np.array(nearness.LEVEL) ** 2 + np.array(nearness.LOCAL) ** 2)


def _moved(before: Range, shift: Floats, left: Floats) -> Range:
    value = before.value * np.exp(shift)
    below, above = before.low / before.value, before.high / before.value
    return Range(value, value * below**left, value * above**left)
