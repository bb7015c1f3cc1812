"""Stands in for the process that measures on a GPU that faults at its third point, or at its first."""

import sys
from dataclasses import asdict

from core.machinery.worker import say, told
from core.probe.measurement import Point
from core.probe.order import task_of
from core.probe.timing import Stop, Timing
from core.probe.worker import FAULT

REASON = "CUDA fault (CUDA error: an illegal memory access was encountered)"


def main() -> int:
    order, out = told()
    say(out, device="CPU: a GPU that faults", versions={}, uuid="", capability="")
    faulty = 0 if order["model"] == "at once" else 2
    for position, task in enumerate(task_of(item) for item in order["tasks"]):
        if position == faulty and not order["torch_alone"]:
            say(out, lost=f"{task.quantity}: {REASON}.")
            say(out, fault=REASON)
            return FAULT
        timing = Timing(1e-3, 1e-3, 1e-3, 32, 0.001, Stop.SETTLED)
        say(out, point=asdict(Point(task.quantity, task.format, "torch", task.shape, timing, task.bytes, task.flops)))
    say(out, done=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
