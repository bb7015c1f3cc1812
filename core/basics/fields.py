"""Reading what strangers wrote: JSON within a size and a depth, texts and numbers within bounds."""

import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from core.basics.errors import InputError
from core.basics.words import with_article

MAX_JSON_BYTES: Final = 4_000_000
MAX_TEXT: Final = 300
MAX_DEPTH: Final = 64           # the deepest of our own files has 8 levels, of published configs 9
_UNWRITABLE: Final = re.compile("[\0\ud800-\udfff]")   # neither a database nor a page takes these
Read = TypeVar("Read")


def json_value(text: str | bytes, *, infinities: bool = False) -> Any:
    """JSON text as Python values that can be written again anywhere.

    Raises ValueError where it is no JSON, nested deeper than MAX_DEPTH, or holds NULs or half characters, or
    NaN and Infinity where they are not expected.
    """
    try:
        value = json.loads(text, parse_constant=None if infinities else _no_constant)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    check(value)
    return value


def check(value: object) -> None:
    """Whether JSON-like values stay within MAX_DEPTH and hold only text that can be written. Raises ValueError."""
    level, depth = [value], 0
    while level:
        if depth > MAX_DEPTH:
            raise ValueError("it is nested too deeply")
        below: list[object] = []
        for one in level:
            if isinstance(one, str) and _UNWRITABLE.search(one):
                raise ValueError("a text holds characters that cannot be written")
            if isinstance(one, Mapping):
                below += [*one, *one.values()]
            elif isinstance(one, list | tuple):
                below += one
        level, depth = below, depth + 1


def document(
    text: str, mark: str, version: int, what: str, page: str, read: Callable[[Mapping[str, Any]], Read]
) -> Read:
    """What `read` makes of the JSON `text` whose field `mark` holds `version`.

    `what` names the thing ("measurement"), `page` where it is exported. Raises InputError naming what
    is wrong; nothing in it is executed.
    """
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"This file is larger than the {MAX_JSON_BYTES:,} bytes that {with_article(what)} may have.")
    try:
        data = json_value(text)
    except ValueError as error:
        why = "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"This file is no {what}: {why}.") from None
    if not isinstance(data, dict) or data.get(mark) != version:
        raise InputError(f"This file is no {what} of this version: export it again from the {page} page.")
    try:
        return read(data)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"This {what} cannot be read: {_what(error)}. Export it again.") from None


def _no_constant(name: str) -> float:
    raise ValueError(f"it holds {name}, which is no number")


def _what(error: Exception) -> str:
    return f"{error.args[0]!s:.80} is missing" if isinstance(error, KeyError) else f"{error!s:.120}"


def text_of(data: Mapping[str, Any], key: str) -> str:
    """A text. Raises KeyError or ValueError where it is none."""
    return clean(data[key])


def clean(value: object) -> str:
    """A short text. Raises ValueError where it is none."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"a text is missing or longer than {MAX_TEXT} characters")
    return value


def finite(value: object, key: str) -> float:
    """A number. Raises ValueError where it is none, or not finite."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is not a number")
    return float(value)


def number(data: Mapping[str, Any], key: str) -> float:
    """A number that is not negative. Raises KeyError or ValueError."""
    value = finite(data[key], key)
    if value < 0:
        raise ValueError(f"{key} is negative")
    return value


def positive(data: Mapping[str, Any], key: str) -> float:
    """A number above zero. Raises KeyError or ValueError."""
    value = number(data, key)
    if value == 0:
        raise ValueError(f"{key} is zero")
    return value
