"""Numbers, units and counts as text, the same on pages, in files and on a terminal."""

import math
from typing import Final

from core.basics.units import GIB, MS_PER_S

# Letters and digits whose names begin with a vowel's sound, as in "an FP8 cache", "an H100", "an 8-bit cache".
_SPOKEN_WITH_A_VOWEL: Final = frozenset("AEFHILMNORSX8")


def number(value: float) -> str:
    """Three figures: 0.124, 7.41, 13.9, 148, 1,930; a dash for what is not finite."""
    if not math.isfinite(value) or value == 0:
        return "0" if value == 0 else "–"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"


def ms(seconds: float) -> str:
    """Milliseconds, or seconds from ten on."""
    return f"{number(seconds)} s" if seconds >= 10 else f"{number(seconds * MS_PER_S)} ms"


def gib(size_bytes: float) -> str:
    """Bytes as GiB with one decimal."""
    return f"{size_bytes / GIB:,.1f} GiB"


def dollars(amount: float) -> str:
    """US dollars with two decimals, three under ten cents: $2.49, $0.042."""
    return f"${amount:,.2f}" if amount >= 0.1 else f"${amount:.3f}"


def percent(share: float) -> str:
    """A share in percent, with one decimal below ten: 1.3 %, 42 %."""
    return f"{100 * share:.1f} %" if abs(share) < 0.0995 else f"{100 * share:.0f} %"


def counted(count: float, thing: str) -> str:
    """A number of things: "1 request", "1,024 requests", "2 replicas"."""
    return f"{count:,.0f} {thing}{'' if round(count) == 1 else 's'}"


def with_article(name: str) -> str:
    """A name behind "a" or "an" as it is spoken: "an FP8 KV cache", "a BF16 one", "an L40S", "an answer"."""
    first = name.split(maxsplit=1)[0]
    is_spelt = any(letter.isdigit() for letter in first) or (first.isupper() and len(first) > 1)
    vowels = _SPOKEN_WITH_A_VOWEL if is_spelt else frozenset("AEIOU")
    return f"{'an' if first[0].upper() in vowels else 'a'} {name}"
