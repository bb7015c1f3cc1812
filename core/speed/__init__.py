"""How fast a deployment is: operators on a roofline, steps, TTFT, TPOT, throughput and what limits each."""

from core.speed.anchors import Anchors
from core.speed.cases import Cases, OperatorCost, Prediction, Range
from core.speed.doubt import Width, why_wide, widths
from core.speed.predict import predict
from core.speed.regime import breakdown, compute_bound_batch

__all__ = [
    "Anchors", "Cases", "OperatorCost", "Prediction", "Range", "Width", "breakdown", "compute_bound_batch", "predict",
    "why_wide", "widths",
]
