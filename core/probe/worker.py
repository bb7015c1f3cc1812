"""The process that measures: reads an order from standard input, writes one JSON line a point.

It is a process of its own so that a fault of the GPU or the system's memory killer takes nothing else
down. Lines: {"device": ...} first, then {"point": ...} or {"lost": ...} for each task, {"done": true}
last.
"""

from __future__ import annotations

import gc
import platform
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Final, TextIO

from core.machinery.worker import limit_memory, processor_name, say, told
from core.probe.bench import COMPILE_SHARE, Bench
from core.probe.clock import WARM_UP_S, Clock, GpuClock, ProcessorClock
from core.probe.kernel import FAULT as CUDA_FAULT
from core.probe.kernel import Absent, why
from core.probe.measurement import Point, Quantity
from core.probe.order import OPTIONAL, Task, named, task_of

if TYPE_CHECKING:
    import torch

FAULT: Final = 3                # exit code after a CUDA fault: this process can use the GPU no more
LONGEST_POINT_S: Final = 1.5
CLOSING_S: Final = 0.5          # kept for each point that closes a probe
SUSTAINED_S: Final = 0.25       # of load before such a point: at its power limit an H100 SXM slowed within 0.15 s


def main() -> int:
    """Runs the order; the exit code."""
    started_s = time.monotonic()
    order, out = told()
    bench = Bench(_prepare(order, out), COMPILE_SHARE * order["seconds"], order["torch_alone"])
    tasks = [task_of(item) for item in order["tasks"]]
    _compile_ahead(tasks, bench)
    deadline_s = max(started_s + order["seconds"], time.monotonic() + order["seconds"] / 2)
    lost = _measure(tasks, bench, deadline_s, out)
    if lost is None:
        return FAULT
    for (package, fmt), reason in bench.passed_over.items():
        say(out, passed_over=f"{package} for {fmt}: {reason}.")
    if lost:
        say(out, lost=f"{lost} points were not reached before the deadline.")
    say(out, done=True)
    return 0


def _compile_ahead(tasks: Sequence[Task], bench: Bench) -> None:
    from core.probe.operators import products

    bench.compile_ahead(list(dict.fromkeys(product for task in tasks for product in products(task))))


def _measure(tasks: Sequence[Task], bench: Bench, deadline_s: float, out: TextIO) -> int | None:
    """Measures in order, the closing tasks in any case; how many were not reached, None after a fault."""
    body, closing = ([task for task in tasks if task.closing is last] for last in (False, True))
    end_s, lost = deadline_s - CLOSING_S * len(closing), 0
    for position, task in enumerate(body):
        left_s = end_s - time.monotonic()
        if left_s <= 0:
            lost = len(body) - position
            break
        share_s = min(LONGEST_POINT_S, 2 * left_s / (len(body) - position))
        if not _measured(task, bench, time.monotonic() + share_s, out):
            return None
    for task in closing:
        if not _measured(task, bench, time.monotonic() + CLOSING_S, out):
            return None
    return lost


def _prepare(order: Mapping[str, Any], out: TextIO) -> Clock:
    """Imports torch, bounds the memory and tells what device this is."""
    import torch

    from core.probe.order import CPU_THREADS

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    device = torch.device(order["device"])
    versions = {"torch": torch.__version__, "python": platform.python_version(), **_libraries()}
    if device.type == "cpu":
        torch.set_num_threads(CPU_THREADS)
        torch.randn(8, 8) @ torch.randn(8, 8)           # threads and libraries are up before the limit counts
        limit_memory(order["memory_bytes"])
        say(out, device=f"CPU: {processor_name()}", versions=versions, uuid="", capability="")
        return ProcessorClock(device)
    torch.cuda.set_device(device)
    properties: Any = torch.cuda.get_device_properties(device)
    versions["cuda"] = str(torch.version.cuda)
    capability = f"{properties.major}.{properties.minor}"
    say(out, device=properties.name, versions=versions, uuid=f"GPU-{properties.uuid}", capability=capability)
    clock = GpuClock(device)
    clock.warm_up()
    return clock


def _libraries() -> dict[str, str]:
    """Versions of the kernel libraries that are installed."""
    found = {}
    for name in OPTIONAL:
        with suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _measured(task: Task, bench: Bench, deadline_s: float, out: TextIO) -> bool:
    """Measures one point and says so, or why not; False after a fault that no later point survives."""
    try:
        say(out, point=asdict(_point(task, bench, deadline_s)))
    except (MemoryError, RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        reason = why(error)
        what = f"{task.quantity} {task.format}" if isinstance(error, Absent) else named(task)
        say(out, lost=f"{what}: {reason}.")
        if reason.startswith(CUDA_FAULT):
            say(out, fault=reason)
            return False
    _free(bench.device)
    return True


def _point(task: Task, bench: Bench, deadline_s: float) -> Point:
    from core.probe.operators import kernel

    first, whole = kernel(task, bench), task.quantity in (Quantity.BLOCK, Quantity.PREFILL)
    copies = 1 if whole else bench.clock.copies(task.bytes)
    kernels = [first, *(kernel(task, bench) for _ in range(copies - 1))]
    warm_up_s = SUSTAINED_S if task.closing else WARM_UP_S
    timing = bench.clock.time([one.run for one in kernels], deadline_s, again=not whole, warm_up_s=warm_up_s)
    return Point(task.quantity, task.format, first.name, task.shape, timing, task.bytes, task.flops)


def _free(device: torch.device) -> None:
    gc.collect(1)       # what the point left; all the libraries' objects as well would take longer than measuring
    if device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
