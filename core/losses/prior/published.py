"""The published perplexities, as they stand in the table."""

import csv
from dataclasses import dataclass
from functools import cache
from typing import Final

from core.basics.places import ASSETS

_TABLE: Final = ASSETS / "quality_facts.csv"
UNQUANTISED: Final = "bf16"     # weights of a row that is about the KV cache alone


@dataclass(frozen=True, slots=True)
class Published:
    """The perplexity of one model in one format, and of the same model in 16 bits."""

    model: str
    family: str
    params_billion: float
    weights: str
    kv_cache: str               # empty: 16 bits
    method: str
    group: str                  # weights that share a scale, or how scales are laid; empty: as the format says
    loss: float                 # relative increase of perplexity
    source: str

    @property
    def label(self) -> str:
        """Its source and model, as figures quote it."""
        return f"{self.source} ({self.model.split('/')[-1]})"


@cache
def published() -> tuple[Published, ...]:
    """Every published loss at hand."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                model=row["model"],
                family=row["family"],
                params_billion=float(row["params_billion"]),
                weights=row["weights"],
                kv_cache=row["kv_cache"],
                method=row["method"],
                group=row["group"],
                loss=float(row["perplexity"]) / float(row["baseline_perplexity"]) - 1,
                source=row["source"],
            )
            for row in csv.DictReader(file)
        )
