"""Honest clocks: CUDA events around graphs, a steady counter on a processor, weights that are cold.

On a GPU the copies of an operator are captured in one graph, so that no host time is inside; between
two replays the level-2 cache is flushed outside the events. Copies are as many as it takes for the
weights not to stay in the cache from one to the next.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import cycle
from statistics import median
from typing import TYPE_CHECKING, Any, Final, Protocol

from core.probe.timing import Timing, settle

if TYPE_CHECKING:
    import torch

WARM_UP_S: Final = 0.03             # of one operator before its first sample
COLD_OVER_CACHE: Final = 3.0        # copies together are this many caches large
FLUSH_OVER_CACHE: Final = 4
MAX_COPIES: Final = 64
CLOCKS_SETTLE_S: Final = 2.0         # at most, before the first point
WARM_UP_SIZE: Final = 4096
GLANCE: Final = 5                   # samples that choose between kernels
GRAPH_S: Final = 5e-4               # at least, of one graph: its launch and the two events cost some microseconds
PROCESSOR_COPIES: Final = 4         # making random data takes a processor longer than measuring it
PROCESSOR_CACHE_BYTES: Final = 32 * 2**20
Run = Callable[[], object]


class Clock(Protocol):
    """Times an operator of which there are several copies on different data."""

    device: torch.device

    def copies(self, size: float) -> int:
        """Copies of `size` bytes that keep each other out of the cache."""
        ...

    def time(
        self, runs: Sequence[Run], deadline_s: float, *, again: bool = True, warm_up_s: float = WARM_UP_S,
    ) -> Timing:
        """Seconds of one run after a warm-up, by the stopping rule or until `deadline_s` of `time.monotonic`.

        Short runs are made several times `again` between two readings, which copies that keep each other
        out of the cache allow.
        """
        ...

    def glance(self, runs: Sequence[Run]) -> float:
        """Seconds of one run from a few samples: enough to choose between kernels."""
        ...


class _Sampling:
    """Times whatever a clock samples."""

    def time(
        self, runs: Sequence[Run], deadline_s: float, *, again: bool = True, warm_up_s: float = WARM_UP_S,
    ) -> Timing:
        """Median of what the clock samples of the runs, after a warm-up [s]."""
        sample = self._sampler(runs, again)
        _warm_up(sample, warm_up_s)
        return settle(sample, deadline_s=deadline_s, now_s=time.monotonic)

    def glance(self, runs: Sequence[Run]) -> float:
        """Median of `GLANCE` samples of the runs [s]."""
        return _glance(self._sampler(runs, again=True))

    def _sampler(self, runs: Sequence[Run], again: bool) -> Callable[[], float]:
        """One more sample of the runs a call [s]."""
        raise NotImplementedError


class ProcessorClock(_Sampling):
    """A steady counter around each run, the runs in turn."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def copies(self, size: float) -> int:
        """As many as fill three caches of 32 MiB, at least 1 and at most `PROCESSOR_COPIES`."""
        return min(PROCESSOR_COPIES, _copies(size, PROCESSOR_CACHE_BYTES))

    def _sampler(self, runs: Sequence[Run], again: bool) -> Callable[[], float]:
        turns = cycle(runs)

        def sample() -> float:
            run = next(turns)
            start = time.perf_counter()
            run()
            return time.perf_counter() - start

        return sample


class GpuClock(_Sampling):
    """Events around a replayed CUDA graph of all runs, over the runs, with the L2 cache flushed between."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self.device = device
        self._torch: Any = torch
        self._cache_bytes = torch.cuda.get_device_properties(device).L2_cache_size
        self._flush = torch.empty(FLUSH_OVER_CACHE * self._cache_bytes, dtype=torch.int8, device=device)
        self._start, self._end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def copies(self, size: float) -> int:
        """As many as fill three L2 caches, at least 1 and at most `MAX_COPIES`."""
        return _copies(size, self._cache_bytes)

    def warm_up(self) -> None:
        """Multiplies until the time of a product shows no trend: the clocks have risen from idle, and are at rest."""
        one = self._torch.randn((WARM_UP_SIZE, WARM_UP_SIZE), device=self.device, dtype=self._torch.float16)
        self.time([lambda: one @ one], time.monotonic() + CLOCKS_SETTLE_S)

    def _sampler(self, runs: Sequence[Run], again: bool) -> Callable[[], float]:
        """A graph too short for what surrounds it is made again of the runs several times over."""
        once = self._replayed(runs)
        if not again:
            return once
        rounds = math.ceil(GRAPH_S / (_glance(once) * len(runs)))
        return once if rounds == 1 else self._replayed([*runs] * rounds)

    def _replayed(self, runs: Sequence[Run]) -> Callable[[], float]:
        replay = self._graph(runs)
        cuda = self._torch.cuda

        def sample() -> float:
            self._flush.zero_()         # long enough that the graph is launched before the GPU gets to it
            self._start.record()
            replay()
            self._end.record()
            cuda.synchronize(self.device)
            return float(self._start.elapsed_time(self._end)) / 1e3 / len(runs)

        return sample

    def _graph(self, runs: Sequence[Run]) -> Run:
        """All runs as one graph; they run once before, so that kernels are compiled and caches allocated."""
        cuda = self._torch.cuda
        side = cuda.Stream()
        side.wait_stream(cuda.current_stream())
        with cuda.stream(side):
            for run in runs:
                run()
        cuda.current_stream().wait_stream(side)
        cuda.synchronize(self.device)
        graph = cuda.CUDAGraph()
        with cuda.graph(graph):
            for run in runs:
                run()
        replay: Callable[[], None] = graph.replay
        return replay


def _copies(size: float, cache: int) -> int:
    return min(MAX_COPIES, max(1, int(-(-COLD_OVER_CACHE * cache // max(size, 1.0)))))


def _warm_up(sample: Callable[[], float], seconds: float) -> None:
    end = time.monotonic() + seconds
    sample()
    while time.monotonic() < end:
        sample()


def _glance(sample: Callable[[], float]) -> float:
    sample()
    return median(sample() for _ in range(GLANCE))
