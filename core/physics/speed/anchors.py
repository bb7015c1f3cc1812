"""Measurements that anchor estimates: what was measured nearby shifts and narrows what was not.

Most of an error belongs to the deployment, not to the load: a kernel is slower or a launch longer
than its kind suggests. So every term of `core.physics.efficiency` may be off for this model on this GPU by an
unknown shift; a measurement says how far, weighted by how strongly it depends on each term, and a
remaining part is shared by similar loads only. This is the posterior mean of a Gaussian process whose
covariance is the model's own sensitivity (Rasmussen & Williams 2006, chapter 2.7), over all figures
together: a measured TPOT speaks for the throughput, and a throughput for both times it is made of. The
shifts are made in the model itself and found again from there until they stand still, for a level that
is far off does not grow in proportion to them.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.physics.efficiency import TERMS, nearness
from core.physics.speed.cases import Cases, Floats, Prediction, Range, Rows

METRICS: Final = ("ttft_s", "tpot_s", "output_tokens_per_s_per_gpu")
FULL: Final = 512.0              # requests in flight that stand for maximum load in distances

NUDGE: Final = 1e-3              # of a term, for numerical derivatives [log or logit]
ROUNDS: Final = 12               # of finding the shifts: a level far off is not linear in them
STRIDE: Final = 1.0              # most that a term moves in a round [log or logit]
STILL: Final = 1e-3              # shifts that move less are found

# Logs of the figures with every term of every pair moved: cases, [pairs, terms] -> [METRICS, rows].
Model = Callable[[Cases, Floats], Floats]


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
    return np.asarray(np.array(_of_pairs(cases))[cases.which])


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


def anchored(cases: Cases, estimate: Prediction, anchors: Anchors, model: Model) -> Prediction:
    """The estimate of `cases` shifted towards the anchors and narrowed."""
    ours, theirs = settings(cases), settings(anchors.cases)
    shared = sorted(set(ours.tolist()) & set(theirs.tolist()))
    if not shared:
        return estimate
    found = _found(anchors, theirs, shared, model)
    moved = np.stack([found.shifts.get(name, np.zeros(len(TERMS))) for name in _of_pairs(cases)])
    plain, here = model(cases, np.zeros_like(moved)), model(cases, moved)
    asked = figures(cases, here, slopes(cases, moved, model))
    shift, left = np.where(np.isfinite(here), here - plain, 0.0).ravel(), np.ones(plain.size)
    for setting in shared:
        rows = np.tile(ours == setting, len(METRICS))
        if setting in found.rest:
            more, left[rows] = posterior(found.rest[setting], asked.of(rows), found.known[setting], terms=False)
            shift[rows] += more
    ttft, tpot, rate = (
        _moved(getattr(estimate, metric), one, part)
        for metric, one, part in zip(METRICS, np.split(shift, len(METRICS)), np.split(left, len(METRICS)), strict=True)
    )
    return replace(estimate, ttft_s=ttft, tpot_s=tpot, output_tokens_per_s_per_gpu=rate)


@dataclass(frozen=True, slots=True)
class _Found:
    """What the anchors of every setting say: shifts of the terms [terms], figures, and what no shift explains."""

    shifts: Mapping[str, Floats]
    known: Mapping[str, Figures]
    rest: Mapping[str, Floats]           # log errors in units that `posterior` takes [figures]


def _found(anchors: Anchors, theirs: NDArray[np.str_], shared: Sequence[str], model: Model) -> _Found:
    """Shifts of the terms by Gauss-Newton: the most likely ones, given what was measured."""
    cases, names = anchors.cases, _of_pairs(anchors.cases)
    measured = np.log(np.stack([getattr(anchors, metric) for metric in METRICS])).ravel()
    chosen = {name: rows for name in shared
              if (rows := np.tile(theirs == name, len(METRICS)) & np.isfinite(measured)).any()}
    shifts: dict[str, Floats] = {name: np.zeros(len(TERMS)) for name in chosen}
    known, rest = {}, {}
    for _ in range(ROUNDS):
        moved = np.stack([shifts.get(name, np.zeros(len(TERMS))) for name in names])
        here = model(cases, moved)
        seen, furthest = figures(cases, here, slopes(cases, moved, model)), 0.0
        for name, rows in chosen.items():
            known[name] = seen.of(rows)
            rest[name] = measured[rows] - here.ravel()[rows] + known[name].slopes @ shifts[name]
            step = np.clip(_most_likely(rest[name], known[name]) - shifts[name], -STRIDE, STRIDE)
            shifts[name] = shifts[name] + step
            furthest = max(furthest, float(np.abs(step).max()))
        if furthest < STILL:
            break
    return _Found(shifts, known, rest)


def _most_likely(error: Floats, known: Figures) -> Floats:
    """Shifts of the terms given log errors that are linear in them [terms]."""
    return np.asarray(nearness.TERM**2 * known.slopes.T @ np.linalg.solve(_with_noise(known), error))


def _with_noise(known: Figures) -> Floats:
    noise = np.array(nearness.NOISE) ** 2
    return np.asarray(covariance(known, known) + np.diag(noise[known.metric]))


def _of_pairs(cases: Cases) -> list[str]:
    """The setting of every pair."""
    return [f"{s.name}|{d.gpu.name}|{d.engine}|{d.weights.name}".lower() for s, d in cases.pairs]


def slopes(cases: Cases, moved: Floats, model: Model) -> Floats:
    """Derivative of the log of every figure by every term, in log or logit [METRICS x rows, terms]."""
    here = model(cases, moved)
    nudges = NUDGE * np.eye(len(TERMS))
    columns = [(model(cases, moved + nudge) - here).ravel() / NUDGE for nudge in nudges]
    return np.nan_to_num(np.stack(columns, axis=-1))


def figures(cases: Cases, logs: Floats, slopes: Floats) -> Figures:
    """The three figures of every row, metric after metric [METRICS x rows], given their logs [METRICS, rows]."""
    rows = len(cases.which)
    ttft, tpot = np.exp(logs[0]), np.nan_to_num(np.exp(logs[1]))
    later = np.where(cases.output_tokens > 1, tpot * (cases.output_tokens - 1), 0.0)
    first = ttft / (ttft + later)                # share of TTFT in a request's time
    parts = np.zeros((len(METRICS), rows, len(METRICS)))
    parts[[0, 1, 2], :, [0, 1, 2]] = 1.0
    parts[2, :, 0], parts[2, :, 1] = -first, first - 1
    return Figures(
        np.repeat(np.arange(len(METRICS)), rows), slopes, parts.reshape(-1, len(METRICS)),
        np.tile(places(cases), (len(METRICS), 1)), np.tile(kinds(cases), len(METRICS)),
    )


def posterior(error: Floats, asked: Figures, known: Figures, *, terms: bool = True) -> tuple[Floats, Floats]:
    """Expected log error of `asked` given that of `known`, and the part of its deviation that stays.

    `terms`: with what shifts of the terms explain; without, they have been made already.
    """
    noise = np.array(nearness.NOISE) ** 2
    between = covariance(asked, known)
    weights = np.linalg.solve(_with_noise(known), between.T).T
    total = nearness.TERM**2 * (asked.slopes**2).sum(axis=1) + asked.parts**2 @ own_variance()
    explained = (weights * between).sum(axis=1)
    remaining = np.maximum(total - explained, noise[asked.metric])
    shift = weights @ error
    if not terms:
        shift = shift - asked.slopes @ _most_likely(error, known)
    return np.asarray(shift), np.sqrt(np.minimum(remaining / total, 1.0))


def covariance(left: Figures, right: Figures) -> Floats:
    """Covariance of the log errors of two sets of figures [left, right]."""
    apart = np.sqrt(((left.place[:, None, :] - right.place[None, :, :]) ** 2).sum(axis=2))
    apart = np.hypot(apart, np.where(left.kind[:, None] == right.kind[None, :], 0.0, nearness.OTHER_KIND))
    level = (left.parts * np.array(nearness.LEVEL) ** 2) @ right.parts.T
    local = (left.parts * np.array(nearness.LOCAL) ** 2) @ right.parts.T
    return np.asarray(nearness.TERM**2 * left.slopes @ right.slopes.T + level + local * np.exp(-apart))


def own_variance() -> Floats:
    """Variance of what no term explains, of each metric."""
    return np.asarray(np.array(nearness.LEVEL) ** 2 + np.array(nearness.LOCAL) ** 2)


def _moved(before: Range, shift: Floats, left: Floats) -> Range:
    value = before.value * np.exp(shift)
    below, above = before.low / before.value, before.high / before.value
    return Range(value, value * below**left, value * above**left)
