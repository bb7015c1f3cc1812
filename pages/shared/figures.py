"""Numbers and names as people read them on pages; the words of numbers are core.basics.words'."""

import math
import re
from collections.abc import Callable

from core.basics.words import dollars as dollars
from core.basics.words import gib as gib
from core.basics.words import ms as ms
from core.basics.words import number as three
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
