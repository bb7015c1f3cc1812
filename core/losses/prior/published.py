"""The published perplexities, as they stand in the table."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, TypeAlias

from core.basics import tables
from core.basics.tables import Note, Within

Perplexity: TypeAlias = Annotated[float, Within(1, 100_000)]
UNQUANTISED: Final = "bf16"     # weights of a row that is about the KV cache alone


@dataclass(frozen=True, slots=True)
class Published:
    """The perplexity of one model in one format, and of the same model in 16 bits."""

    model: str
    family: str
    params_billion: Annotated[float, Within(0.01, 10_000)]
    weights: str
    kv_cache: Note              # empty: 16 bits
    method: str
    group: Note                 # weights that share a scale, or how scales are laid; empty: as the format says
    baseline_perplexity: Perplexity     # in 16 bits
    perplexity: Perplexity
    source: str

    @property
    def loss(self) -> float:
        """Relative increase of perplexity."""
        return self.perplexity / self.baseline_perplexity - 1

    @property
    def label(self) -> str:
        """Its source and model, as figures quote it."""
        return f"{self.source} ({self.model.split('/')[-1]})"


@cache
def published() -> tuple[Published, ...]:
    """Every published loss at hand."""
    return tables.read("quality_facts.csv", Published)
