"""One probe from the outside: starts the worker, reads its points, watches the clock, ends it at once when asked."""

import json
import logging
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any, Final

from core import gpus
from core.errors import HardwareError, ProbeError
from core.probe.measurement import Conditions, Measurement, Point, point_of
from core.probe.order import Order
from core.probe.telemetry import Telemetry, drift, gpu_remarks, processor_remarks

ROOT: Final = Path(__file__).resolve().parents[2]
GRACE_S: Final = 20.0               # for importing torch and the last point, beyond the order's deadline
TICK_S: Final = 0.1                 # how soon a cancellation is seen
SAMPLE_S: Final = 1.0               # between two looks at the GPU
SECRETS: Final = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "DATABASE")
_log = logging.getLogger(__name__)

Report = Callable[[float, str, Point | None], None]     # share done, what now, the point just measured


@dataclass(slots=True)
class _Heard:
    """What the worker has said so far."""

    device: Mapping[str, Any] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    fault: str = ""
    done: bool = False


def probe(order: Order, report: Report) -> Measurement:
    """Runs the order in a process of its own and returns what it measured.

    `report` is called at least ten times a second; what it raises (a cancellation) kills the worker at
    once. Raises ProbeError in one sentence when the worker crashed, was killed, hung, or measured nothing.
    """
    started, load = time.monotonic(), _load()
    heard, telemetry, before = _Heard(), Telemetry(""), []
    with _worker(order) as (worker, lines, errors):
        while not heard.done:
            line = _next(lines)
            if line is None and worker.poll() is not None:
                raise ProbeError(_died(worker.returncode, heard, errors))
            if line is not None:
                _hear(heard, line)
                if "device" in line:
                    telemetry = Telemetry(str(line["uuid"]))
                    telemetry.open()
                    telemetry.sample()
                    before = list(telemetry.samples)
            if time.monotonic() - started > order.seconds + GRACE_S:
                raise ProbeError(
                    f"The probe did not end in {order.seconds + GRACE_S:.0f} s and was stopped after "
                    f"{len(heard.points)} points: allow it more time, or see whether the device hangs."
                )
            if time.monotonic() - started > SAMPLE_S * len(telemetry.samples):
                telemetry.sample()
            seen = len(heard.points) + len(heard.lost)
            report(seen / len(order.tasks), _now(order, seen), _latest(heard, line))
    telemetry.close()
    if not heard.points:
        raise ProbeError(f"Nothing could be measured: {'; '.join(heard.lost[:2]) or 'the worker said nothing'}.")
    remarks = processor_remarks(load) if order.device == "cpu" else gpu_remarks(before, telemetry.samples[len(before):])
    drifted = drift(heard.points)
    noisy = (*remarks, drifted) if drifted else remarks
    return Measurement(
        device=str(heard.device["device"]), gpu=_catalogued(str(heard.device["device"])), model=order.model,
        driver=telemetry.driver, versions=heard.device["versions"],
        date=datetime.now(UTC).isoformat(timespec="seconds"), seconds=time.monotonic() - started,
        conditions=Conditions(not noisy, (*noisy, *order.remarks), tuple(telemetry.samples)),
        points=tuple(heard.points), lost=tuple(sentence[:300] for sentence in heard.lost),
    )


@contextmanager
def _worker(order: Order) -> Iterator[tuple["subprocess.Popen[str]", "queue.Queue[str]", IO[bytes]]]:
    """The worker with its lines in a queue; killed with all it started when the block is left."""
    lines: queue.Queue[str] = queue.Queue()
    with tempfile.TemporaryFile() as errors:
        worker = subprocess.Popen(
            [sys.executable, "-m", "core.probe.worker"], cwd=ROOT, env=_environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )
        assert worker.stdin is not None and worker.stdout is not None
        reader = threading.Thread(target=_read, args=(worker.stdout, lines), daemon=True)
        reader.start()
        try:
            try:
                worker.stdin.write(json.dumps(order.to_dict()) + "\n")
                worker.stdin.flush()
            except BrokenPipeError:
                _log.warning("the probe's worker ended before it was told what to do")
            yield worker, lines, errors
        finally:
            _kill(worker)
            reader.join(timeout=5)
            worker.stdout.close()
            try:
                worker.stdin.close()
            except BrokenPipeError:
                _log.debug("the worker had closed its input")


def _read(stream: IO[str], lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)


def _kill(worker: "subprocess.Popen[str]") -> None:
    """Ends the worker and its children (compilers) now."""
    try:
        os.killpg(worker.pid, signal.SIGKILL)
    except ProcessLookupError:
        _log.debug("the worker had ended")
    worker.wait(timeout=10)


def _environment() -> dict[str, str]:
    """The environment without anything that looks like a secret."""
    kept = {name: value for name, value in os.environ.items() if not any(word in name.upper() for word in SECRETS)}
    return kept | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}       # as NVML counts them


def _next(lines: "queue.Queue[str]") -> dict[str, Any] | None:
    """The next line the worker said, or None when it said nothing for a moment."""
    try:
        said: dict[str, Any] = json.loads(lines.get(timeout=TICK_S))
    except queue.Empty:
        return None
    return said


def _hear(heard: _Heard, line: Mapping[str, Any]) -> None:
    if "device" in line:
        heard.device = line
    elif "point" in line:
        heard.points.append(point_of(line["point"]))
    elif "lost" in line:
        heard.lost.append(line["lost"])
    elif "fault" in line:
        heard.fault = line["fault"]
    else:
        heard.done = True


def _latest(heard: _Heard, line: Mapping[str, Any] | None) -> Point | None:
    return heard.points[-1] if line is not None and "point" in line else None


def _now(order: Order, seen: int) -> str:
    if seen >= len(order.tasks):
        return "finishing"
    task = order.tasks[seen]
    return f"{task.quantity} {task.format}, point {seen + 1} of {len(order.tasks)}"


def _died(code: int, heard: _Heard, errors: IO[bytes]) -> str:
    """One sentence on why the worker ended early; its last words go to the log."""
    errors.seek(0)
    _log.warning("the probe's worker ended with %s: %s", code, errors.read()[-4000:].decode(errors="replace"))
    after = f"after {len(heard.points)} points"
    if heard.fault:
        return f"The GPU reported a fault {after}, {heard.fault}: check the card with nvidia-smi, then try again."
    if code == -signal.SIGKILL:
        return f"The measuring process was killed by the system {after}, most likely for want of memory: free some."
    if code < 0:
        return f"The measuring process crashed {after} ({signal.Signals(-code).name}): check the driver."
    return f"The measuring process ended {after} with code {code}; its last words are in the server's log."


def _catalogued(device: str) -> str:
    """The catalogue's name of a device; empty where it is not listed."""
    for local in gpus.detect():
        if local.reported_name == device and local.catalogue_name:
            return local.catalogue_name
    try:
        return gpus.find(device).name
    except HardwareError:
        return ""


def _load() -> float:
    return os.getloadavg()[0]


def free_memory_bytes() -> float | None:
    """What a processor's machine has to spare, from /proc/meminfo; None where it is not told [B]."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)
