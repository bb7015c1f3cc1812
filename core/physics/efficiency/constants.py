"""Fitted constants: read from assets/efficiency.json, written by the fit."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from core.basics.places import ASSETS
from core.physics.efficiency.spread import Spread
from core.physics.efficiency.terms import TERMS

PATH: Final = ASSETS / "efficiency.json"


@dataclass(frozen=True, slots=True)
class Constants:
    """Deviations from the priors, in log or logit units; absent ones are zero."""

    common: Mapping[str, float] = field(default_factory=dict)                               # term
    deviations: Mapping[str, Mapping[str, Mapping[str, float]]] = field(default_factory=dict)  # term, level, label
    spreads: Mapping[str, Spread] = field(default_factory=dict)                               # metric


@cache
def load() -> Constants:
    """The constants the repository ships; the priors alone where none were fitted."""
    if not PATH.exists():
        return Constants()
    document = json.loads(PATH.read_text(encoding="utf-8"))
    terms = document["terms"]
    known = [term.name for term in TERMS if term.name in terms]
    return Constants(
        common={name: float(terms[name]["shift"]) for name in known},
        deviations={name: terms[name]["deviations"] for name in known},
        spreads={
            metric: Spread(range_["half_width"], range_["factors"], range_["unseen"])
            for metric, range_ in document["ranges"].items()
        },
    )
