"""How fast a deployment is: operators on a roofline, steps, TTFT, TPOT, throughput and what limits each."""

from core.physics.speed.anchors import Anchors
from core.physics.speed.cases import Cases, OperatorCost, Prediction, Range
from core.physics.speed.doubt import Width, why_wide, widths
from core.physics.speed.power import kwh_per_million, tokens_per_joule
from core.physics.speed.predict import Timed, predict, timed
from core.physics.speed.regime import breakdown, compute_bound_batch

__all__ = [
    "Anchors", "Cases", "OperatorCost", "Prediction", "Range", "Timed", "Width", "breakdown", "compute_bound_batch",
    "kwh_per_million", "predict", "timed", "tokens_per_joule", "why_wide", "widths",
]
