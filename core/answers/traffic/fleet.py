"""From one replica to a service: percentiles, the smallest fleet that holds an SLO, its cost."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.answers import cost
from core.answers.traffic.cache import longest
from core.answers.traffic.requests import Trace
from core.answers.traffic.scheduler import Limits, Outcome, StepTimes, simulate
from core.basics.errors import InputError
from core.basics.words import counted

MAX_REPLICAS: Final = 65_536


@dataclass(frozen=True, slots=True)
class Slo:
    """What a request must meet, and the share of requests that must meet it."""

    ttft_s: float
    tpot_s: float
    share: float = 0.99


@dataclass(frozen=True, slots=True)
class Percentiles:
    """p50, p90, p99 of a time [s], and the percentile that was asked to hold; NaN when no request ended."""

    p50: float
    p90: float
    p99: float
    asked: float


@dataclass(frozen=True, slots=True)
class Service:
    """How a fleet served a trace."""

    replicas: int
    requests: int
    refused: int
    ttft: Percentiles
    tpot: Percentiles
    latency: Percentiles
    within_slo: float           # share of all requests, refused ones count as missed
    goodput_per_s: float        # requests within the SLO per second of arrivals
    output_tokens_per_s: float  # while requests arrive
    in_system: float            # mean requests waiting or running, whole fleet
    kv_occupancy: float         # mean over replicas
    kv_peak: float
    waiting_peak: int           # longest queue of one replica
    utilisation: float          # share of time a replica has work
    preemptions: int

    def holds(self, slo: Slo) -> bool:
        """Whether the share of requests within the objective is as large as it asks for."""
        return self.within_slo >= slo.share


def _percentiles(values: NDArray[np.float64], share: float) -> Percentiles:
    known = values[~np.isnan(values)]
    if not len(known):
        return Percentiles(np.nan, np.nan, np.nan, np.nan)
    return Percentiles(*(float(p) for p in np.percentile(known, (50, 90, 99, 100 * share))))


def summary(outcomes: list[Outcome], slo: Slo) -> Service:
    """The fleet's figures from its replicas' outcomes."""
    ttft, tpot, latency, output = (
        np.concatenate([getattr(o, name) for o in outcomes])
        for name in ("ttft_s", "tpot_s", "latency_s", "output_tokens")
    )
    arrival = np.concatenate([o.arrival_s for o in outcomes])
    ended = ~np.isnan(latency)
    good = ended & (ttft <= slo.ttft_s) & ~(tpot > slo.tpot_s)
    start = float(arrival.min()) if len(arrival) else 0.0
    span = max(max(o.end_s for o in outcomes) - start, 1e-12)
    offered_per_s = len(arrival) / ((float(np.ptp(arrival)) if len(arrival) else 0.0) or span)
    within_slo = float(np.mean(good)) if len(good) else 1.0
    return Service(
        replicas=len(outcomes),
        requests=len(latency),
        refused=int(np.sum(~ended)),
        ttft=_percentiles(ttft, slo.share),
        tpot=_percentiles(tpot, slo.share),
        latency=_percentiles(latency, slo.share),
        within_slo=within_slo,
        goodput_per_s=within_slo * offered_per_s,
        output_tokens_per_s=_tokens_per_s(arrival[ended], latency[ended], output[ended]),
        in_system=sum(o.in_system for o in outcomes),
        kv_occupancy=float(np.mean([o.kv_occupancy for o in outcomes])),
        kv_peak=max(o.kv_peak for o in outcomes),
        waiting_peak=max(o.waiting_peak for o in outcomes),
        utilisation=sum(o.busy_s for o in outcomes) / (span * len(outcomes)),
        preemptions=sum(o.preemptions for o in outcomes),
    )


def _tokens_per_s(
    arrival: NDArray[np.float64], latency: NDArray[np.float64], output: NDArray[np.int64]
) -> float:
    """Tokens of the answers that end between the first arrivals' answers and the last arrival [1/s].

    Filling up and running dry are left out, which a short trace would count as idleness.
    """
    if not len(arrival):
        return 0.0
    end, last = arrival + latency, float(arrival.max())
    first = float(arrival.min()) + min(float(latency.max()), (last - float(arrival.min())) / 2)
    inside = (end >= first) & (end <= last)
    if not inside.any():
        return float(output.sum()) / max(float(end.max() - arrival.min()), 1e-12)
    return float(output[inside].sum()) / (last - first)


def serve(
    trace: Trace, steps: StepTimes, limits: Limits, replicas: int, slo: Slo, *, most_requests: int | None = None
) -> Service:
    """The trace on `replicas` alike behind a round-robin balancer.

    With `most_requests` only as many of the replicas are simulated as that takes, at least one; they stand for all.
    """
    shown = replicas
    if most_requests is not None and len(trace) > most_requests:
        shown = max(1, most_requests * replicas // len(trace))
    chosen = np.linspace(0, replicas - 1, shown).astype(int).tolist()
    found = summary([simulate(trace.every(replicas, i), steps, limits) for i in chosen], slo)
    share = replicas / shown
    return replace(
        found, replicas=replicas, goodput_per_s=found.goodput_per_s * share,
        output_tokens_per_s=found.output_tokens_per_s * share, in_system=found.in_system * share,
    )


def serve_disaggregated(
    trace: Trace,
    steps: StepTimes,
    limits: Limits,
    prefill_replicas: int,
    decode_replicas: int,
    transfer_s_per_token: float,
    slo: Slo,
) -> Service:
    """Prompts computed on some replicas, answers decoded on others, the cache sent between them.

    The first token comes from where the prompt was computed; the others follow once the cache arrived.
    """
    prompts = replace(trace, output_tokens=np.ones_like(trace.output_tokens))
    ttft = np.full(len(trace), np.nan)
    prefills = []
    for i in range(prefill_replicas):
        outcome = simulate(prompts.every(prefill_replicas, i), steps, limits)
        ttft[i::prefill_replicas] = outcome.ttft_s
        prefills.append(outcome)
    moved = ttft + transfer_s_per_token * trace.input_tokens
    decoded = np.flatnonzero(~np.isnan(moved) & (trace.output_tokens > 1))
    order = decoded[np.argsort(trace.arrival_s[decoded] + moved[decoded], kind="stable")]
    arrived = Trace((trace.arrival_s + moved)[order], trace.input_tokens[order] + 1, trace.output_tokens[order] - 1)
    held = replace(limits, prefix_reuse=1.0, host_reuse=0.0, request_s=0.0, extra_steps=0.0)
    decodes = [simulate(arrived.every(decode_replicas, i), steps, held) for i in range(decode_replicas)]
    latency = np.where(trace.output_tokens == 1, ttft, np.nan)
    for i, outcome in enumerate(decodes):
        chosen = order[i::decode_replicas]
        latency[chosen] = moved[chosen] + outcome.latency_s
    answers = summary(decodes, slo)
    whole = replace(
        prefills[0], arrival_s=trace.arrival_s, ttft_s=ttft, latency_s=latency, output_tokens=trace.output_tokens,
        end_s=max(o.end_s for o in [*prefills, *decodes]),
        in_system=answers.in_system + sum(o.in_system for o in prefills),
    )
    return replace(
        summary([whole], slo),
        replicas=prefill_replicas + decode_replicas,
        kv_occupancy=answers.kv_occupancy, kv_peak=answers.kv_peak, waiting_peak=answers.waiting_peak,
        utilisation=answers.utilisation, preemptions=answers.preemptions,
    )


@dataclass(frozen=True, slots=True)
class Fleet:
    """The smallest number of replicas that holds the SLO, and what headroom and N+1 add."""

    needed: int
    with_headroom: int          # that hold as much more traffic
    to_buy: int                 # with headroom and one more so that one may fail; those at hand where they hold
    service: Service            # of the needed ones
    tried: tuple[Service, ...]  # in order of replicas


def smallest_fleet(
    trace: Trace,
    steps: StepTimes,
    limits: Limits,
    slo: Slo,
    *,
    headroom: float = 0.2,
    guess: int = 1,
    most_requests: int | None = None,
    on_try: Callable[[Service], None] | None = None,
) -> Fleet:
    """The fewest that hold the trace, and those that hold it `headroom` faster: as spare capacity is of traffic.

    Gallops from `guess`, then halves the gap. Raises InputError where no number of replicas can hold the SLO.
    `on_try` sees every fleet tried; raise from it to stop. Time about 2 log2(replicas / guess) simulations.
    """
    _check_alone(trace, steps, limits, slo)
    needed, tried = _least(trace, steps, limits, slo, guess, most_requests, on_try)
    with_headroom = needed
    if headroom > 0:
        busier = replace(trace, arrival_s=trace.arrival_s / (1 + headroom))
        with_headroom = _least(busier, steps, limits, slo, needed, most_requests, on_try)[0]
    return Fleet(needed, with_headroom, with_headroom + 1, tried[needed], tuple(tried[n] for n in sorted(tried)))


def _least(
    trace: Trace, steps: StepTimes, limits: Limits, slo: Slo, guess: int, most_requests: int | None,
    on_try: Callable[[Service], None] | None,
) -> tuple[int, dict[int, Service]]:
    """The fewest replicas that hold, and every number tried."""
    tried: dict[int, Service] = {}

    def holds(replicas: int) -> bool:
        tried[replicas] = serve(trace, steps, limits, replicas, slo, most_requests=most_requests)
        if on_try:
            on_try(tried[replicas])
        return tried[replicas].holds(slo)

    low, high = bracket(holds, guess, min(MAX_REPLICAS, 2 * len(trace)))
    if high is None:
        raise InputError(
            f"Even {counted(low, 'replica')} would keep only {tried[low].within_slo:.1%} of requests within the "
            "SLO: loosen the SLO, shorten the prompts, or choose a faster deployment."
        )
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high, tried


def bracket(holds: Callable[[int], bool], guess: int, most: int) -> tuple[int, int | None]:
    """(most replicas known not to hold, fewest known to hold or None), found in doubling strides from a guess."""
    at, stride = max(1, min(guess, most)), 1
    if holds(at):
        while at > 1:
            lower = max(1, at - stride)
            if not holds(lower):
                return lower, at
            at, stride = lower, 2 * stride
        return 0, 1
    while at < most:
        higher = min(most, at + stride)
        if holds(higher):
            return at, higher
        at, stride = higher, 2 * stride
    return at, None


@dataclass(frozen=True, slots=True)
class Alone:
    """What a request meets on a replica of its own: no fleet is faster."""

    prompt_tokens: int      # the longest prompt that must be in time
    ttft_s: float           # of that prompt
    tpot_s: float           # of a typical one


def alone(trace: Trace, steps: StepTimes, limits: Limits, slo: Slo) -> Alone:
    """Times of a request without company. Raises InputError when it does not even fit in the cache."""
    if not len(trace):
        raise InputError("The trace holds no request: raise the rate or the duration.")
    prompt = int(np.quantile(trace.input_tokens, slo.share, method="lower"))
    typical = int(np.median(trace.input_tokens))
    lengths, needed = trace.input_tokens + trace.output_tokens, max(prompt, typical)
    held = longest(limits.holds, max(needed + 2, int(lengths.max())))
    if needed + 2 > held:
        raise InputError(
            f"A replica's cache holds {held:,} tokens, less than a prompt of {needed:,}: use more GPUs "
            "per replica, smaller weights or a smaller KV cache format."
        )
    over = float(np.mean(lengths > held))
    if over > 1 - slo.share:
        raise InputError(
            f"{over:.1%} of requests are longer, prompt and answer together, than the {held:,} tokens "
            "of a replica's cache: use more GPUs per replica, smaller weights or a smaller KV cache format."
        )
    first, flow = (
        simulate(Trace(np.zeros(1), np.array([tokens]), np.array([answer])), steps, limits)
        for tokens, answer in ((prompt, 1), (typical, 2))
    )
    return Alone(prompt, float(first.ttft_s[0]), float(flow.tpot_s[0]))


def _check_alone(trace: Trace, steps: StepTimes, limits: Limits, slo: Slo) -> None:
    """A request alone on a replica must meet the SLO, or no fleet will. Raises InputError."""
    best = alone(trace, steps, limits, slo)
    if best.ttft_s > slo.ttft_s:
        raise InputError(
            f"A prompt of {best.prompt_tokens:,} tokens alone takes {best.ttft_s * 1e3:,.0f} ms to its first token, "
            f"more than the {slo.ttft_s * 1e3:,.0f} ms asked for, and no number of replicas helps: use more tensor "
            "parallelism or a faster GPU."
        )
    if best.tpot_s > slo.tpot_s:
        raise InputError(
            f"One request alone takes {best.tpot_s * 1e3:,.1f} ms per token, more than the {slo.tpot_s * 1e3:,.1f} ms "
            "asked for, and no number of replicas helps: use a smaller format, more tensor parallelism or a faster GPU."
        )


@dataclass(frozen=True, slots=True)
class Bill:
    """What a fleet costs at a price per GPU and hour [USD]."""

    per_hour: float
    per_month: float
    per_million_output_tokens: float


def bill(replicas: float, gpus_per_replica: int, usd_per_gpu_hour: float, output_tokens_per_s: float) -> Bill:
    """Cost of a fleet at its real traffic, idle time paid for."""
    per_hour = replicas * gpus_per_replica * usd_per_gpu_hour
    per_million = cost.usd_per_million(per_hour, output_tokens_per_s)
    return Bill(per_hour, per_hour * cost.HOURS_PER_MONTH, float(per_million) if output_tokens_per_s else np.inf)
