"""Columns of cases in, columns of times with ranges and bounds out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.physics import memory
from core.physics.efficiency import Constants, Labels, labels, load, loads, rates_of, spread
from core.physics.efficiency.labels import Pair, compute
from core.physics.efficiency.measured import known_parts, narrowed
from core.physics.network import spans
from core.physics.speed import power, serving
from core.physics.speed.anchors import Anchors, anchored
from core.physics.speed.cases import Cases, Floats, Prediction, Range, Rows, Times
from core.physics.speed.steps import Clock, Step, clock
from core.physics.speed.work import work
from core.terms import Bound

_BOUNDS: Final = np.array([Bound.MEMORY, Bound.COMPUTE, Bound.OVERHEAD, Bound.COMMUNICATION, Bound.CAPACITY], object)
METRICS: Final = ("ttft", "tpot", "throughput")
CROWDED: Final = 0.8         # of the seats in use from which small errors in memory decide about queueing


@dataclass(frozen=True, slots=True)
class Timed:
    """Pairs with all of a prediction that no load changes."""

    names: Labels                # what their ranges go by
    doubts: "Doubts"
    clock: Clock


@dataclass(frozen=True, slots=True)
class Doubts:
    """What widens ranges of each pair beside its names, arrays [pairs]."""

    peak: Floats                 # half the log of the range of a peak that is not one published number
    hosted: Floats               # 1 where a host holds weights
    sends: Floats                # 1 where messages cross a network


def timed(pairs: Sequence[Pair]) -> Timed:
    """Names and tabulated step times of the pairs; at least one of them."""
    return Timed(labels(pairs), _doubts(pairs), clock(work(pairs), rates_of(pairs, load())))


def _doubts(pairs: Sequence[Pair]) -> Doubts:
    ranges = [d.gpu.flops_range.get(compute(d.weights, d.gpu)) if d.gpu.flops_range else None for _, d in pairs]
    return Doubts(
        peak=np.array([0.5 * np.log(r[1] / r[0]) if r else 0.0 for r in ranges]),
        hosted=np.array([float(bool((held := memory.hosted(*pair)) and held.host_bytes)) for pair in pairs]),
        sends=np.array([float(d.gpus > 1 and spans(d).machines > 1) for _, d in pairs]),
    )


def predict(cases: Cases, *, anchors: Anchors | None = None, known: Timed | None = None) -> Prediction:
    """TTFT, TPOT, throughput and bounds of every row. Shapes: see `Cases` and `Prediction`.

    `anchors` are measurements: estimates of the same model, GPU, engine and format move towards them.
    `known` is `timed(cases.pairs)`, for callers that ask about the same pairs again.
    """
    if not cases.pairs:
        return _nothing()
    of_pairs, constants = known or timed(cases.pairs), load()
    timer, names = of_pairs.clock, of_pairs.names
    times = run(timer, cases)
    prefill, decode = phases(timer, cases, times)
    width = measured_widths(half_widths(cases, times, of_pairs, constants), cases, names, prefill, decode)
    per_gpu = times.output_tokens_per_s / timer.work.gpus[cases.which]
    estimate = Prediction(
        ttft_s=_range(times.ttft_s, width["ttft"]),
        tpot_s=_range(np.where(cases.output_tokens > 1, times.tpot_s, np.nan), width["tpot"]),
        output_tokens_per_s_per_gpu=_range(per_gpu, width["throughput"]),
        prefill_bound=_largest(prefill),
        decode_bound=np.where(_starved(cases, times), Bound.CAPACITY, _largest(decode)),
        running=times.running,
        watts_per_gpu=power.watts(cases, times, prefill, decode, timer.work.dp[cases.which]),
    )
    if anchors is None:
        return estimate
    return anchored(cases, estimate, anchors, lambda rows, shifts: logs(rows, constants, shifts))


def _nothing() -> Prediction:
    """The answer to no question."""
    empty, bound = np.empty(0), np.empty(0, object)
    none = Range(empty, empty, empty)
    return Prediction(none, none, none, bound, bound, empty, none)


def logs(cases: Cases, known: Constants, shifts: Floats) -> Floats:
    """Logs of TTFT, TPOT and throughput with every term of every pair moved by `shifts` [pairs, terms]; [3, rows]."""
    times = run(clock(work(cases.pairs), rates_of(cases.pairs, known, shifts)), cases)
    later = np.where(cases.output_tokens > 1, times.tpot_s, np.nan)
    gpus = np.array([deployment.gpus for _, deployment in cases.pairs])[cases.which]
    return np.asarray(np.log(np.stack([times.ttft_s, later, times.output_tokens_per_s / gpus])))


def half_widths(cases: Cases, times: Times, of_pairs: Timed, known: Constants) -> Mapping[str, Floats]:
    """Half-widths of the 80 % ranges of every metric [log], arrays [rows]."""
    of_pair, load_kind = spread.kinds(of_pairs.names), load_kinds(cases, times)
    out = {}
    for metric in METRICS:
        how = known.spreads.get(metric, spread.Spread())
        by_load = np.array([how.factor("load", name) for name in spread.LOADS])
        width = np.minimum(how.half_width(of_pair)[cases.which] * by_load[load_kind], spread.WIDEST)
        width = np.hypot(width, of_pairs.doubts.peak[cases.which]) if metric != "tpot" else width
        out[metric] = np.hypot(width, _load_doubt(cases, of_pairs.doubts, metric))
    return out


def _load_doubt(cases: Cases, doubts: Doubts, metric: str) -> Floats:
    """What host memory, drafts and networks add to a half-width [log, rows]: none is in the fit's own table."""
    of_host = loads.constant("host_doubt_ttft" if metric == "ttft" else "host_doubt_tpot")
    of_drafts = 0.0 if metric == "ttft" else loads.constant("draft_doubt")
    wide: Floats = np.hypot(doubts.hosted[cases.which] * of_host, (cases.drafted > 0) * of_drafts)
    return np.asarray(np.hypot(wide, doubts.sends[cases.which] * loads.constant("network_doubt")))


