"""A prediction with kept benchmarks of the same model, GPU, engine and format pulling it their way."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np

from core.answers.advice import Choice
from core.basics.errors import InputError
from core.basics.units import MS_PER_S
from core.delivery.export.order import Order
from core.physics.ask import Load, desk
from core.physics.speed import Range
from core.physics.speed.anchors import Anchors
from core.products.formats import find_kv
from core.terms import LOAD, Basis, Deployment, Estimate, Mode

_SAME: Final = ("model", "gpu", "engine", "weights")     # what a benchmark must share with the plan
_DEGREES: Final = ("tp", "pp", "ep", "dp")


def speaking_for(ordered: Order, records: Iterable[Mapping[str, Any]]) -> tuple[Mapping[str, Any], ...]:
    """The cells of kept benchmarks (see verify.record) that speak for a deployment; unreadable ones are left out."""
    d = ordered.deployment
    mine = (ordered.spec.name, d.gpu.name, d.engine, d.weights.name)
    return tuple(
        cell for record in records for cell in _cells(record)
        if isinstance(cell, Mapping) and tuple(cell.get(name) for name in _SAME) == mine and _is_readable(cell)
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


def anchored(ordered: Order, cells: tuple[Mapping[str, Any], ...]) -> Choice:
    """The choice with its times and rate estimated anew, given the benchmarks."""
    choice, load = ordered.choice, Load.of(ordered.workload, ordered.choice.concurrency)
    theirs = desk((ordered.spec, _deployment(ordered.deployment, cell)) for cell in cells)
    static = np.array([cell.get("mode") == Mode.STATIC for cell in cells])
    loads = Load(static, **{one.name: _column(cells, one.column, one.default) for one in LOAD})
    prediction = desk([(ordered.spec, ordered.deployment)]).predict(load, anchors=Anchors(
        theirs.cases(loads),
        _column(cells, "measured_ttft_ms") / MS_PER_S,
        _column(cells, "measured_tpot_ms") / MS_PER_S,
        _column(cells, "measured_output_tokens_per_s_per_gpu"),
    ))
    gpus, source = ordered.deployment.gpus, f"operator model, anchored on {len(cells)} of your benchmarks"
    return replace(
        choice, ttft=_first(prediction.ttft_s, 1.0, source), tpot=_first(prediction.tpot_s, 1.0, source),
        output_tokens_per_s=_first(prediction.output_tokens_per_s_per_gpu, gpus, source),
    )


def _deployment(mine: Deployment, cells: Mapping[str, Any]) -> Deployment:
    tp, pp, ep, dp = (int(float(cells[name])) for name in _DEGREES)
    return replace(mine, tp=tp, pp=pp, ep=ep, dp=dp, kv_cache=find_kv(str(cells["kv_cache"])))


def _column(cells: tuple[Mapping[str, Any], ...], name: str, default: float | None = None) -> np.ndarray:
    """A figure of every benchmark; the default, or NaN, where it has none."""
    known = [default if (value := cell.get(name)) is None else float(value) for cell in cells]
    return np.array([np.nan if value is None else value for value in known], float)


def _first(column: Range, times: float, source: str) -> Estimate:
    value, low, high = (float(end[0]) * times for end in (column.value, column.low, column.high))
    return Estimate(value, low, high, Basis.ESTIMATED, source)
