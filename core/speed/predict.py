"""Columns of cases in, columns of times with ranges and bounds out."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from core import serving
from core.efficiency import Constants, labels, load, rates
from core.speed.cases import Cases, Floats, Prediction, Range, Rows
from core.speed.steps import Clock, Step, clock
from core.speed.work import work
from core.terms import Bound

_BOUNDS: Final = np.array([Bound.MEMORY, Bound.COMPUTE, Bound.OVERHEAD, Bound.COMMUNICATION, Bound.CAPACITY], object)
TPOT_SPREAD: Final = 0.25
TTFT_SPREAD: Final = 0.60
RATE_SPREAD: Final = 0.22


def predict(cases: Cases, *, constants: Constants | None = None) -> Prediction:
    """TTFT, TPOT, throughput and bounds of every row. Shapes: see `Cases` and `Prediction`."""
    timer = clocked(cases, constants or load())
    times = run(timer, cases)
    prefill, decode = bounds(timer, cases, times)
    per_gpu = times.output_tokens_per_s / timer.work.gpus[cases.which]
    return Prediction(
        ttft_s=_range(times.ttft_s, TTFT_SPREAD),
        tpot_s=_range(np.where(cases.output_tokens > 1, times.tpot_s, np.nan), TPOT_SPREAD),
        output_tokens_per_s_per_gpu=_range(per_gpu, RATE_SPREAD),
        prefill_bound=prefill,
        decode_bound=decode,
        running=times.running,
    )


def clocked(cases: Cases, constants: Constants) -> Clock:
    """Step times for the pairs of the cases."""
    return clock(work(cases.pairs), rates(labels(cases.pairs), constants))


def run(timer: Clock, cases: Cases) -> "serving.Times":
    """Times of every row, static and serving rows each by their own model."""
    out = [np.empty(len(cases.which)) for _ in range(4)]
    for model, chosen in ((serving.static, cases.static), (serving.steady, ~cases.static)):
        if not chosen.any():
            continue
        pair = cases.which[chosen]
        times = model(timer, serving.Load(
            pair, cases.concurrency[chosen], cases.input_tokens[chosen], cases.output_tokens[chosen],
            cases.kv_tokens[pair],
        ))
        values = (times.ttft_s, times.tpot_s, times.output_tokens_per_s, times.running)
        for column, value in zip(out, values, strict=True):
            column[chosen] = value
    return serving.Times(*out)


def bounds(timer: Clock, cases: Cases, times: "serving.Times") -> tuple[NDArray[np.object_], NDArray[np.object_]]:
    """What limits the prefill of one prompt and a decode step of the running batch."""
    pair, dp = cases.which, timer.work.dp[cases.which]
    batch = np.maximum(1.0, times.running / dp)
    context = cases.input_tokens + cases.output_tokens / 2
    prompts = np.where(cases.static, batch, 1.0)
    prefill = timer.prefill(pair, prompts, cases.input_tokens)
    decode = timer.decode(pair, batch, context)
    starved = np.isfinite(cases.concurrency) & (times.running < cases.concurrency * (1 - 1e-9))
    return _largest(prefill), np.where(starved, Bound.CAPACITY, _largest(decode))


def _largest(step: Step) -> NDArray[np.object_]:
    parts = np.stack([step.memory, step.compute, step.overhead + step.host, step.communication])
    limits: Rows = np.argmax(parts, axis=0)
    return np.asarray(_BOUNDS[limits])


def _range(value: Floats, spread: float) -> Range:
    return Range(value, value * np.exp(-spread), value * np.exp(spread))