def measured_widths(
    widths: Mapping[str, Floats], cases: Cases, names: Labels, prefill: Step, decode: Step,
) -> Mapping[str, Floats]:
    """The same, narrower by the share of a phase's time that rests on rates a probe of the GPU found."""
    if not any(deployment.gpu.measured for _, deployment in cases.pairs):
        return widths
    memory, of_memory, compute, of_compute = (
        column[cases.which] for term in ("weights_bandwidth", "matmul_rate")
        for column in known_parts(cases.pairs, names, term)
    )
    known, doubt = {}, {}
    for metric, step in (("ttft", prefill), ("tpot", decode), ("throughput", decode)):
        parts = memory * step.memory / step.seconds, compute * step.compute / step.seconds
        known[metric] = parts[0] + parts[1]
        doubt[metric] = of_memory * parts[0] + of_compute * parts[1]
    return {metric: narrowed(metric, width, known[metric], doubt[metric]) for metric, width in widths.items()}


def load_kinds(cases: Cases, times: Times) -> Rows:
    """Index into `spread.LOADS` of every row."""
    kind = np.where(cases.static, np.where(cases.concurrency > 1, 1, 0), 3)
    kind = np.where(cases.static & (cases.output_tokens <= 1), 2, kind)
    kind = np.where(times.crowding > CROWDED, 5, kind)
    return np.where(np.isnan(cases.concurrency), 4, kind)


def run(timer: Clock, cases: Cases) -> Times:
    """Times of every row, static and serving rows each by their own model."""
    out = [np.empty(len(cases.which)) for _ in range(5)]
    for model, chosen in ((serving.static, cases.static), (serving.steady, ~cases.static)):
        if not chosen.any():
            continue
        pair = cases.which[chosen]
        times = model(timer, serving.Load(
            pair, cases.concurrency[chosen], cases.input_tokens[chosen], cases.output_tokens[chosen],
            cases.held[chosen], cases.found_tokens[chosen], cases.drafted[chosen], cases.gained[chosen],
        ))
        values = (times.ttft_s, times.tpot_s, times.output_tokens_per_s, times.running, times.crowding)
        for column, value in zip(out, values, strict=True):
            column[chosen] = value
    return Times(*out)


def phases(timer: Clock, cases: Cases, times: Times) -> tuple[Step, Step]:
    """The prefill of one prompt, of all of them where they start together, and a decode step of the running batch."""
    pair, dp = cases.which, timer.work.dp[cases.which]
    batch = np.maximum(1.0, times.running / dp)
    context = cases.input_tokens + cases.output_tokens / 2
    prompts = np.where(cases.static, batch, 1.0)
    new = cases.input_tokens - cases.found_tokens
    return timer.prefill(pair, prompts, new, found=cases.found_tokens), timer.decode(
        pair, batch, context, cases.drafted)


def _starved(cases: Cases, times: Times) -> NDArray[np.bool_]:
    """Where the KV cache has no seat for every request."""
    return np.asarray(np.isfinite(cases.concurrency) & (times.running < cases.concurrency * (1 - 1e-9)))


def _largest(step: Step) -> NDArray[np.object_]:
    parts = np.stack([step.memory, step.compute, step.overhead + step.host, step.communication])
    limits: Rows = np.argmax(parts, axis=0)
    return np.asarray(_BOUNDS[limits])


def _range(value: Floats, width: Floats) -> Range:
    return Range(value, value * np.exp(-width), value * np.exp(width))
