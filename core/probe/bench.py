"""Where kernels are made: each is checked before it is timed, and the fastest for a shape is raced once."""

from __future__ import annotations

import logging
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from core.probe.kernel import FAULT, Absent, Candidate, Kernel, Refused, checked, why
from core.probe.kernels import humming
from core.probe.linears import candidates
from core.probe.order import WEIGHT_BYTES

if TYPE_CHECKING:
    import torch

    from core.probe.clock import Clock

TORCH: Final = "torch"
COMPILE_SHARE: Final = 0.25     # of a probe's time that libraries may compile in
_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Bench:
    """A clock, and what was found out about the kernels of its device."""

    clock: Clock
    compile_s: float                                            # seconds left for libraries that compile
    torch_alone: bool = False                                   # no kernels but torch's own
    passed_over: dict[tuple[str, str], str] = field(default_factory=dict)     # (package, format) -> reason
    _compiled: set[Hashable] = field(default_factory=set)
    _fastest: dict[tuple[str, ...], Candidate] = field(default_factory=dict)

    @property
    def device(self) -> torch.device:
        """The device the clock times, on which data and kernels live."""
        return self.clock.device

    def compile_ahead(self, wanted: Sequence[humming.Product]) -> None:
        """Compiles what kernels will need, the first of them if not all, on all cores before anything is timed."""
        if self.device.type != "cuda" or self.torch_alone or not wanted:
            return
        started = time.monotonic()
        try:
            self._compiled.update(humming.compile_ahead(wanted, self.compile_s, self.device))
        except Exception:       # a library may raise anything: each of its kernels is tried alone, and passed over
            _log.debug("nothing was compiled ahead", exc_info=True)
        self.compile_s -= time.monotonic() - started

    def linear(self, fmt: str, M: int, K: int, N: int) -> Kernel:
        """x [M, K] times fresh random weights [K, N] in a format, by the fastest kernel. Raises Refused without one."""
        every = candidates(fmt, M, K, N, self.device)
        return self.fastest(("linear", fmt, f"{M} {K} {N}"), every, K * N * WEIGHT_BYTES[fmt])

    def fastest(self, what: tuple[str, str, str], every: Sequence[Candidate], size: float) -> Kernel:
        """A copy of the fastest of the candidates for `what` (operator, format, shape), which moves `size` bytes.

        Raises Refused where none is there, takes the shape and computes what it should.
        """
        if what not in self._fastest:
            self._fastest[what] = self._raced(what[1], every, size)
        return self._fastest[what].make()

    def _raced(self, fmt: str, every: Sequence[Candidate], size: float) -> Candidate:
        seconds: dict[float, Candidate] = {}
        reasons, missing = [], True
        rivals = sum(not one.is_spare for one in every)
        for one in sorted(every, key=lambda one: one.is_spare):
            if one.is_spare and seconds:
                break
            try:
                first = self._checked(one)
                seconds[self._glance(first, one, size) if rivals > 1 else 0.0] = one
            except Exception as error:      # a library may raise anything: it is passed over, unless the GPU is lost
                _log.debug("%s refuses %s", one.package, fmt, exc_info=True)
                reason = why(error)
                if reason.startswith(FAULT):
                    raise
                reasons.append(reason)
                if isinstance(error, Absent):
                    continue
                missing = False
                self.passed_over.setdefault((one.package, fmt), reason)
        if not seconds:
            raise (Absent if missing else Refused)("; ".join(dict.fromkeys(reasons)))
        return seconds[min(seconds)]

    def _checked(self, one: Candidate) -> Kernel:
        """A copy whose result is what it should be; what compiles is timed."""
        if self.torch_alone and one.package != TORCH:
            raise Absent("left out after a fault of the GPU")
        new = one.compiles is not None and one.compiles not in self._compiled
        if new and self.compile_s <= 0:
            raise Refused("no time was left to compile its kernels; those it compiled are kept for the next probe")
        started = time.monotonic()
        first = checked(one.make())
        if new:
            self.compile_s -= time.monotonic() - started
            self._compiled.add(one.compiles)
        return first

    def _glance(self, first: Kernel, one: Candidate, size: float) -> float:
        """Seconds of one run, from a few."""
        copies = [first, *(one.make() for _ in range(self.clock.copies(size) - 1))]
        return self.clock.glance([copy.run for copy in copies])
