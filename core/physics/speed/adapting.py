"""What LoRA adapters add to a step: their factors are read, multiplied, and launched beside every adapted matmul."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.models import ModelSpec
from core.physics import lora
from core.physics.efficiency.labels import Pair
from core.physics.speed.cases import Floats
from core.terms import Deployment


@dataclass(frozen=True, slots=True)
class Adapting:
    """Adapters of each pair on one GPU, arrays [pairs]; zero where there are none."""

    count: Floats                # at once
    bytes: Floats                # of one adapter
    flops: Floats                # of one token
    kernels: Floats              # launches of a step


def adapting(pairs: Sequence[Pair]) -> Adapting | None:
    """Columns of the adapters; None where no pair has any."""
    if not any(deployment.adapters for _, deployment in pairs):
        return None
    return Adapting(*np.array([_row(*pair) for pair in pairs], float).T)


def _row(spec: ModelSpec, d: Deployment) -> tuple[float, ...]:
    taken = lora.slots(spec, d)
    if taken is None or d.adapters is None:
        return (0.0,) * 4
    count = d.adapters.count
    return count, taken.bytes / count, 2 * taken.active_params, lora.KERNELS * taken.matmuls
