"""Real traffic: arrivals, an engine's scheduler step by step, replicas and what they cost."""

from core.traffic.fleet import (
    Bill,
    Fleet,
    Hour,
    Percentiles,
    Service,
    Slo,
    autoscale,
    bill,
    serve,
    serve_disaggregated,
    smallest_fleet,
)
from core.traffic.requests import PRESETS, Lengths, Trace, generate, read_trace
from core.traffic.scheduler import Limits, Outcome, simulate, simulate_closed
from core.traffic.steps import StepTable, step_table

__all__ = [
    "PRESETS", "Bill", "Fleet", "Hour", "Lengths", "Limits", "Outcome", "Percentiles", "Service", "Slo", "StepTable",
    "Trace", "autoscale", "bill", "generate", "read_trace", "serve", "serve_disaggregated", "simulate",
    "simulate_closed", "smallest_fleet", "step_table",
]
