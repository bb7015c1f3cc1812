"""Rebuild assets/efficiency.json from assets/published.csv: `python -m core.calibration.fit`.

Maximum a posteriori: Huber loss on log errors of TTFT, TPOT and throughput, every group of figures
weighted by a root of its size, and normal priors on the log or logit of every term. Gauss-Newton;
a deviation's derivative is its term's derivative on the rows that carry its label.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.calibration.problem import NOISE, Problem, Slopes, problem
from core.calibration.published import METRICS, published
from core.physics.efficiency import spread
from core.physics.efficiency.constants import PATH, Constants
from core.physics.efficiency.labels import labels
from core.physics.efficiency.rates import Rates, unlink
from core.physics.efficiency.terms import TERMS
from core.physics.speed.cases import Floats, Rows, Times
from core.physics.speed.matmuls import TABULATED, Tables
from core.physics.speed.predict import load_kinds, run
from core.physics.speed.steps import Clock, clock
from core.physics.speed.work import work

HUBER: Final = 0.8               # noises beyond which an error counts linearly
STEP: Final = 1e-3               # of the numerical derivative [log or logit]
ROUNDS: Final = 25
ENOUGH: Final = 3e-4             # relative gain below which the fit stops
LARGE: Final = 200               # figures left out from which the expansion of the loss is refined


class Model:
    """Predictions of the table's cases as a function of the parameters."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.jobs = work(problem.data.cases.pairs)

    def clock(self, theta: Floats, nudged: int | None = None, tables: Tables | None = None) -> Clock:
        """Step times of every pair; `nudged` moves one whole term by STEP, `tables` are known where it changes none."""
        shifts = np.zeros((len(TERMS), len(self.problem.data.cases.pairs)))
        for slot in self.problem.slots:
            shifts[slot.term] += theta[slot.start + slot.of_pair]
        if nudged is not None:
            shifts[nudged] += STEP
        values = {
            term.name: unlink(term, centre + shift)
            for term, centre, shift in zip(TERMS, self.problem.centres, shifts, strict=True)
        }
        rates = Rates(**values)
        return Clock(self.jobs, rates, tables) if tables else clock(self.jobs, rates)

    def times(self, theta: Floats, nudged: int | None = None, tables: Tables | None = None) -> Times:
        """Times of every row."""
        return run(self.clock(theta, nudged, tables), self.problem.data.cases)

    def predict(self, theta: Floats, nudged: int | None = None, tables: Tables | None = None) -> Mapping[str, Floats]:
        """TTFT, TPOT and throughput of every row."""
        times = self.times(theta, nudged, tables)
        per_gpu = times.output_tokens_per_s / self.jobs.gpus[self.problem.data.cases.which]
        return {"ttft": times.ttft_s, "tpot": times.tpot_s, "throughput": per_gpu}

    def logs(self, theta: Floats, nudged: int | None = None, tables: Tables | None = None) -> Floats:
        """Log predictions of the observations, each beside its source [n]."""
        values = self.predict(theta, nudged, tables)
        stacked = np.stack([values[metric] for metric in METRICS])
        return np.asarray(np.log(stacked[self.problem.metric, self.problem.row]) + theta[self.problem.source])

    def slopes(self, theta: Floats, logs: Floats) -> "Slopes":
        """Derivatives of the observations."""
        known = self.clock(theta).tables
        return Slopes(self.problem, np.stack([
            (self.logs(theta, i, None if term.name in TABULATED else known) - logs) / STEP
            for i, term in enumerate(TERMS)
        ]))


def _huber(problem: Problem, error: Floats) -> Floats:
    """Iterative weights of the Huber loss."""
    noise = np.array([NOISE[m] for m in METRICS])[problem.metric]
    return np.asarray(np.minimum(1.0, HUBER * noise / np.maximum(np.abs(error), 1e-9)))


def _loss(problem: Problem, error: Floats, theta: Floats) -> float:
    noise = np.array([NOISE[m] for m in METRICS])[problem.metric]
    size = np.abs(error) / noise
    loss = np.where(size <= HUBER, 0.5 * size**2, HUBER * size - 0.5 * HUBER**2)
    return float((problem.weight * noise**2 * loss).sum() + 0.5 * ((theta / problem.spreads) ** 2).sum())


