"""Benchmarks of a deployment, as `estimate` reads them, and how they pull predictions of its kind their way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from core.basics.errors import InputError
from core.basics.units import MS_PER_S
from core.models import ModelSpec
from core.physics.ask import Load, desk
from core.physics.speed.anchors import Anchors
from core.products.formats import find_kv
from core.terms import LOAD, Deployment, Mode

_SAME: Final = ("model", "gpu", "engine", "weights")     # what a benchmark must share with a prediction
_DEGREES: Final = ("tp", "pp", "ep", "dp")


@dataclass(frozen=True, slots=True)
class Benchmark:
    """One measured load: a row of `estimate` with what was measured."""

    cells: Mapping[str, Any]
    date: str                          # of the run, ISO 8601; empty where nobody says

    def speaks_for(self, spec: ModelSpec, deployment: Deployment) -> bool:
        """Whether it is of this model, GPU, engine and weight format."""
        d = deployment
        return tuple(self.cells.get(name) for name in _SAME) == (spec.name, d.gpu.name, d.engine, d.weights.name)


def benchmarks(records: Iterable[Mapping[str, Any]]) -> tuple[Benchmark, ...]:
    """The loads of kept benchmarks (see delivery.export.verify.record); unreadable ones are left out."""
    return tuple(
        Benchmark(cells, str(record.get("date", ""))) for record in records for cells in _cells(record)
        if isinstance(cells, Mapping) and _is_readable(cells)
    )


def _cells(record: Mapping[str, Any]) -> Sequence[Any]:
    """Of one benchmark, or of every load of an engine run."""
    found = record.get("cells")
    return found if isinstance(found, list) else [found]


def _is_readable(cells: Mapping[str, Any]) -> bool:
    try:
        find_kv(str(cells["kv_cache"]))
        numbers = [float(cells[name]) for name in (
            *_DEGREES, "concurrency", "input_tokens", "output_tokens", "measured_ttft_ms",
            "measured_output_tokens_per_s_per_gpu",
        )]
    except (KeyError, TypeError, ValueError, InputError):
        return False
    return all(0 < number < np.inf for number in numbers)


def anchors(spec: ModelSpec, deployments: Sequence[Deployment], known: Sequence[Benchmark]) -> Anchors | None:
    """What the benchmarks say of these deployments; None where they speak for none."""
    like = [(one.cells, d) for one in known
            if (d := next((d for d in deployments if one.speaks_for(spec, d)), None)) is not None]
    if not like:
        return None
    cells = [own for own, _ in like]
    static = np.array([own.get("mode") == Mode.STATIC for own in cells])
    loads = Load(static, **{one.name: _column(cells, one.column, one.default) for one in LOAD})
    return Anchors(
        desk((spec, _deployment(d, own)) for own, d in like).cases(loads),
        _column(cells, "measured_ttft_ms") / MS_PER_S,
        _column(cells, "measured_tpot_ms") / MS_PER_S,
        _column(cells, "measured_output_tokens_per_s_per_gpu"),
    )


def _deployment(mine: Deployment, cells: Mapping[str, Any]) -> Deployment:
    tp, pp, ep, dp = (int(float(cells[name])) for name in _DEGREES)
    return replace(mine, tp=tp, pp=pp, ep=ep, dp=dp, kv_cache=find_kv(str(cells["kv_cache"])))


def _column(cells: Sequence[Mapping[str, Any]], name: str, default: float | None = None) -> np.ndarray:
    """A figure of every benchmark; the default, or NaN, where it has none."""
    known = [default if (value := own.get(name)) is None else float(value) for own in cells]
    return np.array([np.nan if value is None else value for value in known], float)
