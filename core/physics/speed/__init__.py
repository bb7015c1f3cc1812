"""How fast a deployment is: operators on a roofline, steps, TTFT, TPOT, throughput and what limits each."""

from core.physics.speed.anchors import Anchors
from core.physics.speed.cases import Cases, OperatorCost, Prediction, Range
from core.physics.speed.doubt import Width, why_wide, widths
from core.physics.speed.predict import Timed, predict, timed
from core.physics.speed.regime import breakdown, compute_bound_batch

__all__ = [
    "Anchors", "Cases", "OperatorCost", "Prediction", "Range", "Timed", "Width", "breakdown", "compute_bound_batch",
    "predict", "timed", "why_wide", "widths",
]