@dataclass(frozen=True)
class Quadratic:
    """The loss around an optimum: curvature [m, m], slope [m], and what each observation adds."""

    theta: Floats
    curvature: Floats
    slope: Floats
    slopes: Slopes
    weight: Floats
    error: Floats

    @cached_property
    def inverse(self) -> Floats:
        """Inverse of the curvature [m, m]."""
        return np.asarray(np.linalg.inv(self.curvature))

    def without(self, left_out: NDArray[np.bool_]) -> Floats:
        """Optimum when the observations `left_out` are not seen [m]; Woodbury's identity where they are few."""
        chosen = np.flatnonzero(left_out & (self.weight > 0))
        if len(chosen) > LARGE:
            out = np.where(left_out, self.weight, 0.0)
            slope = self.slope + self.slopes.dot(out * self.error)
            return np.asarray(self.theta + np.linalg.solve(self.curvature - self.slopes.gram(out), slope))
        J, w, r = self.slopes.dense(chosen), self.weight[chosen], self.error[chosen]
        used = np.flatnonzero(J.any(axis=0))
        J = J[:, used]
        spread = self.inverse[:, used] @ J.T                       # [m, chosen]
        whole = self.inverse @ self.slope + spread @ (w * r)
        inner = np.diag(1 / w) - J @ spread[used]
        return np.asarray(self.theta + whole + spread @ np.linalg.solve(inner, J @ whole[used]))


def quadratic(model: Model, theta: Floats, left_out: NDArray[np.bool_] | None = None) -> Quadratic:
    """Gauss-Newton expansion of the loss, without the observations `left_out`."""
    problem = model.problem
    logs = model.logs(theta)
    error = logs - problem.target
    slopes, weight = model.slopes(theta, logs), problem.weight * _huber(problem, error)
    if left_out is not None:
        weight = np.where(left_out, 0.0, weight)
    curvature = slopes.gram(weight) + np.diag(problem.spreads**-2)
    slope = -slopes.dot(weight * error) - theta / problem.spreads**2
    return Quadratic(theta, curvature, slope, slopes, weight, error)


def fit(model: Model) -> Quadratic:
    """Gauss-Newton with halved steps until the loss stands still."""
    problem = model.problem
    at = quadratic(model, np.zeros(len(problem.parameters)))
    loss = _loss(problem, at.error, at.theta)
    for _ in range(ROUNDS):
        direction, step = np.linalg.solve(at.curvature, at.slope), 1.0
        while (new := _loss(problem, model.logs(at.theta + step * direction) - problem.target,
                            at.theta + step * direction)) > loss and step > 0.05:
            step /= 2
        if new > loss:
            break
        gain, loss = loss - new, new
        at = quadratic(model, at.theta + step * direction)
        if gain < ENOUGH * loss:
            break
    return at


def without(model: Model, at: Quadratic, left_out: NDArray[np.bool_]) -> Floats:
    """Parameters fitted without some observations.

    The expansion around the full fit, and one more step where much is left out.
    """
    theta = at.without(left_out)
    if left_out.sum() < LARGE:
        return theta
    rest = quadratic(model, theta, left_out)
    return np.asarray(theta + np.linalg.solve(rest.curvature, rest.slope))


def cross_validated(model: Model, at: Quadratic, fold: Rows, *, refined: bool = True) -> Mapping[str, Floats]:
    """Predictions of every row by the fit that never saw its fold."""
    problem = model.problem
    out = {metric: np.full(len(fold), np.nan) for metric in METRICS}
    for left_out in np.unique(fold):
        unseen = fold[problem.row] == left_out
        values = model.predict(without(model, at, unseen) if refined else at.without(unseen))
        rows = fold == left_out
        for metric in METRICS:
            out[metric][rows] = values[metric][rows]
    return out


def constants(problem: Problem, theta: Floats) -> Constants:
    """Parameters as the constants the speed model reads."""
    common: dict[str, float] = {}
    deviations: dict[str, dict[str, dict[str, float]]] = {term.name: {} for term in TERMS}
    for parameter, value in zip(problem.parameters, theta.tolist(), strict=True):
        if parameter.term >= len(TERMS):
            continue
        name = TERMS[parameter.term].name
        if not parameter.level:
            common[name] = value
        elif abs(value) > 5e-4:
            deviations[name].setdefault(parameter.level, {})[parameter.label] = value
    return Constants(common, deviations)


