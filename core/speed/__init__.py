"""How fast a deployment is: operators on a roofline, steps, TTFT, TPOT, throughput and what limits each."""

from core.speed.anchors import Anchors
from core.speed.cases import Cases, OperatorCost, Prediction, Range
from core.speed.doubt import Width, why_wide, widths
from core.speed.predict import Timed, predict, timed
from core.speed.regime import breakdown, compute_bound_batch

__all__ = [
    "Anchors", "Cases", "OperatorCost", "Prediction", "Range", "Timed", "Width", "breakdown", "compute_bound_batch",
    "predict", "timed", "why_wide", "widths",
]
