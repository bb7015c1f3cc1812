"""What names mean, as the command `resolve` says it: one answer a name, and never an error."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from core.basics.errors import SweetspotError
from core.models import ModelSpec
from core.products import gpus
from core.products.formats import FORMATS
from core.reading import meant
from core.reading.written import as_asked


@dataclass(frozen=True, slots=True)
class Answer:
    """What one name means; the field names are those of the JSON."""

    asked: str
    name: str | None                # canonical; None: not known, or it leaves open which of several
    count: int                      # how many of it the name speaks of
    note: str
    suggestions: tuple[str, ...]    # the nearest names where there is none


def models(names: Sequence[str], resolve: Callable[[str], ModelSpec]) -> tuple[Answer, ...]:
    """The model each name means. Args: `resolve` finds one or raises a SweetspotError."""
    return tuple(_model(name, resolve) for name in names)


def _model(name: str, resolve: Callable[[str], ModelSpec]) -> Answer:
    try:
        spec = resolve(name)
    except SweetspotError as error:
        return Answer(name, None, 1, str(error), meant.closest(as_asked(name)))
    stored = f", {FORMATS[spec.shipped.format].label}" if spec.shipped and spec.shipped.format in FORMATS else ""
    context = f", context {spec.max_context:,}" if spec.max_context else ""
    facts = f"{spec.total_params / 1e9:.2f}B parameters{context}{stored}."
    return Answer(name, spec.name, 1, " ".join([facts, *spec.notes]), ())


def cards(names: Sequence[str]) -> tuple[Answer, ...]:
    """The GPU each name means and how many: 8 of "8x H100" and of "p5.48xlarge"."""
    return tuple(_card(name) for name in names)


def _card(name: str) -> Answer:
    try:
        found = gpus.meant(name)
    except SweetspotError as error:
        return Answer(name, None, 1, str(error), gpus.closest(name))
    return Answer(name, found.name, found.count, found.note, ())
