"""Engines that keep keys and values of every head where the model needs one latent: assets/latent_caches.csv."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Literal, TypeAlias

from core.basics import tables
from core.basics.tables import Within

TABLE: Final = "latent_caches.csv"

# What one token leaves in the cache: the latent and its rotary key; a key and a value of every head; the same,
# as wide as the latent, where the engine folded the projections into the query.
LatentRow: TypeAlias = Literal["latent", "heads", "folded"]


@dataclass(frozen=True, slots=True)
class Kept:
    """A row of the table: what an engine keeps of a family's latents from a release on, before another."""

    engine: str
    family: str
    since: Annotated[float, Within(0, 100)]        # as core.products.engines.release counts
    before: Annotated[float, Within(0, 100)]
    row: Literal["heads", "folded"]
    source: str


@lru_cache(maxsize=1024)
def latent_row(engine: str, family: str, minor: float) -> LatentRow:
    """What that release of an engine keeps of a token of a model with latent attention."""
    rows = tables.read(TABLE, Kept, ("engine", "family", "since"))
    return next((kept.row for kept in rows
                 if (kept.engine, kept.family) == (engine, family) and kept.since <= minor < kept.before), "latent")
