"""When a measurement has settled: blocks, trend, confidence.

A stopping rule on the confidence interval alone is fooled by a clock that ramps: the interval is
narrow long before the clock is at rest (15 % off in a trial). So the medians of the last blocks
must show no trend first. The idea is nvbench's (NVIDIA/nvbench, stopping criteria).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 8                    # samples a block
BLOCKS_WITHOUT_TREND: Final = 4
RELATIVE_CI: Final = 0.01           # half width of the 95 % interval of the median, and what counts as a trend
MAX_SAMPLES: Final = 1024
_Z95: Final = 1.96


class Stop(StrEnum):
    """Why sampling ended."""

    SETTLED = "settled"             # no trend, and the interval is narrow
    DEADLINE = "deadline"           # out of time: look at the interval
    COUNT = "count"                 # out of samples: the machine was not quiet


@dataclass(frozen=True, slots=True)
class Timing:
    """One quantity, timed again and again [s]."""

    median_s: float
    p10_s: float
    p90_s: float
    samples: int
    relative_ci: float              # half width of the median's 95 % interval over the median
    stop: Stop


def settle(sample: Callable[[], float], *, deadline_s: float, now_s: Callable[[], float]) -> Timing:
    """Samples until the stopping rule holds or the clock `now_s` passes `deadline_s`.

    `sample` returns the seconds of one run. At least one block is taken.
    """
    seconds: list[float] = []
    while True:
        for _ in range(BLOCK):
            seconds.append(sample())
        if is_settled(seconds):
            return summary(seconds, Stop.SETTLED)
        if now_s() >= deadline_s:
            return summary(seconds, Stop.DEADLINE)
        if len(seconds) >= MAX_SAMPLES:
            return summary(seconds, Stop.COUNT)


def is_settled(seconds: Sequence[float]) -> bool:
    """No trend over the last blocks' medians, and a narrow interval over their samples."""
    if len(seconds) < BLOCK * BLOCKS_WITHOUT_TREND:
        return False
    recent = np.array(seconds[-BLOCK * BLOCKS_WITHOUT_TREND :])
    medians = np.median(recent.reshape(BLOCKS_WITHOUT_TREND, BLOCK), axis=1)
    return not _has_trend(medians) and relative_ci(recent) < RELATIVE_CI


def _has_trend(medians: NDArray[np.float64]) -> bool:
    """Whether a line through the medians climbs or falls by more than the tolerance from first to last."""
    slope = np.polyfit(np.arange(len(medians)), medians, 1)[0]
    return bool(abs(slope) * (len(medians) - 1) > RELATIVE_CI * np.median(medians))


def relative_ci(seconds: NDArray[np.float64]) -> float:
    """Half width of the 95 % interval of the median, over the median.

    By order statistics: ranks n/2 +- 1.96 sqrt(n)/2 (Hahn and Meeker, Statistical Intervals, 5.2).
    """
    ordered = np.sort(seconds)
    n = len(ordered)
    reach = _Z95 * np.sqrt(n) / 2
    low = max(0, int(np.floor(n / 2 - reach)))
    high = min(n - 1, int(np.ceil(n / 2 + reach)))
    return float((ordered[high] - ordered[low]) / 2 / np.median(ordered))


def summary(seconds: Sequence[float], stop: Stop) -> Timing:
    """Median and spread of the samples at rest: those of the last blocks once the rule held, else all."""
    kept = np.array(seconds[-BLOCK * BLOCKS_WITHOUT_TREND :] if stop is Stop.SETTLED else seconds)
    p10, median, p90 = np.percentile(kept, (10, 50, 90))
    return Timing(float(median), float(p10), float(p90), len(seconds), relative_ci(kept), stop)
