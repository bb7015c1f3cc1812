"""One rank of an all-reduce over the GPUs of a host, started by torchrun; on processors it sums through gloo.

Every rank takes the same decisions, for they are taken on the slowest rank's times. Rank 0 speaks. NCCL's
sum races torch's one-shot sum over symmetric memory, which is faster for small messages where GPUs reach
each other's memory.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from core.machinery.worker import bound_to_parent, say
from core.probe.kernel import Kernel, checked, why
from core.probe.measurement import Point
from core.probe.order import CPU_THREADS, Task, named, task_of
from core.probe.timing import Timing, settle

if TYPE_CHECKING:
    import torch

WARM_UP: Final = 5
ONE_SHOT_BYTES: Final = 2**20       # larger messages are a ring's
_ITEM: Final = 2                    # bytes of a bf16


def main() -> int:
    """Sums every size of the order given as an argument; the exit code."""
    import torch
    import torch.distributed as dist

    out, order = bound_to_parent(), json.loads(sys.argv[1])
    deadline_s = time.monotonic() + order["seconds"] / 2
    rank = int(os.environ["LOCAL_RANK"])
    torch.set_grad_enabled(False)
    if order["device"] == "cpu":
        torch.set_num_threads(CPU_THREADS)
        device = torch.device("cpu")
    else:
        device = torch.device("cuda", rank)
        torch.cuda.set_device(device)
    dist.init_process_group("gloo" if device.type == "cpu" else "nccl")
    deadline_s = _slowest(deadline_s, device)       # a rank that stopped before another would leave it waiting
    for task in (task_of(item) for item in order["tasks"]):
        try:
            line: dict[str, Any] = {"point": asdict(_point(task, device, deadline_s))}
        except (RuntimeError, ValueError) as error:
            line = {"lost": f"{named(task)}: {why(error)}."}
        if rank == 0:
            say(out, **line)
    dist.barrier()
    if rank == 0:
        say(out, done=True)
    dist.destroy_process_group()
    return 0


def _point(task: Task, device: torch.device, deadline_s: float) -> Point:
    """The fastest way to sum `size` bytes, timed on the slowest rank."""
    sample = _events if device.type == "cuda" else _counter
    ways = [_collective(task.shape["size"], device)]
    if device.type == "cuda" and task.shape["size"] <= ONE_SHOT_BYTES:
        try:
            ways.append(checked(_one_shot(task.shape["size"], device)))
        except (RuntimeError, ValueError, AttributeError):
            ways = ways[:1]             # no rank reaches another's memory
    timings = [(_timed(sample(way), device, deadline_s), way) for way in ways]
    timing, way = min(timings, key=lambda pair: pair[0].median_s)
    return Point(task.quantity, task.format, way.name, task.shape, timing, task.bytes, task.flops)


def _collective(size: int, device: torch.device) -> Kernel:
    import torch
    import torch.distributed as dist

    values = torch.zeros((1, size // _ITEM), device=device, dtype=torch.bfloat16)   # sums of zeros do not overflow

    def run() -> torch.Tensor:
        dist.all_reduce(values)
        return values

    return Kernel(run, f"torch {torch.__version__} {dist.get_backend()} all_reduce")


def _one_shot(size: int, device: torch.device) -> Kernel:
    """Every rank reads all others' values at once."""
    import torch
    import torch.distributed as dist
    import torch.distributed._symmetric_memory as symmetric

    world: Any = dist.group.WORLD
    values = symmetric.empty(size // _ITEM, dtype=torch.bfloat16, device=device).fill_(1.0)
    symmetric.rendezvous(values, world)

    def run() -> torch.Tensor:
        summed: torch.Tensor = torch.ops.symm_mem.one_shot_all_reduce(values, "sum", world.group_name)
        return summed.unsqueeze(0)

    def expected() -> torch.Tensor:
        from core.probe.kernel import corners

        return corners(torch.full((1, size // _ITEM), float(dist.get_world_size()), device=device))

    return Kernel(run, f"torch {torch.__version__} symmetric memory one-shot all_reduce", expected)


def _timed(sample: Callable[[], float], device: torch.device, deadline_s: float) -> Timing:
    """By the stopping rule; samples and clock are the slowest rank's, so that all ranks stop together."""
    for _ in range(WARM_UP):
        sample()
    return settle(
        lambda: _slowest(sample(), device), deadline_s=deadline_s, now_s=lambda: _slowest(time.monotonic(), device)
    )


def _slowest(value: float, device: torch.device) -> float:
    """The largest of all ranks' values."""
    import torch
    import torch.distributed as dist

    shared = torch.tensor([value], device=device, dtype=torch.float64)
    dist.all_reduce(shared, dist.ReduceOp.MAX)
    return float(shared)


def _counter(way: Kernel) -> Callable[[], float]:
    def sample() -> float:
        start = time.perf_counter()
        way.run()
        return time.perf_counter() - start

    return sample


def _events(way: Kernel) -> Callable[[], float]:
    """Several sums between two events, so that the time to launch the first does not count."""
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))

    def sample() -> float:
        way.run()
        start.record()
        for _ in range(WARM_UP):
            way.run()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) / 1e3 / WARM_UP

    return sample


if __name__ == "__main__":
    sys.exit(main())
