"""How far estimates have been from published figures: what `make accuracy` found, kept for the screen.

`assets/accuracy.csv` holds one line per published figure with two estimates of it: by a fit that never
saw that architecture on that GPU, and by the fit that is shipped. Its first line says what it was made from.
"""

import csv
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.basics import tables
from core.basics.places import ASSETS
from core.basics.tables import Reads

Floats: TypeAlias = NDArray[np.float64]
Names: TypeAlias = NDArray[np.str_]

PATH: Final = ASSETS / "accuracy.csv"
PUBLISHED: Final = ASSETS / "published.csv"
METRICS: Final = ("tpot", "ttft", "throughput")
KINDS: Final = ("gpu", "weights", "engine")        # what errors are told apart by
_RANGE: Final = 0.8                                # share of the cases that a range is to hold


@dataclass(frozen=True, slots=True)
class Point:
    """One estimate of one published figure: a row of assets/accuracy.csv."""

    metric: Literal["tpot", "ttft", "throughput"]
    measured: float              # [s] or [output tokens/s per GPU]
    predicted: Annotated[float, Reads(float, "a number or nan")]     # cross-validated; nan where not answered
    in_sample: Annotated[float, Reads(float, "a number or nan")]
    gpu: str
    weights: str
    engine: str
    model: str
    source: str


_COLUMNS: Final = tuple(column.name for column in fields(Point))


@dataclass(frozen=True, slots=True)
class Points:
    """Estimates against published figures of one metric, arrays [points]."""

    metric: str                  # tpot, ttft [s] or throughput [output tokens/s per GPU]
    measured: Floats
    predicted: Floats            # cross-validated; NaN where not answered
    in_sample: Floats
    gpu: Names
    weights: Names
    engine: Names
    model: Names
    source: Names

    def error(self, *, in_sample: bool = False) -> Floats:
        """Relative errors, estimate / measured - 1."""
        return np.asarray((self.in_sample if in_sample else self.predicted) / self.measured - 1)


@dataclass(frozen=True, slots=True)
class Errors:
    """Of some cases: how many, how far off in the median and for nine of ten, and which way."""

    cases: int
    median: float                # of |estimate / measured - 1|
    p90: float
    bias: float                  # median of estimate / measured - 1


@dataclass(frozen=True, slots=True)
class TrackRecord:
    """Points by metric and what they say of comparisons between formats."""

    points: Mapping[str, Points]
    format_ratio: float          # 8 of 10 ratios of TPOT between two formats, all else equal, are this near [log]
    published_sha256: str        # of the table the estimates were made against
    coverage: Mapping[str, float] = field(default_factory=dict)   # metric -> unseen cases inside their 80 % range
    regret: Mapping[str, float] = field(default_factory=dict)     # formats, layouts -> throughput lost by the pick
    beside: Mapping[str, Mapping[str, Errors]] = field(default_factory=dict)      # what was left out, napkin -> metric
    # any layout, same layout -> metric -> unseen errors where one case of that model, GPU, engine, format was measured
    anchored: Mapping[str, Mapping[str, Errors]] = field(default_factory=dict)

    def errors(self, metric: str, *, in_sample: bool = False) -> Errors:
        """Over all cases of a metric."""
        return errors(self.points[metric].error(in_sample=in_sample))

    def by(self, metric: str, kind: str) -> Mapping[str, Errors]:
        """Cross-validated errors of a metric by one of `KINDS`, most cases first."""
        points = self.points[metric]
        names, error = getattr(points, kind), points.error()
        found = {str(name): errors(error[names == name]) for name in np.unique(names)}
        return dict(sorted(found.items(), key=lambda item: -item[1].cases))

    @property
    def sources(self) -> Mapping[str, int]:
        """Sources of the published figures and how many each gave, most first."""
        names, counts = np.unique(np.concatenate([p.source for p in self.points.values()]), return_counts=True)
        return {str(names[i]): int(counts[i]) for i in np.argsort(-counts)}


def errors(error: Floats) -> Errors:
    """Errors of estimates; NaN counts as not answered."""
    known = error[np.isfinite(error)]
    if not known.size:
        return Errors(0, float("nan"), float("nan"), float("nan"))
    away = np.abs(known)
    return Errors(known.size, float(np.median(away)), float(np.quantile(away, 0.9)), float(np.median(known)))


def format_ratio(predicted: Floats, measured: Floats, same: NDArray[np.intp], weights: Names) -> float:
    """How near ratios between two formats are estimated: the log error that 8 of 10 stay within.

    `same` numbers the cases that differ in nothing but their format, arrays [cases].
    """
    order = np.argsort(same, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(same[order])) + 1)
    miss = np.log(predicted / measured)
    away = [
        abs(miss[i] - miss[j])
        for group in groups for n, i in enumerate(group) for j in group[n + 1:]
        if weights[i] != weights[j] and np.isfinite(miss[i] - miss[j])
    ]
    return float(np.quantile(away, _RANGE)) if away else float("nan")


def digest(path: Path = PUBLISHED) -> str:
    """SHA-256 of the table of published figures."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write(record: TrackRecord, path: Path = PATH) -> None:
    """Keep a track record, with digits enough for the screen to say what `make accuracy` prints."""
    with path.open("w", encoding="utf-8", newline="") as file:
        head = {
            "published_sha256": record.published_sha256, "format_ratio": round(record.format_ratio, 6),
            "coverage": {metric: round(share, 6) for metric, share in record.coverage.items()},
            "regret": {what: round(share, 6) for what, share in record.regret.items()},
            "beside": _kept(record.beside), "anchored": _kept(record.anchored),
        }
        file.write(f"# {json.dumps(head)}\n")
        out = csv.writer(file, lineterminator="\n")
        out.writerow(_COLUMNS)
        for metric, points in record.points.items():
            figures = (points.measured, points.predicted, points.in_sample)
            names = (points.gpu, points.weights, points.engine, points.model, points.source)
            for row in zip(*figures, *names, strict=True):
                out.writerow([metric, *(f"{value:.6g}" for value in row[:3]), *row[3:]])


@cache
def read(path: Path = PATH) -> TrackRecord:
    """The track record that is shipped."""
    with path.open(encoding="utf-8", newline="") as file:
        head = json.loads(file.readline().removeprefix("# "))
    rows = tables.read(path, Point)
    return TrackRecord(
        {metric: _points(metric, [row for row in rows if row.metric == metric]) for metric in METRICS},
        float(head["format_ratio"]), str(head["published_sha256"]), head.get("coverage", {}), head.get("regret", {}),
        _found(head.get("beside", {})), _found(head.get("anchored", {})),
    )


def _kept(errors: Mapping[str, Mapping[str, Errors]]) -> dict[str, dict[str, list[float]]]:
    return {
        where: {metric: [one.cases, *(round(share, 6) for share in (one.median, one.p90, one.bias))]
                for metric, one in by_metric.items()}
        for where, by_metric in errors.items()
    }


def _found(kept: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, dict[str, Errors]]:
    return {
        where: {metric: Errors(int(cases), *shares) for metric, (cases, *shares) in by_metric.items()}
        for where, by_metric in kept.items()
    }


def _points(metric: str, rows: Sequence[Point]) -> Points:
    columns = (np.array([getattr(row, name) for row in rows]) for name in _COLUMNS[1:])
    return Points(metric, *columns)
