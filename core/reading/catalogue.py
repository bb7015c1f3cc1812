"""The bundled models: facts of every architecture people deploy, and the names they are known by.

Two tables of ours: `assets/models.csv` holds one architecture a row (the configuration keys the readers
use, with the public repository they were read from), `assets/models_aliases.csv` every other Hub id that has
the same shapes, and how that repository stores its weights. Nothing is parsed before it is asked for.
"""

from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cache
from typing import Annotated, Final

from core.basics import tables
from core.basics.tables import Json, Note, Within
from core.models import ModelSpec, Role, Shipped
from core.products.formats import FORMATS
from core.reading.configs import read_config

UNQUANTISED: Final = "bf16"  # an alias stored in 16 bits of a model that ships quantised
RECALLED: Final = "as recalled"    # in the source of a row that no repository has confirmed yet
DEFAULT_MODEL: Final = "meta-llama/Llama-3.1-8B"


@dataclass(frozen=True, slots=True)
class Card:
    """What a list of models shows; cheap, no architecture is built."""

    name: str                  # Hub id
    family: str                # model_type
    total_params: int          # towers included, MTP not
    active_params: int         # of the text model, all embeddings included
    max_context: int | None    # tokens
    shipped: str               # a name of core.products.formats; empty when not quantised
    source: str                # public repository and commit the configuration was read from
    aliases: tuple[str, ...]   # other Hub ids of the same shapes

    @property
    def is_recalled(self) -> bool:
        """Whether the configuration was written from memory, not read from a repository."""
        return RECALLED in self.source


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One architecture of assets/models.csv."""

    name: str
    family: str
    total_params: Annotated[int, Within(1_000_000, 1e14)]
    active_params: Annotated[int, Within(1_000_000, 1e14)]
    max_context: Annotated[int, Within(16, 2**31)] | None
    shipped: Note
    kv_format: Note
    roles: Json                # role -> format, where it is not `shipped`
    source: str
    config: Json


@dataclass(frozen=True, slots=True)
class AliasRow:
    """Another Hub id of the same shapes: assets/models_aliases.csv."""

    alias: str
    model: str
    shipped: Note              # empty: as the model itself
    kv_format: Note
    roles: Json                # role -> format, where it is not `shipped`
    source: str
    max_context: Annotated[int, Within(16, 2**31)] | None    # empty: as the model's


@dataclass(frozen=True, slots=True)
class BlockRow:
    """Repositories whose FP8 scales cover square blocks of weights: assets/fp8_blocks.csv."""

    names: str                                  # a pattern of Hub ids: Qwen/*-FP8
    block: Annotated[int, Within(2, 4096)]      # rows and columns under one scale
    source: str


@cache
def _models() -> dict[str, ModelRow]:
    """Rows by lower-case name."""
    return {row.name.lower(): row for row in tables.read("models.csv", ModelRow, ("name",))}


@cache
def aliases() -> dict[str, AliasRow]:
    """Every other name of a model by its lower-case form: repositories of the same shapes, tags, short names."""
    return {row.alias.lower(): row for row in tables.read("models_aliases.csv", AliasRow, ("alias",))}


def rows() -> tuple[ModelRow, ...]:
    """The rows of `assets/models.csv` in their order."""
    return tuple(_models().values())


def root(name: str) -> str:
    """The name of the model whose shapes an alias has, through the repositories it is a copy of."""
    key = name.lower()
    while (alias := aliases().get(key)) is not None:
        key = alias.model.lower()
    return _models()[key].name


def totals() -> dict[str, int]:
    """Parameters of every model of `assets/models.csv` by its name, in the table's order."""
    return {row.name: row.total_params for row in _models().values()}


@cache
def _cards() -> tuple[Card, ...]:
    known_as: dict[str, list[str]] = {}
    for alias in aliases().values():
        known_as.setdefault(root(alias.alias), []).append(alias.alias)
    return tuple(
        Card(
            name=row.name,
            family=row.family,
            total_params=row.total_params,
            active_params=row.active_params,
            max_context=row.max_context,
            shipped=row.shipped,
            source=row.source,
            aliases=tuple(known_as.get(row.name, ())),
        )
        for row in _models().values()
    )


def models(query: str = "") -> tuple[Card, ...]:
    """Models whose name, family or alias holds every word of `query`, in the order of the table."""
    words = query.lower().split()
    return tuple(
        card
        for card in _cards()
        if all(word in " ".join((card.name, card.family, *card.aliases)).lower() for word in words)
    )


@cache
def _blocks() -> tuple[BlockRow, ...]:
    return tables.read("fp8_blocks.csv", BlockRow)


def _shipped(row: ModelRow | AliasRow) -> Shipped | None:
    if not row.shipped:
        return None
    name = row.name if isinstance(row, ModelRow) else row.alias
    block = next((each.block for each in _blocks() if fnmatchcase(name, each.names)), None)
    role_formats = tuple((Role(role), fmt) for role, fmt in row.roles.items())
    return Shipped(row.shipped, row.kv_format or None, source=row.source, role_formats=role_formats,
                   block=block if row.shipped == "fp8" else None)


@cache
def _architecture(key: str) -> ModelSpec:
    row = _models()[key]
    spec = read_config(row.config, name=row.name)
    return replace(spec, shipped=_shipped(row), source=row.source)


@cache
def _load(key: str) -> ModelSpec | None:
    if key in _models():
        return _architecture(key)
    alias = aliases().get(key)
    if alias is None:
        return None
    spec = _load(alias.model.lower())
    if spec is None:
        return None
    if alias.shipped == UNQUANTISED:
        spec = replace(spec, shipped=None)
    elif alias.shipped:
        spec = replace(spec, shipped=_shipped(alias))
    if alias.max_context:
        spec = replace(spec, max_context=alias.max_context)
    return replace(spec, name=alias.alias) if "/" in alias.alias else taken(alias.alias, spec)


def taken(name: str, spec: ModelSpec) -> ModelSpec:
    """The model with a note of what a name that is no Hub id was taken as."""
    shipped = spec.shipped
    how = f" in {FORMATS[shipped.format].label}" if shipped and ":" in name else ""
    return replace(spec, notes=(*spec.notes, f"'{name}' is taken as {spec.name}{how}."))


def load(name: str) -> ModelSpec | None:
    """The model of that Hub id or alias, in any case; None when the catalogue has none.

    An alias keeps its own shipped format and the name it was asked by, where that is a Hub id.
    """
    return _load(name.strip().lower())
