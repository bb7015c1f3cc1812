"""How far the estimates are from published figures: `python -m core.accuracy` prints the tables.

Cross-validated: every architecture x GPU is estimated by constants fitted without it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.efficiency import fit
from core.efficiency.published import METRICS, Published, published
from core.speed.cases import Floats
from core.terms import Deployment

LABELS: Final[Mapping[str, str]] = {"ttft": "TTFT", "tpot": "TPOT", "throughput": "Throughput"}


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one metric over some cases; APE = |estimate / measured - 1|."""

    cases: int
    answered: int
    median_ape: float
    p90_ape: float
    bias: float                  # median of estimate / measured - 1


@dataclass(frozen=True, slots=True)
class Points:
    """Predicted against measured for one metric, arrays [points], with what each case is."""

    metric: str
    measured: Floats             # s, or output tokens/s per GPU
    predicted: Floats            # by a fit that never saw the architecture on that GPU
    in_sample: Floats
    gpu: NDArray[np.str_]
    weights: NDArray[np.str_]
    engine: NDArray[np.str_]
    source: NDArray[np.str_]


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Everything the accuracy page and the README show."""

    points: Mapping[str, Points]                 # metric -> points
    regret_over_formats: float
    regret_over_layouts: float

    def score(self, metric: str, *, in_sample: bool = False) -> Score:
        """Errors over all cases of a metric."""
        points = self.points[metric]
        return score(points.measured, points.in_sample if in_sample else points.predicted)

    def by(self, metric: str, what: str) -> Mapping[str, Score]:
        """Cross-validated errors by 'gpu', 'weights', 'engine' or 'source'."""
        points = self.points[metric]
        names = getattr(points, what)
        return {
            str(name): score(points.measured[names == name], points.predicted[names == name])
            for name in np.unique(names)
        }


def score(measured: Floats, predicted: Floats) -> Score:
    """Errors of predictions; NaN predictions count as not answered."""
    error = predicted / measured - 1
    error = error[np.isfinite(error)]
    if not len(error):
        return Score(len(measured), 0, float("nan"), float("nan"), float("nan"))
    return Score(
        len(measured), len(error), float(np.median(np.abs(error))), float(np.quantile(np.abs(error), 0.9)),
        float(np.median(error)),
    )


def accuracy(data: Published | None = None) -> Accuracy:
    """Fit, cross-validate and score: about a quarter of a minute."""
    model = fit.Model(fit.problem(data or published()))
    at = fit.fit(model)
    unseen = fit.cross_validated(model, at, model.problem.data.fold)
    return summary(model.problem.data, unseen, model.predict(at.theta))


def summary(data: Published, unseen: Mapping[str, Floats], seen: Mapping[str, Floats]) -> Accuracy:
    """Points and regrets of two sets of predictions."""
    pairs = [data.cases.pairs[i][1] for i in data.cases.which]
    names = {
        "gpu": np.array([d.gpu.name for d in pairs]),
        "weights": np.array([d.weights.name for d in pairs]),
        "engine": np.array([d.engine for d in pairs]),
        "source": data.source,
    }
    points = {}
    for metric in METRICS:
        rows = np.isfinite(data.measured(metric))
        chosen = {name: values[rows] for name, values in names.items()}
        points[metric] = Points(metric, data.measured(metric)[rows], unseen[metric][rows], seen[metric][rows], **chosen)
    return Accuracy(
        points,
        regret(data, unseen, lambda row: (row.weights.name, row.kv_cache.name), _same_layout),
        regret(data, unseen, lambda row: (row.tp, row.pp, row.ep, row.dp), _same_formats),
    )


def _same_layout(d: Deployment) -> tuple[object, ...]:
    return d.tp, d.pp, d.ep, d.dp


def _same_formats(d: Deployment) -> tuple[object, ...]:
    return d.weights.name, d.kv_cache.name


def measured_rate(data: Published) -> Floats:
    """Output tokens/s per GPU of every row: as published, else from TTFT and TPOT."""
    return _rate(data, data.ttft_s, data.tpot_s, data.output_tokens_per_s_per_gpu)


def _rate(data: Published, ttft: Floats, tpot: Floats, rate: Floats) -> Floats:
    """TTFT counts as one step where only TPOT was measured."""
    cases = data.cases
    gpus = np.array([cases.pairs[i][1].gpus for i in cases.which])
    decoding = cases.output_tokens > 1
    known = np.isfinite(data.ttft_s) | ~np.isfinite(data.tpot_s)
    whole = np.where(known, ttft, tpot) + np.where(decoding, tpot, 0.0) * (cases.output_tokens - 1)
    return np.where(np.isfinite(rate), rate, cases.concurrency * cases.output_tokens / whole / gpus)


def regret(
    data: Published, predicted: Mapping[str, Floats],
    varies: Callable[[Deployment], tuple[object, ...]], same: Callable[[Deployment], tuple[object, ...]],
) -> float:
    """Mean throughput lost by picking the predicted best where only `varies` differs between cases."""
    cases, truth = data.cases, measured_rate(data)
    guess = _rate(data, predicted["ttft"], predicted["tpot"],
                  np.where(np.isfinite(data.output_tokens_per_s_per_gpu), predicted["throughput"], np.nan))
    pools: dict[tuple[object, ...], list[int]] = {}
    for row in np.flatnonzero(np.isfinite(truth) & np.isfinite(guess)).tolist():
        deployment = cases.pairs[cases.which[row]][1]
        key = (int(data.group[row]), deployment.engine, deployment.engine_version, bool(cases.static[row]),
               str(cases.concurrency[row]), cases.input_tokens[row], cases.output_tokens[row], *same(deployment))
        pools.setdefault(key, []).append(row)
    lost = []
    for rows in pools.values():
        if len({varies(cases.pairs[cases.which[row]][1]) for row in rows}) < 2:
            continue
        best = max(rows, key=lambda row: guess[row])
        lost.append(max(truth[row] for row in rows) / truth[best] - 1)
    return float(np.mean(lost)) if lost else float("nan")


def table(figures: Accuracy) -> str:
    """The README's table: cross-validated and in-sample errors, as Markdown."""
    lines = [
        "| figure | cases | unseen: median | unseen: 90 % within | in sample: median | 90 % within |",
        "|---|---|---|---|---|---|",
    ]
    for metric in ("tpot", "ttft", "throughput"):
        unseen, seen = figures.score(metric), figures.score(metric, in_sample=True)
        lines.append(
            f"| {LABELS[metric]} | {unseen.cases:,} | {unseen.median_ape:.1%} | {unseen.p90_ape:.0%} "
            f"| {seen.median_ape:.1%} | {seen.p90_ape:.0%} |"
        )
    lines.append("")
    lines.append(f"Throughput lost by following the estimate: {figures.regret_over_formats:.1%} over formats, "
                 f"{figures.regret_over_layouts:.1%} over layouts.")
    return "\n".join(lines)


def breakdown(figures: Accuracy, what: str, least: int = 5) -> str:
    """Cross-validated errors by GPU, format or engine, as Markdown."""
    scores = {metric: figures.by(metric, what) for metric in ("tpot", "ttft", "throughput")}
    names: Sequence[str] = sorted({name for known in scores.values() for name in known})
    lines = [f"| {what} | TPOT | TTFT | Throughput |", "|---|---|---|---|"]
    for name in names:
        cells = [_cell(scores[metric].get(name), least) for metric in ("tpot", "ttft", "throughput")]
        if any(cells):
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(known: Score | None, least: int) -> str:
    if known is None or known.answered < least:
        return ""
    return f"{known.median_ape:.0%} / {known.p90_ape:.0%} ({known.answered})"


def main() -> None:
    """Print the tables."""
    figures = accuracy()
    print(table(figures))
    for what in ("gpu", "weights", "engine"):
        print()
        print(breakdown(figures, what))


if __name__ == "__main__":
    main()
