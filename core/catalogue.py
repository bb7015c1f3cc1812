"""The bundled models: facts of every architecture people deploy, and the names they are known by.

Two tables of ours: `assets/models.csv` holds one architecture a row (the configuration keys the readers
use, with the public repository they were read from), `assets/models_aliases.csv` every other Hub id that has
the same shapes, and how that repository stores its weights. Nothing is parsed before it is asked for.
"""

import csv
import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Final

from core.configs import read_config
from core.models import ModelSpec, Role, Shipped

_ASSETS: Final = Path(__file__).parent.parent / "assets"
UNQUANTISED: Final = "bf16"  # an alias stored in 16 bits of a model that ships quantised
DEFAULT_MODEL: Final = "meta-llama/Llama-3.1-8B"


@dataclass(frozen=True, slots=True)
class Card:
    """What a list of models shows; cheap, no architecture is built."""

    name: str                  # Hub id
    family: str                # model_type
    total_params: int          # towers included, MTP not
    active_params: int         # of the text model, all embeddings included
    max_context: int | None    # tokens
    shipped: str               # a name of core.formats; empty when not quantised
    source: str                # public repository and commit the configuration was read from
    aliases: tuple[str, ...]   # other Hub ids of the same shapes


@dataclass(frozen=True, slots=True)
class _Alias:
    name: str
    model: str
    shipped: str               # empty: as the model itself
    kv_format: str
    roles: str                 # JSON: role -> format, where it is not `shipped`
    source: str


def _rows(file_name: str) -> list[dict[str, str]]:
    with (_ASSETS / file_name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@cache
def _models() -> dict[str, dict[str, str]]:
    """Rows by lower-case name."""
    return {row["name"].lower(): row for row in _rows("models.csv")}


@cache
def _aliases() -> dict[str, _Alias]:
    """Aliases by lower-case name."""
    return {row["alias"].lower(): _Alias(*row.values()) for row in _rows("models_aliases.csv")}


@cache
def _cards() -> tuple[Card, ...]:
    known_as: dict[str, list[str]] = {}
    for alias in _aliases().values():
        known_as.setdefault(alias.model.lower(), []).append(alias.name)
    return tuple(
        Card(
            name=row["name"],
            family=row["family"],
            total_params=int(row["total_params"]),
            active_params=int(row["active_params"]),
            max_context=int(row["max_context"]) if row["max_context"] else None,
            shipped=row["shipped"],
            source=row["source"],
            aliases=tuple(known_as.get(key, ())),
        )
        for key, row in _models().items()
    )


def models(query: str = "") -> tuple[Card, ...]:
    """Models whose name, family or alias holds every word of `query`, in the order of the table."""
    words = query.lower().split()
    return tuple(
        card
        for card in _cards()
        if all(word in " ".join((card.name, card.family, *card.aliases)).lower() for word in words)
    )


def _shipped(name: str, kv_format: str, roles: str, source: str) -> Shipped | None:
    if not name:
        return None
    role_formats = tuple((Role(role), fmt) for role, fmt in json.loads(roles or "{}").items())
    return Shipped(name, kv_format or None, source=source, role_formats=role_formats)


@cache
def _architecture(key: str) -> ModelSpec:
    row = _models()[key]
    spec = read_config(json.loads(row["config"]), name=row["name"])
    shipped = _shipped(row["shipped"], row["kv_format"], row["roles"], row["source"])
    return replace(spec, shipped=shipped, source=row["source"])


@cache
def _load(key: str) -> ModelSpec | None:
    if key in _models():
        return _architecture(key)
    alias = _aliases().get(key)
    if alias is None:
        return None
    spec = replace(_architecture(alias.model.lower()), name=alias.name)
    if not alias.shipped:
        return spec
    if alias.shipped == UNQUANTISED:
        return replace(spec, shipped=None)
    return replace(spec, shipped=_shipped(alias.shipped, alias.kv_format, alias.roles, alias.source))


def load(name: str) -> ModelSpec | None:
    """The model of that Hub id or alias, in any case; None when the catalogue has none.

    An alias keeps the name it was asked by and its own shipped format.
    """
    return _load(name.strip().lower())
