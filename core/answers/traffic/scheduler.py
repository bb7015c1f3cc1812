"""One engine replica under traffic: continuous batching with chunked prefill, step by step.

The scheduler of vLLM V1 (`vllm/v1/core/sched/scheduler.py`) and of SGLang in short: every step
decodes one token of each running sequence and spends what is left of the token budget on prompts,
first come first served; a sequence is admitted when its prompt fits in the KV cache; when the cache
runs full the youngest is preempted and its tokens are computed again. What a sequence takes of the cache
follows its own length; while it decodes it grows evenly, up to where the rule bends (a full window).

Between two events (an arrival, an end, a full cache) steps differ only by their growing context,
so they are taken together at the context in their middle; step time is almost linear in it.
"""

from bisect import bisect_right
from collections import deque
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from core.answers.traffic.cache import BLOCK_TOKENS, FULL, Holds, bends, shares, shares_by_block
from core.answers.traffic.requests import Trace

_MAX_STEPS_AT_ONCE: Final = 64      # keeps the midpoint rule within 0.1 % of single steps


class StepTimes(Protocol):
    """How long one engine step lasts."""

    def seconds(self, decoding: int, context_tokens: float, prefill_tokens: int) -> float:
        """Step of `decoding` sequences holding `context_tokens` in all, and a share of prompts [s]."""
        ...

    def attention_s(self, start: int, end: int) -> float:
        """What tokens `start` to `end` of a prompt add to it by attending to all before them [s]."""
        ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What one replica admits."""

    holds: Holds                        # requests of each length that its KV cache holds
    max_num_seqs: int
    max_num_batched_tokens: int
    prefix_reuse: float = 0.0           # share of a prompt found in the prefix cache, 0..1
    host_reuse: float = 0.0             # further share found in the host's memory, 0..1
    host_s_per_token: float | None = None   # to load a cached token from the host; None: nothing is kept there
    request_s: float = 0.0              # a request's time outside of the engine: HTTP, tokenising
    extra_steps: float = 0.0            # decode steps until a first token reaches its client, beside the one under way


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of every request of a trace. Arrays [requests]; NaN where it was refused."""

    arrival_s: NDArray[np.float64]
    ttft_s: NDArray[np.float64]
    latency_s: NDArray[np.float64]
    output_tokens: NDArray[np.int64]
    preemptions: int
    busy_s: float
    end_s: float
    in_system: float                    # time-averaged requests waiting or running
    kv_occupancy: float                 # time-averaged share of the KV cache in use
    kv_peak: float
    waiting_peak: int

    @property
    def refused(self) -> NDArray[np.bool_]:
        """Whether each request was refused: it has no latency [requests]."""
        return np.isnan(self.latency_s)

    @property
    def tpot_s(self) -> NDArray[np.float64]:
        """(latency - TTFT) / (output - 1); NaN for answers of one token [s]."""
        with np.errstate(invalid="ignore", divide="ignore"):
            tpot = (self.latency_s - self.ttft_s) / (self.output_tokens - 1)
        return np.where(self.output_tokens > 1, tpot, np.nan)


@dataclass(slots=True)
class _Replica:
    """The state between steps. Requests are indices into the trace."""

    trace: Trace
    steps: StepTimes
    limits: Limits
    clock: float = 0.0
    step: int = 0
    next_arrival: int = 0
    kv_used: float = 0.0        # share of the cache
    kv_growth: float = 0.0      # share that a step adds
    decoding: int = 0
    decoding_context: int = 0
    waiting: deque[int] = field(default_factory=deque)
    prefilling: deque[int] = field(default_factory=deque)
    ends: list[tuple[int, int]] = field(default_factory=list)      # heap of (last step of a stretch, request)
    admitted: list[int] = field(default_factory=list)              # oldest first; may hold ended ones


