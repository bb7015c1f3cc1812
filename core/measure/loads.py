"""Which loads to run: the few after which least is unknown of all others that the deployment can carry.

Nothing has to be measured to choose: what a load tells follows from the model's own sensitivities.
"""

from dataclasses import dataclass, replace
from itertools import product
from math import ceil, isfinite
from typing import Final

import numpy as np

from core.basics.errors import InputError
from core.basics.units import GIB, MS_PER_S
from core.basics.words import counted
from core.delivery.export.order import Order, batch_limit, longest_request
from core.physics.ask import Desk, Load, desk
from core.physics.efficiency import TERMS, load
from core.physics.speed.anchors import METRICS, figures, slopes
from core.physics.speed.predict import logs
from core.physics.speed.telling import most_telling
from core.terms import Mode, Workload

USUALLY: Final = 8                  # loads: what is left of the error shrinks little beyond
START_S: Final = 20.0               # of a client, which imports its libraries and counts its prompts
SHORTEST_S: Final = 10.0            # of a load, so that the start weighs little
LEAST_ROUNDS, MOST_ROUNDS = 2, 10   # requests behind each one in flight
_SHORTEST: Final = 16               # tokens


@dataclass(frozen=True, slots=True)
class Trial:
    """A load to run, how many requests of it, and how long that should take."""

    workload: Workload
    requests: int
    expected_s: float

    @property
    def says(self) -> str:
        """For people: "16 requests in flight, prompt 1,024, answer 256"."""
        one = self.workload
        return (f"{counted(one.concurrency, 'request')} in flight, prompt {one.input_tokens:,}, "
                f"answer {one.output_tokens:,}")


def chosen(ordered: Order, count: int, limit_s: float, mode: Mode,
           most_requests: int | None = None) -> tuple[Trial, ...]:
    """Up to `count` loads that together take no longer than `limit_s`, the most telling first.

    `most_requests` bounds their requests together. Raises InputError where none fits.
    """
    at = desk([(ordered.spec, ordered.deployment)])
    trials = [trial for trial in _timed(at, _around(ordered, mode)) if trial.expected_s <= limit_s / count]
    if most_requests is not None:
        trials = [trial for trial in trials if trial.requests <= most_requests / count]
    if not trials:
        raise InputError("No load around the plan's ends within the time and requests allowed: allow more, or measure "
                         "fewer loads.")
    return tuple(trials[row] for row in _telling(at, [trial.workload for trial in trials], count))


def _around(ordered: Order, mode: Mode) -> list[Workload]:
    """The plan's load, shorter and longer ones, from one request to as many as the server takes."""
    plan, longest = ordered.workload, longest_request(ordered)
    most = max(1, batch_limit(ordered) * ordered.deployment.dp)
    batches = sorted({1, most, *(4**n for n in range(1, 10) if 4**n < most)})
    prompts = sorted({max(_SHORTEST, int(plan.input_tokens * scale)) for scale in (1 / 8, 1 / 2, 1, 4)})
    answers = sorted({max(_SHORTEST, int(plan.output_tokens * scale)) for scale in (1 / 4, 1)})
    return [
        replace(plan, concurrency=batch, input_tokens=prompt, output_tokens=answer, prefix_hit_rate=0.0, mode=mode)
        for batch, prompt, answer in product(batches, prompts, answers)
        if prompt + answer <= longest and batch * (prompt + answer) <= ordered.choice.footprint.kv_tokens
    ]


def _columns(loads: list[Workload]) -> Load:
    return Load(
        np.array([one.mode is Mode.STATIC for one in loads]), np.array([one.concurrency for one in loads], float),
        np.array([one.input_tokens for one in loads], float), np.array([one.output_tokens for one in loads], float),
    )


def _timed(at: Desk, loads: list[Workload]) -> list[Trial]:
    """Each load with as many requests as give a steady state, and the time these take."""
    if not loads:
        return []
    asked = at.predict(_columns(loads), np.zeros(len(loads), np.intp))
    whole = asked.ttft_s.value + np.nan_to_num(asked.tpot_s.value) * [one.output_tokens - 1 for one in loads]
    trials = []
    for one, seconds in zip(loads, whole.tolist(), strict=True):
        rounds = min(MOST_ROUNDS, max(LEAST_ROUNDS, ceil(SHORTEST_S / seconds)))
        if one.mode is Mode.STATIC:
            rounds = 1
        trials.append(Trial(one, rounds * one.concurrency, START_S + rounds * seconds))
    return trials


def _telling(at: Desk, loads: list[Workload], count: int) -> list[int]:
    cases = at.cases(_columns(loads), np.zeros(len(loads), np.intp))
    plain, known = np.zeros((len(cases.pairs), len(TERMS))), load()
    found = figures(cases, logs(cases, known, plain),
                    slopes(cases, plain, lambda rows, shifts: logs(rows, known, shifts)))
    order: list[int] = most_telling(found, np.tile(np.arange(len(loads)), len(METRICS)), count).tolist()
    return order


def predicted(ordered: Order, trials: tuple[Trial, ...]) -> tuple[dict[str, float], ...]:
    """What the plan expects of each load, named as it is measured."""
    loads = [trial.workload for trial in trials]
    found = desk([(ordered.spec, ordered.deployment)]).predict(_columns(loads), np.zeros(len(loads), np.intp))
    rows = zip(found.ttft_s.value, found.tpot_s.value, found.output_tokens_per_s_per_gpu.value, strict=True)
    return tuple(
        {"ttft_ms": ttft * MS_PER_S, "tpot_ms": float(np.nan_to_num(tpot)) * MS_PER_S,
         "output_tokens_per_s_per_gpu": float(rate)} for ttft, tpot, rate in rows
    )


def planned_memory(ordered: Order) -> dict[str, float]:
    """The terms that a start-up log prints, as the plan expects them: GiB of one GPU, and tokens of its cache."""
    footprint = ordered.choice.footprint
    found = {f"{term.name}_gib": term.bytes / GIB for term in footprint.terms}
    tokens = {"kv_tokens": footprint.kv_tokens} if isfinite(footprint.kv_tokens) else {}
    return found | {"kv_gib": footprint.kv_cache_bytes / GIB} | tokens
