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
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final, TextIO

from core.probe.measurement import Point, Quantity
from core.worker import limit_memory, processor_name, ran_out_of_memory, say, told

if TYPE_CHECKING:
    from core.probe.clock import Clock
    from core.probe.order import Task

FAULT: Final = 3                # exit code after a CUDA fault: this process can use the GPU no more
LONGEST_POINT_S: Final = 1.5
_LIBRARY: Final = ("CUBLAS_STATUS", "CUDNN_STATUS")    # refuses a shape; the device lives on


def main() -> int:
    """Runs the order; the exit code."""
    order, out = told()
    clock = _prepare(order, out)
    deadline_s = time.monotonic() + order["seconds"]
    tasks = [_task(item) for item in order["tasks"]]
    for position, task in enumerate(tasks):
        left_s = deadline_s - time.monotonic()
        if left_s <= 0:
            say(out, lost=f"{len(tasks) - position} points were not reached before the deadline.")
            break
        share_s = min(LONGEST_POINT_S, 2 * left_s / (len(tasks) - position))
        if not _measured(task, clock, time.monotonic() + share_s, out):
            return FAULT
    say(out, done=True)
    return 0


def _prepare(order: Mapping[str, Any], out: TextIO) -> Clock:
    """Imports torch, bounds the memory and tells what device this is."""
    import torch

    from core.probe.clock import GpuClock, ProcessorClock
    from core.probe.order import CPU_THREADS

    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    device = torch.device(order["device"])
    versions = {"torch": torch.__version__, "python": platform.python_version()}
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
    return GpuClock(device)


def _task(item: Mapping[str, Any]) -> Task:
    from core.probe.order import Task

    matrices = tuple((int(K), int(N), int(E), int(k)) for K, N, E, k in item["matrices"])
    return Task(Quantity(item["quantity"]), item["format"], item["shape"], item["bytes"], item["flops"], matrices)


def _measured(task: Task, clock: Clock, deadline_s: float, out: TextIO) -> bool:
    """Measures one point and says so, or why not; False after a fault that no later point survives."""
    try:
        say(out, point=asdict(_point(task, clock, deadline_s)))
    except (MemoryError, RuntimeError, ValueError, NotImplementedError, ImportError) as error:
        reason = _why(error)
        say(out, lost=f"{_named(task)}: {reason}.")
        if reason.startswith("CUDA fault"):
            say(out, fault=reason)
            return False
    _free(clock)
    return True


def _point(task: Task, clock: Clock, deadline_s: float) -> Point:
    from core.probe.operators import kernel

    first = kernel(task, clock.device)
    copies = 1 if task.quantity in (Quantity.BLOCK, Quantity.PREFILL) else clock.copies(task.bytes)
    kernels = [first, *(kernel(task, clock.device) for _ in range(copies - 1))]
    timing = clock.time([one.run for one in kernels], deadline_s)
    return Point(task.quantity, task.format, first.name, task.shape, timing, task.bytes, task.flops)


def _why(error: Exception) -> str:
    """The reason a point was lost, in words."""
    text = str(error).strip().split("\n")[0]
    if ran_out_of_memory(error):
        return "not enough memory"
    if "captur" in text:
        return "it cannot be part of a CUDA graph on this GPU"
    if "CUDA error" in text and not any(words in text for words in _LIBRARY):
        return f"CUDA fault ({text[:120]})"
    return text[:160] or type(error).__name__


def _named(task: Task) -> str:
    return f"{task.quantity} {task.format} " + " ".join(f"{name}={value}" for name, value in task.shape.items())


def _free(clock: Clock) -> None:
    gc.collect()
    if clock.device.type == "cuda":
        import torch

        torch.cuda.empty_cache()


if __name__ == "__main__":
    sys.exit(main())
