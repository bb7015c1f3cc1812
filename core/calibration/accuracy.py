"""How far the estimates are from published figures: `python -m core.calibration.accuracy` prints the tables.

Cross-validated: every architecture x GPU is estimated by constants fitted without it. What it finds is
kept in assets/accuracy.csv for the screen.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from core.calibration import fit, one_anchor, track_record
from core.calibration.published import METRICS, Published, published
from core.calibration.track_record import Errors, Points, TrackRecord
from core.physics.efficiency import spread
from core.physics.speed.cases import Floats, Rows
from core.terms import Deployment

LABELS: Final[Mapping[str, str]] = {"ttft": "TTFT", "tpot": "TPOT", "throughput": "Throughput"}
BLOCKS: Final = 10               # parts the architectures on GPUs are dealt to when ranges are tested
ANCHORS: Final = {"any layout": False, "same layout": True}     # where the one measured case comes from
LEAST: Final = 5                 # figures a table cell needs
TIE: Final = 1e-9                # estimates this near are one choice

Estimates: TypeAlias = Mapping[str, Floats]                       # metric -> [rows]
Aspect: TypeAlias = Callable[[Deployment], tuple[object, ...]]    # what a comparison varies or keeps


@dataclass(frozen=True, slots=True)
class Accuracy:
    """Points and errors, what following the estimates costs, and how often the ranges held."""

    record: TrackRecord
    regret_over_formats: float           # mean throughput lost by picking the estimated best format
    regret_over_layouts: float
    coverage: Mapping[str, float]        # metric -> cases of unseen groups inside their 80 % range
    anchored: Mapping[str, Mapping[str, Errors]]     # any layout, same layout -> metric -> with one case measured


def accuracy(data: Published | None = None) -> Accuracy:
    """Fit, cross-validate and score: less than a minute."""
    model = fit.Model(fit.problem(data or published()))
    at = fit.fit(model)
    table = model.problem.data
    unseen = fit.cross_validated(model, at, table.fold)
    return Accuracy(
        record(table, unseen, model.predict(at.theta)),
        regret(table, unseen, formats, layout),
        regret(table, unseen, layout, formats),
        coverage(table, unseen, fit.row_kinds(model, at.theta)),
        {name: anchored(model, at.theta, unseen, layout=same) for name, same in ANCHORS.items()},
    )


def anchored(model: fit.Model, theta: Floats, unseen: Estimates, *, layout: bool) -> Mapping[str, Errors]:
    """Errors of each metric where one case of the same model, GPU, engine and format was measured."""
    found = one_anchor.errors(model, theta, unseen, layout=layout)
    return {metric: track_record.errors(error) for metric, error in found.items()}


def formats(d: Deployment) -> tuple[object, ...]:
    """Number formats of a deployment."""
    return d.weights.name, d.kv_cache.name


def layout(d: Deployment) -> tuple[object, ...]:
    """GPUs of a deployment and how the model lies on them."""
    return d.tp, d.pp, d.ep, d.dp


def record(data: Published, unseen: Estimates, seen: Estimates) -> TrackRecord:
    """The points of every metric."""
    pairs = [data.cases.pairs[i] for i in data.cases.which]
    names = {
        "gpu": np.array([d.gpu.name for _, d in pairs]),
        "weights": np.array([d.weights.name for _, d in pairs]),
        "engine": np.array([d.engine for _, d in pairs]),
        "model": np.array([spec.name for spec, _ in pairs]),
        "source": data.source,
    }
    points = {}
    for metric in track_record.METRICS:
        rows, measured = np.isfinite(data.measured(metric)), data.measured(metric)
        chosen = {name: values[rows] for name, values in names.items()}
        points[metric] = Points(metric, measured[rows], unseen[metric][rows], seen[metric][rows], **chosen)
    rows = np.isfinite(data.tpot_s)
    ratio = track_record.format_ratio(
        unseen["tpot"][rows], data.tpot_s[rows], pools(data, layout)[rows], names["weights"][rows],
    )
    return TrackRecord(points, ratio, track_record.digest())


def coverage(data: Published, unseen: Estimates, kinds: Mapping[str, track_record.Names]) -> Mapping[str, float]:
    """Share of cases inside the 80 % range when neither constants nor ranges saw their architecture and GPU."""
    held = {}
    for metric in METRICS:
        known = np.isfinite(data.measured(metric))
        error = np.abs(np.log(unseen[metric][known] / data.measured(metric)[known]))
        rows, fold = {level: names[known] for level, names in kinds.items()}, data.fold[known]
        inside = np.zeros(len(error), bool)
        for block in range(BLOCKS):
            out = fold % BLOCKS == block
            learnt = spread.fitted(error[~out], {level: names[~out] for level, names in rows.items()}, fold[~out])
            width = learnt.half_width({level: names[out].tolist() for level, names in rows.items()})
            inside[out] = error[out] <= width
        held[metric] = float(inside.mean())
    return held


def pools(data: Published, same: Aspect) -> Rows:
    """Numbers the rows that share source, architecture, GPU, engine, load and the aspect `same`."""
    cases, keys = data.cases, []
    for row, pair in enumerate(cases.which.tolist()):
        d = cases.pairs[pair][1]
        load = (bool(cases.static[row]), str(cases.concurrency[row]), cases.input_tokens[row], cases.output_tokens[row])
        keys.append(repr((int(data.group[row]), d.engine, d.engine_version, *load, *same(d))))
    return np.unique(np.array(keys), return_inverse=True)[1]


def regret(data: Published, estimates: Estimates, varies: Aspect, same: Aspect) -> float:
    """Mean throughput lost by picking the estimated best where only `varies` differs between cases."""
    truth = _rate(data, data.ttft_s, data.tpot_s, data.output_tokens_per_s_per_gpu)
    published_rate = np.where(np.isfinite(data.output_tokens_per_s_per_gpu), estimates["throughput"], np.nan)
    guess = _rate(data, estimates["ttft"], estimates["tpot"], published_rate)
    known = np.flatnonzero(np.isfinite(truth) & np.isfinite(guess))
    pool, deployments = pools(data, same)[known], [data.cases.pairs[i][1] for i in data.cases.which]
    lost = []
    for number in np.unique(pool):
        rows = known[pool == number]
        if len({varies(deployments[row]) for row in rows}) > 1:
            picked = truth[rows[guess[rows] >= guess[rows].max() * (1 - TIE)]].mean()    # published twice: either
            lost.append(truth[rows].max() / picked - 1)
    return float(np.mean(lost)) if lost else float("nan")


def _rate(data: Published, ttft: Floats, tpot: Floats, rate: Floats) -> Floats:
    """Output tokens/s per GPU: as published, else from TTFT (one step where only TPOT is known) and TPOT."""
    cases = data.cases
    gpus = np.array([cases.pairs[i][1].gpus for i in cases.which])
    known = np.isfinite(data.ttft_s) | ~np.isfinite(data.tpot_s)
    rest = np.where(cases.output_tokens > 1, tpot, 0.0) * (cases.output_tokens - 1)
    derived = cases.concurrency * cases.output_tokens / (np.where(known, ttft, tpot) + rest) / gpus
    return np.where(np.isfinite(rate), rate, derived)


def table(found: Accuracy) -> str:
    """The README's table: cross-validated and in-sample errors, as Markdown."""
    lines = [
        "| figure | cases | unseen: median error | 9 of 10 within | range holds | in sample: median | 9 of 10 within |",
        "|---|---|---|---|---|---|---|",
    ]
    for metric, label in sorted(LABELS.items(), key=lambda item: -len(item[1])):
        unseen, seen = found.record.errors(metric), found.record.errors(metric, in_sample=True)
        lines.append(
            f"| {label} | {unseen.cases:,} | {unseen.median:.1%} | {unseen.p90:.0%} | {found.coverage[metric]:.0%} "
            f"| {seen.median:.1%} | {seen.p90:.0%} |"
        )
    lines.append("")
    lines.append(f"Throughput lost by following the estimate: {found.regret_over_formats:.1%} over formats, "
                 f"{found.regret_over_layouts:.1%} over layouts.")
    for where, errors in found.anchored.items():
        left = ", ".join(f"{LABELS[metric]} {one.median:.1%} / {one.p90:.0%}" for metric, one in errors.items())
        lines.append(f"With one case of the same model, GPU, engine and format measured ({where}), the others: {left}.")
    return "\n".join(lines)


def breakdown(found: TrackRecord, kind: str) -> str:
    """Cross-validated errors by GPU, weights or engine, as Markdown: median / 9 of 10 within (cases)."""
    scores = [found.by(metric, kind) for metric in track_record.METRICS]
    head = " | ".join(LABELS[metric] for metric in track_record.METRICS)
    lines = [f"| {kind} | {head} |", "|---|---|---|---|"]
    for name in sorted({name for known in scores for name in known}):
        cells = [_cell(known.get(name)) for known in scores]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(known: Errors | None) -> str:
    if known is None or known.cases < LEAST:
        return ""
    return f"{known.median:.0%} / {known.p90:.0%} ({known.cases})"


def main() -> None:
    """Print the tables and keep the points."""
    found = accuracy()
    lost = {"formats": found.regret_over_formats, "layouts": found.regret_over_layouts}
    track_record.write(replace(found.record, coverage=found.coverage, regret=lost, anchored=found.anchored))
    print("\n\n".join([table(found), *(breakdown(found.record, kind) for kind in track_record.KINDS)]))


if __name__ == "__main__":
    main()
