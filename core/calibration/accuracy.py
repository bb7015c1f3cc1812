"""How far the estimates are from published figures: `python -m core.calibration.accuracy` prints the tables.

Cross-validated: every architecture x GPU is estimated by constants fitted without it; so is every source, and every
GPU. A napkin's estimate stands beside each. What it finds is kept in assets/accuracy.csv for the screen.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np

from core.calibration import few_measured, fit, napkin, track_record
from core.calibration.few_measured import Anchoring
from core.calibration.problem import problem
from core.calibration.published import METRICS, Published, published
from core.calibration.track_record import Errors, Points, TrackRecord
from core.physics.efficiency import spread
from core.physics.speed.cases import Floats, Rows
from core.terms import Deployment

LABELS: Final[Mapping[str, str]] = {"ttft": "TTFT", "tpot": "TPOT", "throughput": "Throughput"}
BLOCKS: Final = 10               # parts the architectures on GPUs are dealt to when ranges are tested
# Which cases of a deployment are measured, by the words the tables have for it.
ANCHORS: Final[Mapping[str, Anchoring]] = {
    "any layout": Anchoring(1, layout=False, chosen=False),
    "same layout": Anchoring(1, layout=True, chosen=False),
    **{f"{count} at random": Anchoring(count, layout=True, chosen=False) for count in (4, 8)},
    **{f"{count} chosen": Anchoring(count, layout=True, chosen=True) for count in (1, 4, 8)},
}
LEAST: Final = 5                 # figures a table cell needs
PAIRS: Final = "architecture x GPU"
GROUP: Final = 20                # cases of an engine on a generation of GPUs that are worth a word
WORST: Final = 5
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
    beside: Mapping[str, Mapping[str, Errors]]       # what was left out, or "napkin" -> metric
    lost: Mapping[str, Mapping[str, float]]          # what was left out -> formats, layouts -> mean throughput lost
    worst: Mapping[str, Sequence[str]]               # metric -> groups of source, engine and GPU furthest off
    napkin_wins: Sequence[str]                       # engines on generations of GPUs where the napkin is nearer
    anchored: Mapping[str, Mapping[str, Errors]]     # name in ANCHORS -> metric -> with those cases measured


def accuracy(data: Published | None = None) -> Accuracy:
    """Fit, cross-validate and score: a few minutes."""
    model = fit.Model(problem(data or published()))
    return scored(model, fit.fit(model))


def scored(model: fit.Model, at: fit.Quadratic) -> Accuracy:
    """Cross-validate and score a fit."""
    table = model.problem.data
    unseen = fit.cross_validated(model, at, table.fold)
    left_out = {PAIRS: unseen} | {name: fit.cross_validated(model, at, fold) for name, fold in folds(table).items()}
    return judged(model, at, left_out)


def judged(model: fit.Model, at: fit.Quadratic, left_out: Mapping[str, Estimates]) -> Accuracy:
    """What the estimates are worth: those without each architecture on a GPU, each source, each GPU."""
    table, unseen = model.problem.data, left_out[PAIRS]
    on_napkin = napkin.napkin(table.cases)
    return Accuracy(
        record(table, unseen, model.predict(at.theta)),
        regret(table, unseen, formats, layout),
        regret(table, unseen, layout, formats),
        coverage(table, unseen, fit.row_kinds(model, at.theta)),
        {name: errors(table, found) for name, found in {**left_out, "napkin": on_napkin}.items()},
        {name: {"formats": regret(table, found, formats, layout), "layouts": regret(table, found, layout, formats)}
         for name, found in left_out.items()},
        {metric: worst(table, unseen, metric) for metric in METRICS},
        napkin_wins(table, unseen, on_napkin),
        {name: anchored(model, at.theta, unseen, how) for name, how in ANCHORS.items()},
    )


def folds(data: Published) -> Mapping[str, Rows]:
    """What else is left out whole: every source, every GPU [rows]."""
    gpu = np.array([data.cases.pairs[i][1].gpu.name for i in data.cases.which])
    return {"source": data.source_number, "GPU": np.unique(gpu, return_inverse=True)[1]}


def errors(data: Published, estimates: Estimates) -> Mapping[str, Errors]:
    """Errors of every metric."""
    return {metric: track_record.errors(estimates[metric] / data.measured(metric) - 1) for metric in METRICS}


def worst(data: Published, estimates: Estimates, metric: str) -> list[str]:
    """Groups of source, engine and GPU whose median error is largest, with it."""
    deployments = [data.cases.pairs[i][1] for i in data.cases.which]
    name = np.array([f"{source}, {d.engine} on {d.gpu.name}"
                     for source, d in zip(data.source.tolist(), deployments, strict=True)])
    error = np.abs(estimates[metric] / data.measured(metric) - 1)
    medians = {group: float(np.median(known)) for group in np.unique(name).tolist()
               if len(known := error[(name == group) & np.isfinite(error)]) >= GROUP}
    furthest = sorted(medians, key=lambda group: -medians[group])[:WORST]
    return [f"{group} ({medians[group]:.0%})" for group in furthest]


def napkin_wins(data: Published, estimates: Estimates, on_napkin: Estimates) -> list[str]:
    """Engines on generations of GPUs with enough cases where the napkin's median error is smaller, with both."""
    deployments = [data.cases.pairs[i][1] for i in data.cases.which]
    name = np.array([f"{d.engine} on {d.gpu.compute_capability or d.gpu.architecture}" for d in deployments])
    found = []
    for metric in METRICS:
        ours, theirs = (np.abs(e[metric] / data.measured(metric) - 1) for e in (estimates, on_napkin))
        for group in np.unique(name).tolist():
            rows = (name == group) & np.isfinite(ours)
            if rows.sum() >= GROUP and np.median(theirs[rows]) < np.median(ours[rows]):
                found.append(f"{LABELS[metric]} of {group}: {np.median(ours[rows]):.0%}, "
                             f"napkin {np.median(theirs[rows]):.0%}")
    return found


