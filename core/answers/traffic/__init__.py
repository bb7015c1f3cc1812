"""Real traffic: arrivals, an engine's scheduler step by step, replicas and what they cost."""

from core.answers.traffic.fleet import (
    Alone,
    Bill,
    Fleet,
    Percentiles,
    Service,
    Slo,
    bill,
    serve,
    serve_disaggregated,
    smallest_fleet,
)
from core.answers.traffic.hours import Hour, autoscale
from core.answers.traffic.replica import Options, Replica, replica
from core.answers.traffic.requests import MAX_REQUESTS, PRESETS, Lengths, Trace, generate, read_trace
from core.answers.traffic.scheduler import Limits, Outcome, simulate, simulate_closed
from core.answers.traffic.speculation import Speculation, speculation
from core.answers.traffic.steps import StepTable, step_table
from core.answers.traffic.study import FACTORS, Effect, Part, Question, RatePoint, Split, first_look, study, times_alone

__all__ = [
    "FACTORS", "MAX_REQUESTS", "PRESETS", "Alone", "Bill", "Effect", "Fleet",
    "Hour", "Lengths", "Limits", "Options", "Outcome", "Part", "Percentiles", "Question", "RatePoint", "Replica",
    "Service", "Slo", "Speculation", "Split", "StepTable", "Trace", "autoscale", "bill",
    "first_look", "generate", "read_trace", "replica", "serve", "serve_disaggregated", "simulate", "simulate_closed",
    "smallest_fleet", "speculation", "step_table", "study", "times_alone",
]
