"""An open load: nobody says how many requests there are, so the plan says how many can be carried."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from core.answers.advice.plan import Plan, Standing
from core.terms import INPUTS, Workload

_MOST: Final = int(next(one for one in INPUTS if one.name == "concurrency").bounds.high)


def carried(
    plan: Callable[[Workload, Sequence[int]], Plan], workload: Workload, counts: Sequence[int]
) -> Plan:
    """The plan at the largest batch within the targets, on the fewest GPUs that keep them for one request.

    `plan` answers a load on numbers of GPUs, of which `counts` may be tried. More GPUs would carry more without end, so
    their number is settled first. Where even one request is too much, the plan for that one says why.
    """
    one = plan(replace(workload, concurrency=1), counts)
    if one.standing is not Standing.MET or one.best is None:
        return one
    gpus = (one.best.deployment.gpus,)
    full = plan(replace(workload, concurrency=_MOST), gpus)
    if full.standing is Standing.MET or full.best is None:
        return full
    return plan(replace(workload, concurrency=full.best.concurrency), gpus)
