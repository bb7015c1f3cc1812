"""A fleet that follows the load: the fewest replicas of every window of a trace."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import ceil
from typing import Final

import numpy as np

from core.answers.traffic.fleet import MAX_REPLICAS, Slo, bracket, serve
from core.answers.traffic.requests import Trace
from core.answers.traffic.scheduler import Limits, StepTimes

SUSTAINED_S: Final = 120.0      # of a window's load: a queue that grows has shown by then
MOST_REQUESTS: Final = 50_000   # of a repeated window
SIMULATED_REQUESTS: Final = 5_000   # of every fleet tried, whose replicas are alike


@dataclass(frozen=True, slots=True)
class Hour:
    """One window of an autoscaled day."""

    start_s: float
    requests_per_s: float
    replicas: int


def autoscale(
    trace: Trace,
    steps: StepTimes,
    limits: Limits,
    slo: Slo,
    *,
    windows: int = 24,
    most: int = MAX_REPLICAS,
    on_window: Callable[[Hour], None] | None = None,
) -> tuple[Hour, ...]:
    """The smallest fleet of each window of the trace, as an autoscaler that foresees would run.

    A short window is repeated until it lasts `SUSTAINED_S`: a fleet must hold its load for as long as it comes, not
    just until a queue has grown. A window too hard for any fleet up to `most` runs them all; an empty one runs one.
    """
    hours: list[Hour] = []
    window_s = max(trace.duration_s, 1e-9) / windows
    for start, part in _windows(trace, windows):
        guess = hours[-1].replicas if hours else 1
        times = min(ceil(SUSTAINED_S / window_s), MOST_REQUESTS // max(1, len(part)))
        needed = _smallest_up_to(most, guess, part.repeated(times, window_s), steps, limits, slo) if len(part) else 1
        hours.append(Hour(start, len(part) / window_s, needed))
        if on_window:
            on_window(hours[-1])
    return tuple(hours)


def _smallest_up_to(most: int, guess: int, part: Trace, steps: StepTimes, limits: Limits, slo: Slo) -> int:
    def holds(replicas: int) -> bool:
        return serve(part, steps, limits, replicas, slo, most_requests=SIMULATED_REQUESTS).holds(slo)

    low, high = bracket(holds, guess, most)
    while high is not None and high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high or most


def _windows(trace: Trace, windows: int) -> Iterator[tuple[float, Trace]]:
    edges = np.linspace(trace.arrival_s[0], trace.arrival_s[-1] + 1e-9, windows + 1)
    cuts = np.searchsorted(trace.arrival_s, edges)
    for start, low, high in zip(edges[:-1], cuts[:-1], cuts[1:], strict=True):
        part = slice(low, high)
        yield float(start), Trace(trace.arrival_s[part], trace.input_tokens[part], trace.output_tokens[part])
