"""What checkpoints are stored in, and which of them an engine reads.

A repository is safetensors unless its format or its name says otherwise: GGUF, MLX and EXL files have their own.
"""

from dataclasses import dataclass
from functools import cache
from typing import Final

from core.basics import tables
from core.products.engines import find
from core.products.formats import FORMATS

TABLE: Final = "checkpoint_makers.csv"
_OWN_CONTAINER: Final = {"gguf": "gguf", "mlx": "mlx", "exl2": "exl2", "exl3": "exl2"}   # by a word of format or name
_SAFETENSORS: Final = "safetensors"


@dataclass(frozen=True, slots=True)
class Makers:
    """Of a format an engine reads only what these makers publish, as others' tools write it otherwise."""

    engine: str
    format: str
    makers: tuple[str, ...]
    source: str


@cache
def _makers() -> dict[tuple[str, str], tuple[str, ...]]:
    return {(row.engine, row.format): row.makers for row in tables.read(TABLE, Makers, ("engine", "format"))}


def container(name: str, format_name: str) -> str:
    """What a repository of that name and format holds: safetensors gguf exl2 mlx."""
    words = f"{format_name}-{name}".lower().replace("/", "-").replace("_", "-").split("-")
    return next((kind for word, kind in _OWN_CONTAINER.items() if word in words), _SAFETENSORS)


def unreadable(name: str, format_name: str, engine: str) -> str | None:
    """Why the engine does not read that repository's files; None where it does, or nothing is known against it."""
    serving, held = find(engine), container(name, format_name)
    if held not in serving.containers:
        return f"{serving.label} reads {' and '.join(serving.containers)} files; those of {name} are {held}."
    return made_otherwise(name, format_name, engine)


def made_otherwise(name: str, format_name: str, engine: str) -> str | None:
    """Why the engine does not read what that maker's tool writes; None where it does, or nothing is known of it.

    `name` is a Hub id; a folder's or a file's own name says nothing of who made it.
    """
    serving = find(engine)
    makers = _makers().get((serving.name, format_name))
    owner, _, repository = name.partition("/")
    if makers is None or not repository or "/" in repository or owner in (*makers, ".", ""):
        return None
    return (f"{serving.label} reads {FORMATS[format_name].label} checkpoints of NVIDIA ModelOpt alone, as "
            f"{' and '.join(makers)} publishes; {name} was made by another tool.")
