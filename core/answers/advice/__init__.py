"""What to deploy, and why: the recommendation under a service level and a tolerance for loss of quality."""

from core.answers.advice.carried import carried
from core.answers.advice.fleet import Offer, best_over_gpus
from core.answers.advice.plan import (
    BatchCurve,
    Candidate,
    Choice,
    FormatCurves,
    Heat,
    Plan,
    Remedy,
    Sensitivity,
    Standing,
    batch_limit,
)
from core.answers.advice.recommend import recommend

__all__ = [
    "BatchCurve",
    "Candidate",
    "Choice",
    "FormatCurves",
    "Heat",
    "Offer",
    "Plan",
    "Remedy",
    "Sensitivity",
    "Standing",
    "batch_limit",
    "best_over_gpus",
    "carried",
    "recommend",
]
