"""Ollama's tags: a name, a size, a kind of the model and how it is stored, as in `qwen3:30b-a3b-thinking-2507-q8_0`."""

import re
from dataclasses import dataclass
from typing import Final

_NAME: Final = re.compile(r"[a-z][\w.-]*", re.ASCII)
_WORDS: Final = re.compile(r"[a-z\d][\w.-]*", re.ASCII)
_SIZE: Final = re.compile(r"(?:\d+x)?\d+(?:\.\d+)?[bmt](?:-a\d+(?:\.\d+)?b)?|e\d+b|scout|maverick")
_STORED: Final = re.compile(r"(?:ud-|i1-)?i?q\d\w*|t?q\d_\d|b?f(?:p|loat)?16|fp8|int[48]|(?:nv|mx)fp[48]\w*")
_CODE: Final = "code"
DEFAULT: Final = "latest"


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag taken apart, all in lower case."""

    name: str       # qwen3
    size: str       # 30b-a3b; empty: the default one
    kind: str       # thinking-2507; empty: the default one
    stored: str     # q8_0; empty: Ollama's default


def read(name: str) -> Tag | None:
    """The parts of `name:tag`; None when it is none."""
    model, colon, tag = name.strip().lower().partition(":")
    if not colon or not _NAME.fullmatch(model) or not _WORDS.fullmatch(tag):
        return None
    rest = "" if tag == DEFAULT else tag
    size = _SIZE.match(rest)
    if size is not None and rest[size.end() : size.end() + 1] in ("", "-"):
        rest = rest[size.end() :].lstrip("-")
    else:
        size = None
    kind, _, last = rest.rpartition("-")
    stored = last if _STORED.fullmatch(last) else ""
    if stored and kind.rpartition("-")[2] in ("ud", "i1"):
        kind, _, packer = kind.rpartition("-")
        stored = f"{packer}-{stored}"
    said = kind if stored else rest
    if model.startswith(_CODE):     # codellama:7b-code and codegemma:2b-code are the base models
        said = re.sub(rf"(^|-){_CODE}(?=-|$)", r"\1base", said)
    return Tag(model, size[0] if size else "", said, stored)
