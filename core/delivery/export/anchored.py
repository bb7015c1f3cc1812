"""A prediction with kept benchmarks of the same model, GPU, engine and format pulling it their way."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from core.answers.advice import Choice
from core.answers.sweep import Benchmark, anchors, benchmarks
from core.delivery.export.order import Order
from core.physics.ask import Load, desk
from core.physics.speed import Range
from core.terms import Basis, Estimate


def speaking_for(ordered: Order, records: Iterable[Mapping[str, Any]]) -> tuple[Benchmark, ...]:
    """The loads of kept benchmarks (see verify.record) that speak for a deployment; unreadable ones are left out."""
    return tuple(one for one in benchmarks(records) if one.speaks_for(ordered.spec, ordered.deployment))


def anchored(ordered: Order, known: tuple[Benchmark, ...]) -> Choice:
    """The choice with its times and rate estimated anew, given the benchmarks."""
    choice, load = ordered.choice, Load.of(ordered.workload, ordered.choice.concurrency)
    prediction = desk([(ordered.spec, ordered.deployment)]).predict(
        load, anchors=anchors(ordered.spec, [ordered.deployment], known)
    )
    gpus, source = ordered.deployment.gpus, f"operator model, anchored on {len(known)} of your benchmarks"
    return replace(
        choice, ttft=_first(prediction.ttft_s, 1.0, source), tpot=_first(prediction.tpot_s, 1.0, source),
        output_tokens_per_s=_first(prediction.output_tokens_per_s_per_gpu, gpus, source),
    )


def _first(column: Range, times: float, source: str) -> Estimate:
    value, low, high = (float(end[0]) * times for end in (column.value, column.low, column.high))
    return Estimate(value, low, high, Basis.ESTIMATED, source)
