"""Which bundled model a name means that is no name of the catalogue: short names, Ollama tags, copies by strangers."""

from dataclasses import replace
from difflib import get_close_matches
from functools import cache, lru_cache
from typing import Final

from core.basics.words import percent
from core.models import ModelSpec, Shipped
from core.products.formats import FORMATS, find
from core.reading import shorthand, stored, tags
from core.reading.catalogue import AliasRow, aliases, load, root, taken, totals

OLLAMA: Final = "Ollama tag"
OLLAMA_DEFAULT: Final = "gguf-Q4_K_M"
_LONGEST: Final = 120        # characters of a name; none is longer
_EXACT_ENOUGH: Final = 1.05  # of its reckoned size: the most a file may weigh without a word about it
# LM Studio's names of publishers that the Hub calls otherwise.
PUBLISHERS: Final = {
    "deepseek": "deepseek-ai/", "meta": "meta-llama/", "mistral": "mistralai/", "ibm": "ibm-granite/",
    "liquid": "liquidai/", "bytedance": "bytedance-seed/", "xai": "xai-org/", "cohere": "coherelabs/",
    "lg": "lgai-exaone/",
}


@cache
def _index() -> shorthand.Index:
    """Every name with its publisher: models first, then what the publisher calls alike, copies last."""
    def order(alias: AliasRow) -> tuple[bool, bool]:
        return bool(alias.shipped), alias.alias.partition("/")[0].lower() != alias.model.partition("/")[0].lower()

    others = sorted((alias for alias in aliases().values() if "/" in alias.alias), key=order)
    params = totals()
    return shorthand.index([*params.items(), *((alias.alias, params[root(alias.alias)]) for alias in others)])


@cache
def _short_names() -> dict[shorthand.Tokens, str]:
    """What the names without a publisher stand for, however their words are joined."""
    return {_index().key(alias.alias): alias.model for alias in aliases().values() if not set("/:") & set(alias.alias)}


@lru_cache(maxsize=4096)
def guess(name: str) -> ModelSpec | None:
    """The obvious model of a name without a publisher (`llama-3-8b`, `qwen3:8b-q8_0`), which its notes tell.

    None where the name has a publisher, asks for what no model has (a version, a date, a length, a way to be
    stored), or leaves open which of several is meant.
    """
    clean = name.strip()
    if not clean or "/" in clean:
        return None
    if ":" in clean:
        return _tagged(clean)
    full = _short_names().get(_index().key(clean)) if len(clean) <= _LONGEST else None
    full = full or _index().find(clean)
    spec = None if full is None else load(full)
    return None if spec is None else taken(clean, spec)


def _tagged(name: str) -> ModelSpec | None:
    """An Ollama tag: the model of that size and kind, stored as the rest of the tag says."""
    asked = tags.read(name)
    full = None if asked is None else _of_tag(asked)
    spec = None if full is None else load(full)
    if asked is None or spec is None:
        return None
    if asked.stored:
        known = stored.format_of(asked.stored)
        if known is None:
            return None
        spec = _stored_as(spec, known, OLLAMA)
        return taken(name, replace(spec, notes=(*spec.notes, *_spread(known))))
    default = next((row.shipped for row in _sizes(asked.name) if _named(row.model) == spec.name and row.shipped), "")
    return taken(name, _stored_as(spec, default or OLLAMA_DEFAULT, OLLAMA))


def _sizes(name: str) -> list[AliasRow]:
    """The rows of an Ollama name, the one with its default first."""
    return [row for key, row in aliases().items() if key == name or key.startswith(f"{name}:")]


def _named(model: str) -> str:
    spec = load(model)
    return model if spec is None else spec.name


def _of_tag(asked: tags.Tag) -> str | None:
    """The Hub id that an Ollama tag stands for; None where nothing has all it says."""
    row = aliases().get(f"{asked.name}:{asked.size or tags.DEFAULT}")
    if row is None and not asked.size:
        row = aliases().get(asked.name)
    if row is not None and (full := _index().variant(row.model, asked.kind)):
        return full
    return _index().find("-".join(part for part in (asked.name, asked.size, asked.kind) if part))


def _stored_as(spec: ModelSpec, fmt: str, source: str) -> ModelSpec:
    """The model in that format; in 16 bits where that is what it says."""
    return replace(spec, shipped=None if fmt in stored.PLAIN else Shipped(fmt, source=source))


@lru_cache(maxsize=4096)
def guess_published(name: str) -> ModelSpec | None:
    """A model by LM Studio's name, a publisher and a short name in small letters: `qwen/qwen3-coder-30b`; else None."""
    publisher, slash, rest = name.strip().partition("/")
    if not slash or "/" in rest or ":" in rest or name != name.lower():
        return None
    full = _index().find(rest, PUBLISHERS.get(publisher, f"{publisher}/"))
    spec = None if full is None else load(full)
    return None if spec is None else taken(name.strip(), spec)


@lru_cache(maxsize=4096)
def guess_copy(name: str) -> ModelSpec | None:
    """Somebody's quantised copy of a bundled model, by its repository's name alone; its notes say it is not checked.

    `org/Qwen3-8B-AWQ`, `org/Qwen3-8B-GGUF:Q8_0`, `org/Qwen3-8B-GGUF/Qwen3-8B-IQ4_XS.gguf`. None where what is left
    of the name without its format is no bundled model, or the format is not known.
    """
    copy = stored.copy(name.strip())
    full = None if copy is None else _index().same(copy.model)
    spec = None if full is None else load(full)
    if copy is None or spec is None:
        return None
    fmt = stored.format_of(copy.stored)
    if fmt is None:
        return None
    note = f"Taken as a copy of {spec.name} by its name; it was not checked against the Hub."
    spec = _stored_as(spec, fmt, "the repository's name")
    return replace(spec, name=name.strip(), notes=(*spec.notes, note, *_spread(fmt)))


def _spread(fmt: str) -> tuple[str, ...]:
    """What a format's name leaves open of the file's size, where that is more than a few per cent."""
    known = find(fmt)
    if known.heaviest <= _EXACT_ENOUGH:
        return ()
    low, high = (percent(abs(share - 1)) for share in (known.lightest, known.heaviest))
    return (f"{known.label} files choose their types tensor by tensor: from {low} smaller to {high} larger than "
            "reckoned from the name; give the file itself to have its true size.",)


@lru_cache(maxsize=4096)
def closest(name: str, n: int = 3) -> tuple[str, ...]:
    """At most `n` names most like one that is not known; none where none is alike.

    Of an Ollama tag whose model is known but not how it is stored: the tags that are most alike.
    """
    asked = tags.read(name)
    if asked is None or not asked.stored or _of_tag(asked) is None:
        return _index().closest(name, n)
    stem = name.strip().lower().removesuffix(asked.stored)
    ends = [known.removeprefix(stored.GGUF_PREFIX) for known in FORMATS if known.startswith(stored.GGUF_PREFIX)]
    return tuple(f"{stem}{end}" for end in get_close_matches(asked.stored, map(str.lower, ends), n, cutoff=0.0))
