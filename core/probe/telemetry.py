"""How the GPU was while it was measured: clocks, power, temperature, throttling, other processes.

Read through NVML (nvidia-ml-py) from the parent, so that it costs the measured process nothing.
Clocks and power settings are only ever read.
"""

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from core.probe.measurement import Point, Quantity

SAMPLE_S: Final = 1.0               # between two looks at the GPU
BUSY_LOAD: Final = 0.6              # load average a core above which a processor is not quiet
BUSY_GPU_PERCENT: Final = 10.0
DRIFT: Final = 0.03                 # of the bandwidth between the start and the end
CLOCK_SPREAD: Final = 0.10
# NVML clock event reasons that mean the card was held back (nvml.h: HwSlowdown, SwThermal, HwThermal, HwPowerBrake)
HELD_BACK: Final[Mapping[int, str]] = {
    0x08: "hardware slowdown", 0x20: "heat (software)", 0x40: "heat (hardware)", 0x80: "the power brake",
}
POWER_CAP: Final = 0x04             # SwPowerCap: at its power limit, as large matmuls always are

Sample = Mapping[str, float]


@dataclass(slots=True)
class Telemetry:
    """Samples of one GPU: one before the probe, one per second during it, one after; none where there is no driver."""

    before: list[Sample] = field(default_factory=list)
    during: list[Sample] = field(default_factory=list)
    after: list[Sample] = field(default_factory=list)
    driver: str = ""
    _nvml: Any = None
    _handle: Any = None
    _next_s: float = 0.0

    def open(self, uuid: str) -> None:
        """Finds the GPU by its UUID and looks at it once; without a driver nothing will be sampled."""
        import pynvml

        with suppress(pynvml.NVMLError):
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByUUID(uuid)
            self._nvml = pynvml
            self.driver = str(pynvml.nvmlSystemGetDriverVersion())
            self.before.append(self._sample())

    def look(self) -> None:
        """Takes a sample when one is due."""
        if self._nvml is not None and time.monotonic() >= self._next_s:
            self._next_s = time.monotonic() + SAMPLE_S
            self.during.append(self._sample())

    def _sample(self) -> Sample:
        """All the card is willing to tell."""
        n, h = self._nvml, self._handle
        readings: Mapping[str, Callable[[], float]] = {
            "sm_clock_mhz": lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_SM),
            "memory_clock_mhz": lambda: n.nvmlDeviceGetClockInfo(h, n.NVML_CLOCK_MEM),
            "max_sm_clock_mhz": lambda: n.nvmlDeviceGetMaxClockInfo(h, n.NVML_CLOCK_SM),
            "event_reasons": lambda: n.nvmlDeviceGetCurrentClocksEventReasons(h),
            "power_w": lambda: n.nvmlDeviceGetPowerUsage(h) / 1e3,
            "power_limit_w": lambda: n.nvmlDeviceGetEnforcedPowerLimit(h) / 1e3,
            "temperature_c": lambda: n.nvmlDeviceGetTemperature(h, n.NVML_TEMPERATURE_GPU),
            "used_bytes": lambda: n.nvmlDeviceGetMemoryInfo(h).used,
            "utilisation_percent": lambda: n.nvmlDeviceGetUtilizationRates(h).gpu,
            "processes": lambda: len(n.nvmlDeviceGetComputeRunningProcesses(h)),
        }
        found = {}
        for name, read in readings.items():
            with suppress(n.NVMLError):
                found[name] = float(read())
        return found

    @property
    def samples(self) -> tuple[Sample, ...]:
        """All samples in the order they were taken."""
        return (*self.before, *self.during, *self.after)

    def close(self) -> None:
        """Takes the last sample."""
        if self._nvml is not None:
            self.after.append(self._sample())
            with suppress(self._nvml.NVMLError):
                self._nvml.nvmlShutdown()


def gpu_remarks(before: Sequence[Sample], during: Sequence[Sample]) -> tuple[str, ...]:
    """What disturbed the measurement on a GPU, one sentence each."""
    said = []
    if any(s.get("utilisation_percent", 0.0) > BUSY_GPU_PERCENT for s in before):
        said.append("The GPU was busy before the probe started.")
    if any(s.get("processes", 0.0) > 1 for s in during):
        said.append("Other processes held the GPU during the probe.")
    reasons = 0
    for s in during:
        reasons |= int(s.get("event_reasons", 0.0))
    held = [words for bit, words in HELD_BACK.items() if reasons & bit]
    if held:
        said.append(f"The clocks were held back by {' and '.join(held)}.")
    clocks = [s["sm_clock_mhz"] for s in during if s.get("utilisation_percent", 0.0) > BUSY_GPU_PERCENT
              and "sm_clock_mhz" in s]
    if clocks and not reasons & POWER_CAP and min(clocks) < (1 - CLOCK_SPREAD) * max(clocks):
        said.append(f"The clock moved between {min(clocks):.0f} and {max(clocks):.0f} MHz.")
    return tuple(said)


def processor_remarks(load: float) -> tuple[str, ...]:
    """What spoilt the quiet on a processor whose load average was `load` before the probe."""
    cores = os.cpu_count() or 1
    if load > BUSY_LOAD * cores:
        return (f"The machine was busy before the probe: load {load:.1f} on {cores} cores.",)
    return ()


def drift(points: Sequence[Point]) -> str | None:
    """A sentence where the bandwidth at the end is not that of the start; None where it is, or nothing to compare."""
    largest = max((p.shape["size"] for p in points if p.quantity is Quantity.READ), default=0)
    reads = [p.bytes_per_s for p in points if p.quantity is Quantity.READ and p.shape["size"] == largest]
    if len(reads) < 2 or abs(reads[-1] / reads[0] - 1) <= DRIFT:
        return None
    return f"Read bandwidth drifted by {reads[-1] / reads[0] - 1:+.0%} from the start of the probe to its end."
