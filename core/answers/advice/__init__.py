"""What to deploy, and why: the recommendation under a service level and a tolerance for loss of quality."""

from core.answers.advice.alternatives import Answer, side_by_side
from core.answers.advice.demand import Arrivals, Demand, Open, Users, answered, assumed
from core.answers.advice.engine import Usual, usual_engine
from core.answers.advice.fleet import Offer, best_over_gpus
from core.answers.advice.ladder import Room, Rung, ladder
from core.answers.advice.moved import moved
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
from core.answers.advice.use_cases import USE_CASES, UseCase, use_case

__all__ = [
    "USE_CASES",
    "Answer",
    "Arrivals",
    "BatchCurve",
    "Candidate",
    "Choice",
    "Demand",
    "FormatCurves",
    "Heat",
    "Offer",
    "Open",
    "Plan",
    "Remedy",
    "Room",
    "Rung",
    "Sensitivity",
    "Standing",
    "UseCase",
    "Users",
    "Usual",
    "answered",
    "assumed",
    "batch_limit",
    "best_over_gpus",
    "ladder",
    "moved",
    "recommend",
    "side_by_side",
    "use_case",
    "usual_engine",
]
