"""Whether an engine's release has a family of models at all, read from its own registry (`make engines`)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from core.basics import tables
from core.basics.tables import Note
from core.products.engines import ENGINES, find, release
from core.products.versions import VERSIONS

TABLE: Final = "engine_models.csv"


@dataclass(frozen=True, slots=True)
class Known:
    """A row of assets/engine_models.csv; a family that is not in it may run or not."""

    engine: str
    family: str                # model_type
    how: Literal["own", "transformers", "until", "no"]    # own: by the engine's code; transformers: by its backend
    until: Note                # the last release that had it


@cache
def _known() -> dict[tuple[str, str], Known]:
    return {(row.engine, row.family): row for row in tables.read(TABLE, Known, ("engine", "family"))}


def unrunnable(family: str, engine: str, version: str = "") -> str | None:
    """Why the engine cannot run a family, in that release or the one that is launched; None where it can or may."""
    serving = find(engine)
    row = _known().get((serving.name, family))
    if row is None or row.how in ("own", "transformers"):
        return None
    if row.how == "until" and version and release(version, serving.name) <= release(row.until, serving.name):
        return None
    pinned = f"{serving.label} {VERSIONS[serving.name].version}"
    past = f"; {serving.label} {row.until} was the last that did" if row.how == "until" else ""
    others = [ENGINES[name].label for name in _runners(family)]
    instead = f" {' and '.join(others)} {'runs' if len(others) == 1 else 'run'} it." if others else ""
    return f"{pinned} does not run models of the family {family}{past}.{instead}"


def _runners(family: str) -> Iterator[str]:
    """Engines known to run it."""
    return (row.engine for row in _known().values() if row.family == family and row.how in ("own", "transformers"))
