"""How fast a deployment is: operators on a roofline, steps, TTFT, TPOT, throughput and what limits each."""

from core.speed.cases import Cases, OperatorCost, Prediction, Range
from core.speed.predict import predict
from core.speed.regime import breakdown, compute_bound_batch

__all__ = ["Cases", "OperatorCost", "Prediction", "Range", "breakdown", "compute_bound_batch", "predict"]
