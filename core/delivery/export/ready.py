"""Checkpoints of a model in another format that the catalogue knows by name."""

import re
from typing import Final

from core.products.containers import unreadable
from core.products.engines import find as find_engine
from core.reading import catalogue

# What the name of a quantised copy adds to the model's own, word by word; anything else is another model.
_ADDED: Final = re.compile(
    r"(quantized|quantised|quant|dynamic|block|fp8|kv|nvfp4|fp4|mxfp4|mxfp8|awq|gptq|int[48]|[48]bit|w[48]a(4|8|16)|g128"
    r"|sym|asym|marlin|gguf|\W|_)*",
    re.IGNORECASE,
)


def ready_made(name: str, format_name: str, engine: str) -> tuple[str, ...]:
    """Hub ids of the same model stored in a format, from the catalogue; empty where it knows none.

    First those of whoever made the model, then those of whoever makes the engine.
    """
    asked, owner = _tail(name), name.partition("/")[0]
    rank = {owner: 0, find_engine(engine).publisher or owner: 1}
    found = (
        other for card in catalogue.models() for other in (card.name, *card.aliases)
        if other != name and _tail(other).startswith(asked) and _ADDED.fullmatch(_tail(other).removeprefix(asked))
        and _shipped(other) == format_name and not unreadable(other, format_name, engine)
    )
    return tuple(sorted(found, key=lambda other: rank.get(other.partition("/")[0], len(rank))))


def _tail(name: str) -> str:
    """The name without its owner; Llama's first releases carried their maker's name as well."""
    return name.rpartition("/")[2].lower().removeprefix("meta-")


def _shipped(name: str) -> str:
    spec = catalogue.load(name)
    return spec.shipped.format if spec is not None and spec.shipped is not None else ""
