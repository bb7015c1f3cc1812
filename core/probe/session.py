"""One probe from the outside: starts the worker, reads its points, watches the clock, ends it at once when asked."""

import json
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final

from core.basics.errors import HardwareError, ProbeError
from core.machinery.worker import Worker, running
from core.probe.measurement import Conditions, Measurement, Point, point_of
from core.probe.order import ALL_REDUCE_S, Order
from core.probe.telemetry import Telemetry, drift, gpu_remarks, processor_remarks
from core.products import gpus

WORKER: Final = "core.probe.worker"
GRACE_S: Final = 20.0               # for importing torch and the last point, beyond the order's deadline

Report = Callable[[float, str, Point | None], None]     # share done, what now, the point just measured


class GpuFault(ProbeError):
    """The GPU reported a fault: its process is lost, the device most likely is not."""


@dataclass(slots=True)
class _Heard:
    """What the worker has said so far."""

    device: Mapping[str, Any] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    passed_over: list[str] = field(default_factory=list)
    fault: str = ""
    done: bool = False


def probe(order: Order, report: Report) -> Measurement:
    """Runs the order in a process of its own and returns what it measured.

    `report` is called at least ten times a second; what it raises (a cancellation) kills the worker at
    once. Raises ProbeError in one sentence when the worker crashed, was killed, or measured nothing; one
    that hangs is stopped, and what it measured until then is kept.
    """
    started, load = time.monotonic(), _load()
    heard, telemetry = _Heard(), Telemetry()
    with closing(telemetry):
        try:
            _listen(order, WORKER, (), heard, telemetry, report)
        except GpuFault as fault:
            _go_on_after(fault, order, heard, telemetry, report, started)
        if order.ranks > 1 and heard.points:
            _sum_over_ranks(order, heard, telemetry, report)
    if not heard.points:
        reasons = "; ".join(sentence.rstrip(".") for sentence in heard.lost[:2])
        raise ProbeError(f"Nothing could be measured: {reasons or 'the worker said nothing'}.")
    remarks = processor_remarks(load) if order.device == "cpu" else gpu_remarks(telemetry.before, telemetry.during)
    drifted = drift(heard.points)
    noisy = (*remarks, drifted) if drifted else remarks
    return Measurement(
        device=str(heard.device["device"]), gpu=_catalogued(str(heard.device["device"])), model=order.model,
        driver=telemetry.driver, versions=heard.device["versions"],
        date=datetime.now(UTC).isoformat(timespec="seconds"), seconds=time.monotonic() - started,
        conditions=Conditions(not noisy, (*noisy, *order.remarks), telemetry.samples),
        points=tuple(heard.points),
        lost=tuple(sentence[:300] for sentence in dict.fromkeys([*heard.lost, *heard.passed_over])),
    )


def _go_on_after(
    fault: GpuFault, order: Order, heard: _Heard, telemetry: Telemetry, report: Report, started: float,
) -> None:
    """What was left, in a new process and by torch's kernels alone: any other may have caused the fault.

    Raises the fault itself where nothing was measured before it or the GPU faults again.
    """
    left_s = order.seconds - (time.monotonic() - started)
    rest = order.tasks[len(heard.points) + len(heard.lost) :]
    if not heard.points or not rest or left_s <= 0:
        raise fault
    heard.lost.append(f"{fault} What was left was measured with torch's own kernels alone.")
    heard.fault = ""
    _listen(replace(order, tasks=rest, seconds=left_s, torch_alone=True), WORKER, (), heard, telemetry, report)


def _sum_over_ranks(order: Order, heard: _Heard, telemetry: Telemetry, report: Report) -> None:
    """The order's all-reduces, by as many processes as ranks; what fails there is lost, not the probe."""
    of_ranks = replace(order, tasks=order.all_reduces, seconds=ALL_REDUCE_S)
    alone = _Heard(points=heard.points, lost=heard.lost)
    arguments = (
        "--standalone", f"--nproc-per-node={order.ranks}", "-m", "core.probe.all_reduce",
        json.dumps(of_ranks.to_dict()),     # not through standard input, which all ranks share
    )
    try:
        _listen(of_ranks, "torch.distributed.run", arguments, alone, telemetry, report)
    except ProbeError as error:
        heard.lost.append(f"All-reduce over {order.ranks} ranks: {error}")


def _listen(
    order: Order, module: str, arguments: Sequence[str], heard: _Heard, telemetry: Telemetry, report: Report,
) -> None:
    """Starts a process, hears it out and watches the clock."""
    started, before = time.monotonic(), len(heard.points) + len(heard.lost)
    with running(module, order.to_dict(), arguments, HF_HUB_OFFLINE="1") as worker:     # libraries download at import
        while not heard.done:
            line = worker.next()
            if line is None and worker.has_ended:
                raise (GpuFault if heard.fault else ProbeError)(_died(worker, heard))
            if line is not None:
                _hear(heard, line)
                if line.get("uuid") and not telemetry.before:
                    telemetry.open(str(line["uuid"]))
            seen = len(heard.points) + len(heard.lost) - before
            if time.monotonic() - started > order.seconds + GRACE_S:
                if not heard.points:
                    raise ProbeError(
                        f"The probe did not end in {order.seconds + GRACE_S:.0f} s and was stopped before its first "
                        "point: allow it more time, or see whether the device hangs."
                    )
                heard.lost.append(f"The device hung at {_now(order, seen)}: the probe was stopped there.")
                return
            telemetry.look()
            report(min(1.0, seen / len(order.tasks)), _now(order, seen), _latest(heard, line))


def _hear(heard: _Heard, line: Mapping[str, Any]) -> None:
    if "device" in line:
        heard.device = line
    elif "point" in line:
        heard.points.append(point_of(line["point"]))
    elif "lost" in line:
        heard.lost.append(line["lost"])
    elif "fault" in line:
        heard.fault = line["fault"]
    elif "passed_over" in line:
        heard.passed_over.append(line["passed_over"])
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
