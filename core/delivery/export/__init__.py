"""A plan to take away: CSV, JSON, text, and the command that launches it."""

from core.delivery.export.document import plan_json, plan_text
from core.delivery.export.kept import FIGURES, Answers, Deployed, KeptPlan, keep, kept, kept_csv
from core.delivery.export.launch import Launch, launch
from core.delivery.export.tables import ladder_csv, recommendation_csv, safe, sweep_csv, table, write, writing

__all__ = [
    "FIGURES",
    "Answers",
    "Deployed",
    "KeptPlan",
    "Launch",
    "keep",
    "kept",
    "kept_csv",
    "ladder_csv",
    "launch",
    "plan_json",
    "plan_text",
    "recommendation_csv",
    "safe",
    "sweep_csv",
    "table",
    "write",
    "writing",
]
