"""Somebody's own prompts: pasted, uploaded as .txt, .jsonl or .csv, or exported from a chat; bounded, never stored."""

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Final

from core.basics.errors import InputError

MAX_BYTES: Final = 20_000_000
MAX_PROMPTS: Final = 2_000
MAX_CHARACTERS: Final = 2_000_000       # of all prompts; about half a million tokens
SEPARATOR: Final = "---"                # a line of its own between two prompts of a text
FIELDS: Final = ("prompt", "text", "content", "instruction", "question", "input", "query")
_CHATS: Final = ("messages", "conversations", "conversation")
_HOW: Final = "Paste text, or upload .txt, .jsonl, .csv or a chat export (.json)."


def read_prompts(given: bytes | str, name: str = "") -> tuple[str, ...]:
    """The prompts in a pasted text or an uploaded file; `name` tells its kind by its ending.

    A text holds one prompt, or several between lines of `---`. A row of .jsonl or .csv is one prompt, a
    conversation of a chat export one too. Raises InputError in one sentence when it is empty, binary,
    too large, or holds no prompts.
    """
    check_size(len(given))
    text = given if isinstance(given, str) else _decoded(given)
    if "\0" in text:
        raise InputError(f"This file is binary. {_HOW}")
    if not text.strip():
        raise InputError(f"There are no prompts in it. {_HOW}")
    kind = PurePath(name).suffix.lower()
    read = _READERS.get(kind, _from_text)
    return _bounded(read(text))


def read_file(path: Path) -> tuple[str, ...]:
    """The prompts in a file. Raises InputError in one sentence."""
    try:
        check_size(path.stat().st_size)
        return read_prompts(path.read_bytes(), path.name)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read ({error.strerror}). Check the path.") from None


def check_size(size: int) -> None:
    """Raises InputError for more bytes than are read."""
    if size > MAX_BYTES:
        raise InputError(f"These prompts take {size / 1e6:,.0f} MB; {MAX_BYTES / 1e6:.0f} MB is the most. Use a part.")


def digest(prompts: Sequence[str]) -> str:
    """SHA-256 that tells two sets of prompts apart without keeping either."""
    return hashlib.sha256(json.dumps(list(prompts)).encode()).hexdigest()


def _decoded(given: bytes) -> str:
    encoding = "utf-16" if given.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return given.decode(encoding)
    except UnicodeDecodeError:
        raise InputError(f"This file is binary or not in UTF-8. {_HOW}") from None


def _bounded(found: Iterable[str]) -> tuple[str, ...]:
    prompts: list[str] = []
    characters = 0
    for prompt in found:
        if not prompt.strip():
            continue
        prompts.append(prompt.strip("\r\n"))
        characters += len(prompt)
        if len(prompts) > MAX_PROMPTS:
            raise InputError(f"There are more than {MAX_PROMPTS:,} prompts. Use a part of them.")
        if characters > MAX_CHARACTERS:
            raise InputError(f"These prompts are longer than {MAX_CHARACTERS:,} characters. Use a part of them.")
    if not prompts:
        raise InputError(f"There are no prompts in it. {_HOW}")
    return tuple(prompts)


def _from_text(text: str) -> Iterator[str]:
    """One prompt, or several between lines of three dashes."""
    lines: list[str] = []
    for line in text.replace("\r\n", "\n").split("\n"):
        if line.strip() == SEPARATOR:
            yield "\n".join(lines)
            lines = []
        else:
            lines.append(line)
    yield "\n".join(lines)


def _from_lines(text: str) -> Iterator[str]:
    """A JSON value a line: a text, an object with a known field, or a conversation."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield from _prompts_of(_json(line, f"Line {number} of this .jsonl"), f"Line {number}")


def _from_json(text: str) -> Iterator[str]:
    """A chat export: a conversation or a list of them; also a list of texts or objects."""
    data = _json(text, "This .json")
    items = data if isinstance(data, list) and not _is_chat(data) else [data]
    for number, item in enumerate(items, 1):
        yield from _prompts_of(item, f"Entry {number}")


def _json(text: str, what: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InputError(f"{what} is no JSON. {_HOW}") from None


def _from_table(text: str) -> Iterator[str]:
    """The column with a known name, or the only one."""
    rows = csv.reader(io.StringIO(text, newline=""))
    try:
        first = next(rows, [])
        header = [cell.strip().lower() for cell in first]
        column = next((header.index(field) for field in FIELDS if field in header), None)
        if column is None and len(header) > 1:
            raise InputError(f"None of the columns of this .csv is called {', '.join(FIELDS[:-1])} or {FIELDS[-1]}.")
        if column is None:
            yield from first
        for row in rows:
            if len(row) > (column or 0):
                yield row[column or 0]
    except csv.Error as error:
        raise InputError(f"This .csv cannot be read: {error}.") from None


def _prompts_of(item: object, where: str) -> Iterator[str]:
    """Prompts of one entry. Raises InputError where it has none of the known shapes."""
    if isinstance(item, str):
        yield item
    elif isinstance(item, list) and _is_chat(item):
        yield _conversation(item)
    elif isinstance(item, Mapping) and isinstance(item.get("mapping"), Mapping):
        yield _conversation(_in_order(item["mapping"]))
    elif isinstance(item, Mapping) and (chat := next((item[key] for key in _CHATS if _is_chat(item.get(key))), None)):
        yield _conversation(chat)
    elif isinstance(item, Mapping) and (key := next((key for key in FIELDS if isinstance(item.get(key), str)), None)):
        yield item[key]
    else:
        raise InputError(f"{where} is neither a text nor a conversation, and has no field {', '.join(FIELDS[:3])}, ...")


def _is_chat(value: object) -> bool:
    """Whether it is a list of turns: {"role", "content"} or {"from", "value"}."""
    return isinstance(value, list) and bool(value) and all(
        isinstance(turn, Mapping) and ({"role", "content"} <= turn.keys() or {"from", "value"} <= turn.keys())
        for turn in value
    )


def _in_order(mapping: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The turns of an OpenAI export: a tree of nodes in the order they were written."""
    nodes = [node.get("message") for node in mapping.values() if isinstance(node, Mapping)]
    return [node for node in nodes if isinstance(node, Mapping)]


def _conversation(turns: Iterable[Mapping[str, Any]]) -> str:
    """What was said, turn after turn."""
    said = (_text(turn.get("content", turn.get("value"))) for turn in turns)
    return "\n\n".join(text for text in said if text.strip())


def _text(content: object) -> str:
    """The words of a turn: a text, {"parts": [...]}, or a list of parts; pictures are left out."""
    if isinstance(content, str):
        return content
    if isinstance(content, Mapping):
        return _text(content.get("parts", content.get("text", "")))
    if isinstance(content, list):
        return "\n".join(filter(None, map(_text, content)))
    return ""


_READERS: Final = {".jsonl": _from_lines, ".ndjson": _from_lines, ".json": _from_json, ".csv": _from_table}
