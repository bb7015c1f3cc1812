"""One probe from the outside: starts the worker, reads its points, watches the clock, ends it at once when asked."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from core import gpus
from core.errors import HardwareError, ProbeError
from core.probe.measurement import Conditions, Measurement, Point, point_of
from core.probe.order import Order
from core.probe.telemetry import Telemetry, drift, gpu_remarks, processor_remarks
from core.worker import Worker, running

GRACE_S: Final = 20.0               # for importing torch and the last point, beyond the order's deadline
SAMPLE_S: Final = 1.0               # between two looks at the GPU

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
    with running("core.probe.worker", order.to_dict()) as worker:
        while not heard.done:
            line = worker.next()
            if line is None and worker.has_ended:
                raise ProbeError(_died(worker, heard))
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


def _died(worker: Worker, heard: _Heard) -> str:
    """One sentence on why the worker ended early."""
    after = f"after {len(heard.points)} points"
    why = worker.why_it_ended(after)
    if heard.fault:
        return f"The GPU reported a fault {after}, {heard.fault}: check the card with nvidia-smi, then try again."
    return why


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
