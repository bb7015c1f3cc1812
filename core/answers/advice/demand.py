"""How many requests are in flight where that is not what people know: from users, from a rate, or left open."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, isnan
from typing import Final, TypeAlias

import numpy as np

from core.answers.advice.carried import carried
from core.answers.advice.plan import Choice, Plan, Standing
from core.basics.words import counted, number, percent
from core.terms import Workload

_ROUNDS: Final = 3       # plans of other layouts; a fourth would be within a request or two


@dataclass(frozen=True, slots=True)
class Open:
    """Nobody says: the plan tells what can be carried."""


@dataclass(frozen=True, slots=True)
class Users:
    """People who read an answer and think for a while before they ask again."""

    count: int
    think_s: float

    def in_flight(self, latency_s: float) -> float:
        """Requests being served on average: each user is one for latency of (latency + think) seconds."""
        return self.count * latency_s / (latency_s + self.think_s)

    def __str__(self) -> str:
        return f"{counted(self.count, 'user')}, each {self.think_s:g} s between an answer and the next request"


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Requests that come whoever sends them."""

    per_s: float

    def in_flight(self, latency_s: float) -> float:
        """Requests being served on average: rate x time each takes (Little, Operations Research 9, 1961)."""
        return self.per_s * latency_s

    def __str__(self) -> str:
        return f"{self.per_s:,g} requests/s"


Demand: TypeAlias = Open | Users | Arrivals
Planner: TypeAlias = Callable[[Workload, Sequence[int]], Plan]


def answered(plan: Planner, workload: Workload, counts: Sequence[int], demand: Demand | None) -> Plan:
    """The plan for a demand; None is the concurrency of the workload as it stands. `counts`: GPUs to try."""
    if demand is None:
        return plan(workload, counts)
    if isinstance(demand, Open):
        return carried(plan, workload, counts)
    return _settled(plan, workload, counts, demand)


def _settled(plan: Planner, workload: Workload, counts: Sequence[int], demand: Users | Arrivals) -> Plan:
    """The plan at the concurrency that its own latency gives.

    Fewer requests are faster, so the search comes from above: from as many as there are when every request takes
    as long as the targets allow. What is over the targets there is over them for good. Another layout has another
    latency: then once more.
    """
    in_flight = ceil(demand.in_flight(_latency_s(workload.ttft_slo_s, workload.tpot_slo_s, workload)))
    made = plan(replace(workload, concurrency=max(1, in_flight)), counts)
    for _ in range(_ROUNDS):
        if made.standing is not Standing.MET or made.best is None:
            break
        needed = _meets_itself(made, demand)
        if needed == made.workload.concurrency:
            break
        made = plan(replace(workload, concurrency=needed), counts)
    return made


def _meets_itself(made: Plan, demand: Users | Arrivals) -> int:
    """The fewest requests in flight that are no fewer than the demand has at their own latency, in one layout."""
    curve, load = made.batch_curve(), made.workload
    assert curve is not None and made.best is not None
    counts = np.arange(1, load.concurrency + 1)
    latency = curve.ttft_s.value + (load.output_tokens - 1) * np.nan_to_num(curve.tpot_s.value)
    there = np.interp(np.log(counts), np.log(curve.batch), latency)
    enough = (int(n) for n, s in zip(counts, there, strict=True) if n >= demand.in_flight(float(s)))
    return next(enough, ceil(demand.in_flight(latency_s(made.best, load))))


def latency_s(choice: Choice, workload: Workload) -> float:
    """Seconds from a request to its last token."""
    return _latency_s(choice.ttft.value, choice.tpot.value, workload)


def _latency_s(ttft_s: float, tpot_s: float, workload: Workload) -> float:
    return ttft_s + (0.0 if isnan(tpot_s) else (workload.output_tokens - 1) * tpot_s)


def assumed(demand: Demand | None, plan: Plan) -> str:
    """How the requests in flight were found, as a sentence; empty where they were asked for."""
    load, best = plan.workload, plan.best
    if demand is None or best is None:
        return ""
    flying = counted(load.concurrency, "request")
    if isinstance(demand, Open):
        return f"The load was left open: {flying} in flight are what {_held(plan)}."
    if plan.standing is Standing.MET:
        each = number(latency_s(best, load))
        return f"{demand}: about {flying} in flight on average, for each takes {each} s. Traffic simulates the peaks."
    return f"{demand}: at least {flying} in flight, if each takes as long as the targets allow."


def _held(plan: Plan) -> str:
    assert plan.best is not None
    share = percent(plan.workload.quality_loss)
    hardware = counted(plan.best.deployment.gpus, "GPU")
    return f"{hardware} can carry within the targets and {share} loss of quality"
