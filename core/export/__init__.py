"""A plan to take away: CSV, JSON, text, and the command that launches it."""

from core.export.document import plan_json, plan_text
from core.export.kept import FIGURES, Answers, Deployed, KeptPlan, keep, kept, kept_csv
from core.export.launch import LAUNCHERS, Launch, launch
from core.export.tables import recommendation_csv, safe, sweep_csv, table, write

__all__ = [
    "FIGURES",
    "LAUNCHERS",
    "Answers",
    "Deployed",
    "KeptPlan",
    "Launch",
    "keep",
    "kept",
    "kept_csv",
    "launch",
    "plan_json",
    "plan_text",
    "recommendation_csv",
    "safe",
    "sweep_csv",
    "table",
    "write",
]
