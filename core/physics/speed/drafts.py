"""What one pass of a drafter takes: one token more for every sequence, over and over, before the model checks them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.models import ModelSpec
from core.physics import drafter
from core.physics.efficiency import operators
from core.physics.efficiency.labels import Pair
from core.physics.speed.cases import Floats
from core.products.drafters import Drafter
from core.terms import Deployment


@dataclass(frozen=True, slots=True)
class Drafts:
    """One pass of each pair's drafter on one GPU, arrays [pairs]; zero where none drafts."""

    stack_share: Floats          # of the model's own layers: an MTP head is one of them
    own_head: Floats             # 1 where the model's own lm_head names the token
    bytes: Floats                # of other weights read
    flops: Floats                # of other weights, for one sequence
    units: Floats                # launches, in 16-bit matmul kernels
    passes: Floats               # 1 where there is a model to pass through at all


def drafts(pairs: Sequence[Pair]) -> Drafts | None:
    """Columns of the drafters; None where no pair has one."""
    if not any(deployment.drafter for _, deployment in pairs):
        return None
    rows = np.array([_pass(spec, deployment) for spec, deployment in pairs], float)
    return Drafts(*rows.T)


def _pass(spec: ModelSpec, d: Deployment) -> tuple[float, ...]:
    own = drafter.of(spec, d.drafter)
    if own is None or not own.layers:
        return (0.0,) * 6
    units = own.layers * (operators.MIXER_UNITS + operators.NORM_UNITS + drafter.MATMULS)
    if d.drafter is Drafter.MTP:
        return 1 / spec.n_layers, 1.0, 0.0, 0.0, units + operators.EXPERTS_UNITS * spec.is_moe, 1.0
    return 0.0, 0.0, drafter.BYTES * own.params / d.tp, 2 * own.params / d.tp, units, 1.0