class Simulation:
    """Runs a trace through one replica. Time O(events log running)."""

    def __init__(self, trace: Trace, steps: StepTimes, limits: Limits, in_flight: int | None = None) -> None:
        """With `in_flight`, that many requests are kept in the system: one ends, the next arrives."""
        n = len(trace)
        self._r = _Replica(trace, steps, limits)
        lengths = trace.input_tokens + trace.output_tokens
        whole = shares(limits.holds, lengths)
        self._whole: list[float] = whole.tolist()       # share of the cache at its end
        self._by_block = shares_by_block(limits.holds, int(lengths.max(initial=0, where=whole <= FULL)))
        self._bends = bends(self._by_block)
        self._share = [0.0] * n         # of the cache, when it joined
        self._released = n if in_flight is None else min(in_flight, n)
        self._arrival: list[float] = (trace.arrival_s + limits.request_s).tolist()
        self._arrival[self._released:] = [float("inf")] * (n - self._released)
        self._input: list[int] = trace.input_tokens.tolist()
        self._output: list[int] = trace.output_tokens.tolist()
        self._to_prefill = [0] * n      # prompt tokens still to compute
        self._generated = [0] * n
        self._joined = [0] * n          # step at which it began to decode, -1 when it does not
        self._held = [0] * n            # KV tokens held when it joined
        self._until = [0] * n           # last step of its stretch
        self._growth = [0.0] * n        # share of the cache that each step of the stretch takes
        self._outside_s = [limits.request_s] * n        # of a request, before and after the engine has it
        self._ttft = [float("nan")] * n
        self._latency = [float("nan")] * n
        self._preemptions = 0
        self._busy_s = self._area = self._kv_area = self._load_s = 0.0
        self._kv_peak, self._waiting_peak = 0.0, 0

    def run(self) -> Outcome:
        """Every request ends or is refused."""
        r = self._r
        n = len(self._arrival)
        r.clock = self._arrival[0] if n else 0.0
        while True:
            self._arrive()
            self._admit()
            if not r.prefilling and not r.decoding:
                if r.next_arrival >= n:
                    break
                r.clock = self._arrival[r.next_arrival]
                continue
            self._advance()
        return self._outcome()

    def _arrive(self) -> None:
        r = self._r
        while r.next_arrival < len(self._arrival) and self._arrival[r.next_arrival] <= r.clock:
            request = r.next_arrival
            r.next_arrival += 1
            if self._whole[request] > FULL:
                self._release(r.limits.request_s)
                continue
            self._area += r.clock - self._arrival[request] + r.limits.request_s     # it came while a step ran
            r.waiting.append(request)
        self._waiting_peak = max(self._waiting_peak, len(r.waiting))

    def _admit(self) -> None:
        """First come first served while a prompt and its first token fit in the cache."""
        r = self._r
        while r.waiting and r.decoding + len(r.prefilling) < r.limits.max_num_seqs:
            request = r.waiting[0]
            held = self._input[request] + self._generated[request] + 1
            taken = self._by_block[-(-held // BLOCK_TOKENS)]
            if r.kv_used + taken > FULL:
                return
            r.waiting.popleft()
            r.kv_used += taken
            self._share[request] = taken
            self._to_prefill[request] = max(1, held - 1 - self._found(request, held - 1))
            self._held[request] = held
            self._joined[request] = -1
            r.prefilling.append(request)
            r.admitted.append(request)

    def _found(self, request: int, tokens: int) -> int:
        """Of `tokens` to compute, those that a cache holds; loading them from the host takes its time."""
        limits = self._r.limits
        if self._generated[request]:                                    # comes back after a preemption
            near, far = 0, tokens if limits.host_s_per_token is not None else 0
        else:
            near, far = int(tokens * limits.prefix_reuse), int(tokens * limits.host_reuse)
        self._load_s += far * (limits.host_s_per_token or 0.0)
        return near + far

    def _advance(self) -> None:
        """One step with prompts in it, or many that only decode."""
        r = self._r
        self._make_room()
        prompt_tokens, attention_s, done = self._take_prompts(max(1, r.limits.max_num_batched_tokens - r.decoding))
        steps = 1 if prompt_tokens else self._decode_steps()
        self._spend(steps, prompt_tokens, attention_s, len(done))
        self._end_decodes()
        for request in done:
            self._first_token(request)

    def _take_prompts(self, budget: int) -> tuple[int, float, list[int]]:
        """Chunks of the oldest prompts within the budget: tokens, seconds of attention, prompts they finish."""
        r = self._r
        taken, attention_s, done = 0, 0.0, []
        while r.prefilling and taken < budget:
            request = r.prefilling[0]
            chunk = min(self._to_prefill[request], budget - taken)
            start = self._held[request] - 1 - self._to_prefill[request]
            attention_s += r.steps.attention_s(start, start + chunk)
            self._to_prefill[request] -= chunk
            taken += chunk
            if self._to_prefill[request]:
                break
            done.append(r.prefilling.popleft())
        return taken, attention_s, done

    def _decode_steps(self) -> int:
        """Steps until something changes: an end, an arrival that could be admitted, a full cache."""
        r = self._r
        steps = min(r.ends[0][0] - r.step, _MAX_STEPS_AT_ONCE)
        if r.kv_used + steps * r.kv_growth > FULL:
            steps = max(1, int((FULL - r.kv_used) / r.kv_growth))
        if steps > 1 and not r.waiting and r.next_arrival < self._released:
            step_s = r.steps.seconds(r.decoding, r.decoding_context, 0)
            until_arrival = (self._arrival[r.next_arrival] - r.clock) / step_s
            steps = max(1, min(steps, int(until_arrival) + 1))
        return steps

    def _make_room(self) -> None:
        """Preempts the youngest until one more token of every decoding sequence fits."""
        r = self._r
        while r.kv_used + r.kv_growth > FULL and r.decoding + len(r.prefilling) > 1:
            request = r.admitted.pop()
            if self._latency[request] == self._latency[request]:        # has ended
                continue
            if self._joined[request] < 0:
                r.prefilling.remove(request)
                r.kv_used -= self._share[request]
            else:
                self._leave(request)
            self._preemptions += 1
            r.waiting.appendleft(request)

    def _join(self, request: int) -> None:
        """Lets a sequence decode a stretch, up to its end or the next bend."""
        r = self._r
        held = self._held[request]
        tokens, share = self._output[request] - self._generated[request], self._whole[request]
        bend = bisect_right(self._bends, held)
        if bend < len(self._bends) and self._bends[bend] < held + tokens:
            tokens = self._bends[bend] - held
            share = self._by_block[self._bends[bend] // BLOCK_TOKENS]
        growth = (share - self._share[request]) / tokens
        until = r.step + tokens
        self._growth[request], self._joined[request], self._until[request] = growth, r.step, until
        r.decoding += 1
        r.decoding_context += held
        r.kv_growth += growth
        heappush(r.ends, (until, request))

    def _leave(self, request: int) -> None:
        """Takes a decoding sequence out and frees its cache; what it generated stays with it."""
        r = self._r
        made = r.step - self._joined[request]
        held = self._held[request] + made
        self._generated[request] += made
        self._joined[request] = -1
        r.decoding -= 1
        r.decoding_context -= held
        growth = self._growth[request]
        r.kv_growth -= growth
        r.kv_used -= self._share[request] + made * growth
        self._held[request] = held

    def _spend(self, steps: int, prompt_tokens: int, attention_s: float, prompts_done: int) -> None:
        """Lets `steps` equal steps pass."""
        r = self._r
        middle = r.decoding_context + r.decoding * (steps - 1) / 2
        seconds = steps * r.steps.seconds(r.decoding, middle, prompt_tokens) + attention_s + self._load_s
        self._load_s = 0.0
        in_system = r.decoding + len(r.prefilling) + prompts_done + len(r.waiting)
        self._area += seconds * in_system
        self._kv_area += seconds * (r.kv_used + r.kv_growth * steps / 2)
        self._busy_s += seconds
        r.clock += seconds
        r.step += steps
        r.kv_used += r.kv_growth * steps
        r.decoding_context += r.decoding * steps
        self._kv_peak = max(self._kv_peak, r.kv_used)

    def _end_decodes(self) -> None:
        r = self._r
        while r.ends and r.ends[0][0] <= r.step:
            end, request = heappop(r.ends)
            if self._joined[request] < 0 or end != self._until[request]:
                continue                                                # was preempted meanwhile
            self._leave(request)
            if self._generated[request] >= self._output[request]:
                self._end(request)
                continue
            self._share[request] = self._by_block[self._held[request] // BLOCK_TOKENS]
            r.kv_used += self._share[request]
            self._join(request)

    def _first_token(self, request: int) -> None:
        """The prompt is done: its last step gave a token; the rest is decoded from the next step on."""
        r = self._r
        if self._ttft[request] != self._ttft[request]:
            if r.limits.extra_steps:
                step_s = r.steps.seconds(r.decoding + 1, r.decoding_context + self._held[request], 0)
                self._outside_s[request] += r.limits.extra_steps * step_s
                self._area += r.limits.extra_steps * step_s         # its client still waits for it
            self._ttft[request] = r.clock - self._arrival[request] + self._outside_s[request]
        self._generated[request] += 1
        if self._generated[request] >= self._output[request]:
            self._end(request)
            r.kv_used -= self._share[request]
            return
        self._join(request)

    def _end(self, request: int) -> None:
        self._latency[request] = self._r.clock - self._arrival[request] + self._outside_s[request]
        self._release(self._outside_s[request])

    def _release(self, outside_s: float) -> None:
        """Lets the next request in where a number of them is kept in flight: once the client has the last answer."""
        if self._released < len(self._arrival):
            self._arrival[self._released] = self._r.clock + outside_s
            self._released += 1

    def _outcome(self) -> Outcome:
        r = self._r
        trace = r.trace
        arrived = np.array(self._arrival) - r.limits.request_s
        span = max(r.clock - (arrived[0] if len(arrived) else 0.0), 1e-12)
        return Outcome(
            arrival_s=arrived,
            ttft_s=np.array(self._ttft),
            latency_s=np.array(self._latency),
            output_tokens=trace.output_tokens,
            preemptions=self._preemptions,
            busy_s=self._busy_s,
            end_s=r.clock,
            in_system=float(self._area / span),
            kv_occupancy=float(self._kv_area / span),
            kv_peak=min(1.0, self._kv_peak),
            waiting_peak=self._waiting_peak,
        )


def simulate(trace: Trace, steps: StepTimes, limits: Limits) -> Outcome:
    """What happens to every request of `trace` on one replica."""
    return Simulation(trace, steps, limits).run()


def simulate_closed(trace: Trace, steps: StepTimes, limits: Limits, in_flight: int) -> Outcome:
    """The requests of `trace`, `in_flight` at a time, as a benchmark with a fixed concurrency sends them."""
    return Simulation(trace, steps, limits, in_flight).run()
