"""Everything the traffic of one replica type tells: its fleet, rates around it, hours, and other ways to run it.

Parts come one by one, the first answer first, so that a page can show them as they are found.
"""

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from core.answers.traffic.fleet import (
    Alone,
    Fleet,
    Service,
    Slo,
    alone,
    serve,
    serve_disaggregated,
    smallest_fleet,
)
from core.answers.traffic.hours import Hour, autoscale
from core.answers.traffic.replica import Options, Replica, replica
from core.answers.traffic.requests import Trace
from core.answers.traffic.scheduler import StepTimes
from core.answers.traffic.sweep import Look, Point, executor
from core.basics.errors import InputError
from core.basics.words import counted
from core.models import ModelSpec
from core.terms import Deployment

FACTORS: Final = (0.25, 0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)     # of the rate asked
MOST_SPLITS: Final = 5
QUICK_REQUESTS: Final = 1_500       # of every fleet of the first look: about a tenth of a second
QUICK_CURVE_REQUESTS: Final = 400   # of every point of its curve
CURVE_REQUESTS: Final = 6_000       # of every point around the answer
SHORTEST_S: Final = 60.0            # of traffic, so that queues have time to grow

Report = Callable[[float, str], None]       # share of the work done, what it does now


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: requests, a replica type, targets. `replicas` are what the user has; None: as few as hold."""

    spec: ModelSpec
    deployment: Deployment
    options: Options
    trace: Trace
    slo: Slo
    headroom: float = 0.2
    replicas: int | None = None
    windows: int = 24           # of the autoscaler: hours of a day


@dataclass(frozen=True, slots=True)
class RatePoint:
    """The fleet at another rate, and the fleet that rate would need."""

    requests_per_s: float
    service: Service        # of the fleet of the answer
    needed: int | None      # replicas that hold the SLO at this rate; None: not looked for, or none do


@dataclass(frozen=True, slots=True)
class Split:
    """A way to share the same replicas between prompts and answers; no prefill replicas: every one does both."""

    prefill: int
    decode: int
    service: Service


@dataclass(frozen=True, slots=True)
class Effect:
    """What one option does to the fleet of the answer."""

    name: str
    without: Service
    service: Service
    note: str               # the law or the source behind it


Part = Fleet | RatePoint | tuple[Hour, ...] | tuple[Split, ...] | Effect


def first_look(question: Question) -> tuple[Fleet, tuple[RatePoint, ...]]:
    """The answer and its curve from few requests. Raises InputError where no fleet can hold the targets."""
    one, slo = _replica(question), question.slo
    fleet = _quick(question, one)
    shown = question.replicas or fleet.needed
    busiest = _busiest(question.trace, QUICK_CURVE_REQUESTS)
    points = tuple(
        RatePoint(
            question.trace.requests_per_s * factor,
            serve(busiest.at_rate(factor), one.steps, one.limits, shown, slo, most_requests=QUICK_CURVE_REQUESTS),
            None,
        )
        for factor in FACTORS
    )
    return fleet, points


def times_alone(question: Question) -> Alone:
    """What a request meets on a replica of its own. Raises InputError when it does not fit in the cache."""
    one = _replica(question)
    return alone(question.trace, one.steps, one.limits, question.slo)


def _quick(question: Question, one: Replica) -> Fleet:
    busiest = _busiest(question.trace, QUICK_REQUESTS)
    return _at_hand(question, smallest_fleet(
        busiest, one.steps, one.limits, question.slo, headroom=question.headroom,
        guess=max(1, len(busiest) // QUICK_REQUESTS), most_requests=QUICK_REQUESTS,
    ))


def _at_hand(question: Question, fleet: Fleet) -> Fleet:
    """The fleet as it is run by whom has replicas: all of them where they hold, else as many as are worth buying."""
    owned = question.replicas
    return fleet if owned is None or owned < fleet.needed else replace(fleet, to_buy=owned)


def _busiest(trace: Trace, requests: int) -> Trace:
    """The busiest part of a trace with that many requests and a minute at least."""
    return trace.busiest(max(requests, round(SHORTEST_S * trace.requests_per_s)))


class _Watched:
    """Step times that look, prompt by prompt, whether the work should stop."""

    def __init__(self, steps: StepTimes, look: Look) -> None:
        self.seconds = steps.seconds
        self._attention_s, self._look = steps.attention_s, look

    def attention_s(self, start: int, end: int) -> float:
        self._look()
        return self._attention_s(start, end)


def study(question: Question, tell: Report) -> Iterator[Part]:
    """The whole answer, part by part. `tell` is called all along; raise from it to stop."""
    told = (0.0, "")

    def report(done: float, note: str) -> None:
        nonlocal told
        told = (done, note)
        tell(done, note)

    def look() -> None:
        tell(*told)

    plain, trace, slo = _replica(question), question.trace, question.slo
    one = _watched(plain, look)
    report(0.0, "the smallest fleet")
    guess = _quick(question, one).needed
    fleet = _at_hand(question, smallest_fleet(
        trace, one.steps, one.limits, slo, headroom=question.headroom, guess=guess,
        on_try=lambda tried: report(0.1, counted(tried.replicas, "replica")),
    ))
    yield fleet
    rates, splits = _rates(question, plain, fleet), _splits(question, plain, max(2, fleet.needed))
    with closing(executor()([*rates, *splits], look)) as found:
        for i, factor in enumerate(FACTORS):
            report(0.2 + 0.5 * i / len(FACTORS), f"{trace.requests_per_s * factor:,.3g} requests/s")
            yield next(found)
        report(0.7, "hour by hour")
        yield autoscale(trace, one.steps, one.limits, slo, windows=question.windows, most=fleet.needed,
                        on_window=lambda _: report(0.7, "hour by hour"))
        report(0.8, "prompts and answers apart")
        yield tuple(found)
    report(0.9, "what each option does")
    yield from _effects(question, one, fleet.needed, report)


def _watched(one: Replica, look: Look) -> Replica:
    return replace(one, steps=_Watched(one.steps, look))


def _replica(question: Question) -> Replica:
    return replica(question.spec, question.deployment, question.options)


def _rates(question: Question, one: Replica, fleet: Fleet) -> Iterator[Point]:
    """The busiest requests of the trace, faster and slower, called by the rate of the whole trace."""
    shown = question.replicas or fleet.needed
    busiest = _busiest(question.trace, CURVE_REQUESTS)
    for factor in FACTORS:
        rate, guess = question.trace.requests_per_s * factor, max(1, round(fleet.needed * factor))
        yield at_rate, (one, busiest.at_rate(factor), question.slo, rate, shown, guess)


def at_rate(look: Look, one: Replica, trace: Trace, slo: Slo, rate: float, replicas: int, guess: int) -> RatePoint:
    """A fleet under a trace called by its rate, and the fleet it needs, searched from a guess."""
    one = _watched(one, look)
    service = serve(trace, one.steps, one.limits, replicas, slo, most_requests=CURVE_REQUESTS)
    return RatePoint(rate, service, _needed(trace, one, slo, guess))


def _needed(trace: Trace, one: Replica, slo: Slo, guess: int) -> int | None:
    try:
        return smallest_fleet(trace, one.steps, one.limits, slo, headroom=0.0, guess=guess,
                              most_requests=CURVE_REQUESTS).needed
    except InputError:
        return None


def _splits(question: Question, one: Replica, replicas: int) -> Iterator[Point]:
    """The same replicas together, and shared out in up to five ways."""
    trace = _busiest(question.trace, CURVE_REQUESTS)
    for prefill in (0, *range(1, replicas, max(1, (replicas - 1) // MOST_SPLITS))):
        yield shared_out, (one, trace, question.slo, prefill, replicas - prefill)


def shared_out(look: Look, one: Replica, trace: Trace, slo: Slo, prefill: int, decode: int) -> Split:
    """Some replicas for prompts and the others for answers; all for both where none is for prompts."""
    one = _watched(one, look)
    if not prefill:
        return Split(0, decode, serve(trace, one.steps, one.limits, decode, slo))
    apart = serve_disaggregated(trace, one.steps, one.limits, prefill, decode, one.transfer_s_per_token, slo)
    return Split(prefill, decode, apart)


def _effects(question: Question, one: Replica, replicas: int, report: Report) -> Iterator[Effect]:
    """Every option that is on against the same fleet without it."""
    options = question.options
    whole = serve(question.trace, one.steps, one.limits, replicas, question.slo)
    for name, plain, note in _without(options):
        report(0.9, name)
        other = replica(question.spec, question.deployment, plain)
        yield Effect(name, serve(question.trace, other.steps, other.limits, replicas, question.slo), whole, note)


def _without(options: Options) -> Iterator[tuple[str, Options, str]]:
    """(name of an option that is on, the options without it, its law or source)."""
    if options.speculation:
        spec = options.speculation
        yield (
            "Speculative decoding", replace(options, speculation=None),
            f"{spec.tokens_per_step:.2f} tokens per check of {spec.draft_tokens} drafted, {spec.kept:.0%} of them kept",
        )
    if options.prefix_reuse:
        yield (
            "Prefix caching", replace(options, prefix_reuse=0.0),
            f"{options.prefix_reuse:.0%} of each prompt is not computed again: vLLM, SGLang and TensorRT-LLM keep "
            "the cache of finished requests until its space is needed",
        )
    if options.offload:
        yield (
            "KV offload", replace(options, offload=False, host_reuse=0.0),
            "evicted caches come back over PCIe instead of being computed again: vLLM blog, KV offloading connector, "
            "2026-01-08",
        )
    if options.chunk_tokens:
        yield (
            "Chunk size", replace(options, chunk_tokens=None),
            f"a step takes up to {options.chunk_tokens:,} tokens: smaller chunks disturb answers less and "
            "prompts take longer (Sarathi-Serve, OSDI 2024)",
        )
