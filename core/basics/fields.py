"""Reading what comes back from a file that a person chose: texts and numbers within bounds, JSON within a size."""

import json
import math
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from core.basics.errors import InputError

MAX_JSON_BYTES: Final = 4_000_000
MAX_TEXT: Final = 300
Read = TypeVar("Read")


def document(
    text: str, mark: str, version: int, what: str, page: str, read: Callable[[Mapping[str, Any]], Read]
) -> Read:
    """What `read` makes of the JSON `text` whose field `mark` holds `version`.

    `what` names the thing ("measurement"), `page` where it is exported. Raises InputError naming what
    is wrong; nothing in it is executed.
    """
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"This file is larger than the {MAX_JSON_BYTES:,} bytes a {what} may have.")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InputError(f"This file is no {what}: it is not JSON.") from None
    if not isinstance(data, dict) or data.get(mark) != version:
        raise InputError(f"This file is no {what} of this version: export it again from the {page} page.")
    try:
        return read(data)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"This {what} cannot be read: {_what(error)}. Export it again.") from None


def _no_constant(name: str) -> float:
    raise ValueError(name)


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
