"""Probes of real GPUs that ship with the planner, for people who have none."""

from functools import cache
from typing import Final

from core.basics.places import ASSETS
from core.probe.measurement import Measurement, from_json

_FOLDER: Final = ASSETS / "probes"


@cache
def recorded() -> dict[str, Measurement]:
    """Every recorded run by name, as "NVIDIA H200, meta-llama/Llama-3.1-8B, 2026-11-26"."""
    runs = (from_json(path.read_text(encoding="utf-8")) for path in sorted(_FOLDER.glob("*.json")))
    return {f"{run.device}, {run.model}, {run.date[:10]}": run for run in runs}


def is_recorded(measurement: Measurement) -> bool:
    """Whether a measurement is one of these, however it was opened."""
    return measurement in recorded().values()
