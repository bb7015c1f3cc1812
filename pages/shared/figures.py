"""Numbers and names as people read them; nothing here computes."""

import math
import re
from collections.abc import Callable

from core.basics.units import GIB
from core.terms import Basis, Deployment, Estimate

BADGES = {Basis.MEASURED: "green", Basis.PUBLISHED: "blue", Basis.ESTIMATED: "gray"}
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|~<>$:])")
_LINKED = re.compile(r"(?<=www)(?=\.)|(?<=@)|(?<=://)", re.IGNORECASE)    # where GitHub's autolinks begin ...
_JOINER = "\N{WORD JOINER}"                                                # ... which nothing visible prevents


def plain(text: object) -> str:
    """Text on one line with nothing in it that Markdown would act on: names come from strangers."""
    one_line = " ".join(str(text).split())
    return _MARKDOWN.sub(r"\\\1", _LINKED.sub(_JOINER, one_line))


def badge(basis: Basis) -> str:
    """Where a figure comes from, as an inline badge."""
    return f":{BADGES[basis]}-badge[{basis}]"


def three(value: float) -> str:
    """A number with three figures: 0.124, 7.41, 13.9, 148, 1,930."""
    if not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"


def ms(seconds: float) -> str:
    """Seconds as ms, or as s from ten seconds on."""
    return f"{three(seconds)} s" if seconds >= 10 else f"{three(seconds * 1000)} ms"


def gib(size_bytes: float) -> str:
    """Bytes as GiB with one decimal."""
    return f"{size_bytes / GIB:,.1f} GiB"


def dollars(amount: float) -> str:
    """US dollars with as many decimals as the amount deserves."""
    return f"${amount:,.2f}" if amount >= 0.1 else f"${amount:.3f}"


def rate(tokens_per_s: float) -> str:
    """Tokens per second."""
    return f"{three(tokens_per_s)} tok/s"


def span(estimate: Estimate, write: Callable[[float], str]) -> str:
    """The range of an estimate: "12.1 – 16.0 ms"; the unit is written once."""
    low, high = write(estimate.low), write(estimate.high)
    unit = low.partition(" ")[2]
    if unit and high.endswith(f" {unit}"):
        low = low.removesuffix(f" {unit}")
    return f"{low} – {high}"


def layout(deployment: Deployment) -> str:
    """How many GPUs, and how the model is split over them: "1 × H100 SXM5 80GB", "4 × A100, tp 4"."""
    degrees = {"tp": deployment.tp, "pp": deployment.pp, "dp": deployment.dp}
    split = [f"{name} {degree}" for name, degree in degrees.items() if degree > 1]
    return f"{deployment.gpus} × {deployment.gpu.name}" + (f", {', '.join(split)}" if split else "")


def whole(value: float) -> str:
    """A count, or "any number of" when nothing bounds it."""
    return f"{math.floor(value):,}" if math.isfinite(value) else "any number of"


def opened(text: str) -> str:
    """A clause as the opening of a sentence: its first letter raised, the others left alone."""
    return text[:1].upper() + text[1:]


def file_name(*names: str) -> str:
    """A file's name out of names from strangers: letters, digits, points and dashes."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", "-".join(name.rpartition("/")[2] for name in names)).strip("-.")[:80]