def anchored(model: fit.Model, theta: Floats, unseen: Estimates, how: Anchoring) -> Mapping[str, Errors]:
    """Errors of each metric where some cases of the same model, GPU, engine and format were measured."""
    found = few_measured.errors(model, theta, unseen, how)
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
    lines += ["", "| left out | " + " | ".join(LABELS.values()) + " | lost over formats | over layouts |",
              "|---|---|---|---|---|---|"]
    for name, errors in found.beside.items():
        cells = [f"{errors[metric].median:.1%} / {errors[metric].p90:.0%}" for metric in LABELS]
        cells += [f"{share:.1%}" for share in found.lost.get(name, {}).values()] or ["", ""]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines.append("")
    for metric, groups in found.worst.items():
        lines.append(f"Furthest off in {LABELS[metric]}: {'; '.join(groups)}.")
    lines.append(f"Where the napkin is nearer: {'; '.join(found.napkin_wins) or 'nowhere'}.")
    lines.append(f"Throughput lost by following the estimate: {found.regret_over_formats:.1%} over formats, "
                 f"{found.regret_over_layouts:.1%} over layouts.")
    for where, errors in found.anchored.items():
        left = ", ".join(f"{LABELS[metric]} {one.median:.1%} / {one.p90:.0%}" for metric, one in errors.items())
        count = ANCHORS[where].count
        measured = "one case" if count == 1 else f"{count} cases"
        lines.append(f"With {measured} of a model, GPU, engine and format measured ({where}), the others: {left}.")
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
    keep(accuracy())


def keep(found: Accuracy) -> None:
    """Print the tables and keep the points."""
    lost = {"formats": found.regret_over_formats, "layouts": found.regret_over_layouts}
    track_record.write(replace(found.record, coverage=found.coverage, regret=lost, beside=found.beside,
                               anchored=found.anchored))
    print("\n\n".join([table(found), *(breakdown(found.record, kind) for kind in track_record.KINDS)]))


if __name__ == "__main__":
    main()
