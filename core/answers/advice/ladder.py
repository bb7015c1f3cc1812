"""The ladder: every weight format with every KV cache on the GPUs at hand, and what each can do there."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np

from core.answers.advice.plan import Plan
from core.answers.advice.select import is_known
from core.physics.memory import Footprint
from core.terms import Deployment, Estimate, Workload

_STEP: Final = 1024                   # tokens between the contexts that are tried
_ENDLESS: Final = 1_048_576           # tokens, where the model says no end of its own


class Room(StrEnum):
    """Whether a load fits the memory of a GPU."""

    FITS = "fits"
    TIGHT = "tight"      # as estimated; at the upper end of the estimate it does not
    OVER = "over"


@dataclass(frozen=True, slots=True)
class Rung:
    """One weight format with one KV cache, at the plan's requests."""

    deployment: Deployment
    room: Room
    weights_bytes: float              # of one GPU
    longest_context: int              # tokens of a single request that the cache holds, to the thousand; 0: none
    most_requests: int                # of the planned length that the memory holds
    within_targets: int               # of these within both targets, on the plan's grid of batches
    tpot_s: float                     # at the plan's requests; NaN where they do not fit
    quality: Estimate | None          # None: nobody has published it
    accepted: bool                    # within the accepted loss


def ladder(plan: Plan) -> tuple[Rung, ...]:
    """Every pair that the engine runs on as many GPUs as the plan shows, widest weights first; none where none runs."""
    shown, grid = plan.shown, plan.at_context
    if shown is None:
        return ()
    rows = [i for i, d in enumerate(grid.deployments) if d.gpus == shown.deployment.gpus]
    found = [_rung(plan, i) for i in rows]
    return tuple(sorted(found, key=lambda rung: (-rung.deployment.weights.bits_per_weight,
                                                 -rung.deployment.kv_cache.bits_per_value)))


def _rung(plan: Plan, layout: int) -> Rung:
    grid, load = plan.at_context, plan.workload
    d, footprint = grid.deployments[layout], grid.footprints[layout]
    asked = min(range(len(grid.batches)), key=lambda n: abs(grid.batches[n] - load.concurrency))
    fits = grid.cube(grid.fits)[layout, 0].astype(bool)
    good = np.logical_and.accumulate(fits & grid.cube(grid.meets_slo)[layout, 0].astype(bool))
    held = float(grid.cube(grid.capacity)[layout, 0, 0])
    quality = plan.losses.of(d.weights, d.kv_cache)
    return Rung(
        deployment=d, room=_room(footprint, load.concurrency / d.dp, load) if fits[asked] else Room.OVER,
        weights_bytes=footprint.term("weights").bytes, longest_context=_longest(footprint, plan.spec.max_context),
        most_requests=int(min(held, 1e9)), within_targets=grid.batches[int(good.sum()) - 1] if good.any() else 0,
        tpot_s=float(grid.cube(grid.prediction.tpot_s.value)[layout, 0, asked]) if fits[asked] else float("nan"),
        quality=quality if is_known(d, quality) else None,
        accepted=is_known(d, quality) and quality is not None and quality.value <= load.quality_loss,
    )


def _room(footprint: Footprint, requests: float, load: Workload) -> Room:
    """Whether the load still fits at the upper end of what weights and overheads are estimated at."""
    needed = footprint.taken_bytes(requests, load.context_tokens, load.shared_tokens)
    most = needed + sum(term.high - term.bytes for term in footprint.terms)
    return Room.TIGHT if most > footprint.usable_bytes else Room.FITS


def _longest(footprint: Footprint, max_context: int | None) -> int:
    """The longest context of which the cache holds one request, in steps of 1,024 tokens."""
    if not footprint.fits:
        return 0
    end = max_context or _ENDLESS
    lengths = np.unique(np.append(np.arange(_STEP, end + 1, _STEP, dtype=float), float(end)))
    held = lengths[np.asarray(footprint.max_concurrency(lengths)) >= 1]
    return int(held.max(initial=0.0))