def row_kinds(model: Model, theta: Floats) -> Mapping[str, NDArray[np.str_]]:
    """Labels of every row at every level of the spreads."""
    cases = model.problem.data.cases
    of_pair = spread.kinds(labels(cases.pairs))
    loads = np.array(spread.LOADS)[load_kinds(cases, model.times(theta))]
    return {"load": loads, **{level: np.array(names)[cases.which] for level, names in of_pair.items()}}


def ranges(model: Model, at: Quadratic, unseen: Sequence[Mapping[str, Floats]]) -> dict[str, spread.Spread]:
    """Half-widths of the ranges of every metric, from errors on what the fit never saw.

    `unseen`: predictions with architectures on GPUs left out, and with whole sources, which count alike: a range is
    that of a source nobody has seen.
    """
    data, kinds = model.problem.data, row_kinds(model, at.theta)
    novel = {level: _without_each(model, at, kinds[level]) for level in spread.NOVEL}
    out = {}
    for metric in METRICS:
        known = np.isfinite(data.measured(metric))
        rows = {level: names[known] for level, names in kinds.items()}
        fold = data.fold[known]

        def error(values: Mapping[str, Floats], metric: str = metric, known: NDArray[np.bool_] = known) -> Floats:
            return np.abs(np.log(values[metric][known] / data.measured(metric)[known]))

        seen = spread.fitted(
            np.concatenate([error(values) for values in unseen]),
            {level: np.tile(names, len(unseen)) for level, names in rows.items()}, np.tile(fold, len(unseen)),
        )
        growth = {level: spread.inflation(error(novel[level]), seen, rows, level, fold) for level in spread.NOVEL}
        out[metric] = spread.Spread(seen.base, seen.factors, growth)
    return out


def _without_each(model: Model, at: Quadratic, names: NDArray[np.str_]) -> Mapping[str, Floats]:
    """Predictions of every row by the expansion of the fit without all rows of its label."""
    return cross_validated(model, at, np.unique(names, return_inverse=True)[1], refined=False)


def document(problem: Problem, at: Quadratic, widths: Mapping[str, spread.Spread]) -> dict[str, object]:
    """The fitted constants as JSON: value in the term's unit, shift from the prior, spread, source."""
    deviation = np.sqrt(np.diag(np.linalg.inv(at.curvature)))
    fitted = constants(problem, at.theta)
    common = {p.term: i for i, p in enumerate(problem.parameters) if not p.level}
    return {
        "about": "written by python -m core.calibration.fit; shifts and spreads in log, or logit for shares",
        "terms": {
            term.name: {
                "meaning": term.meaning, "unit": term.unit, "prior": term.prior, "source": term.source,
                "fitted_on": "assets/published.csv",
                "shift": round(fitted.common[term.name], 4), "spread": round(float(deviation[common[i]]), 4),
                "deviations": {
                    level: {label: round(value, 4) for label, value in sorted(known.items())}
                    for level, known in fitted.deviations[term.name].items()
                },
            }
            for i, term in enumerate(TERMS)
        },
        "ranges": {
            metric: {
                "half_width": round(width.base, 4),
                "factors": {
                    level: {name: round(factor, 3) for name, factor in sorted(known.items())}
                    for level, known in width.factors.items()
                },
                "unseen": {level: round(factor, 3) for level, factor in width.unseen.items()},
            }
            for metric, width in widths.items()
        },
    }


def write(model: Model, at: Quadratic, widths: Mapping[str, spread.Spread]) -> None:
    """Keep the constants."""
    text = json.dumps(document(model.problem, at, widths), indent=1, ensure_ascii=False)
    PATH.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    """Fit and write."""
    model = Model(problem(published()))
    at = fit(model)
    data = model.problem.data
    unseen = [cross_validated(model, at, fold) for fold in (data.fold, data.source_number)]
    write(model, at, ranges(model, at, unseen))
    print(f"{len(model.problem.target)} figures, {len(model.problem.parameters)} parameters -> {PATH.name}")



if __name__ == "__main__":
    main()
