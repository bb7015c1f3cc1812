"""What drafts tokens for speculative decoding: the ways engines know, and published drafters by their model."""

import re
from dataclasses import dataclass
from enum import IntEnum
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Annotated, Final, Literal

from core.basics import tables
from core.basics.errors import InputError
from core.basics.tables import Note, Within


class Drafter(IntEnum):
    """A way to draft; the words of `WORDS` in files and links."""

    NONE = 0
    MTP = 1        # the model's own head for later tokens
    EAGLE3 = 2     # a layer trained on the model's hidden states
    DRAFT = 3      # a small model of the same vocabulary
    NGRAM = 4      # what followed the same words before


WORDS: Final = ("none", "mtp", "eagle3", "draft", "ngram")      # by Drafter
MOST_DRAFTED: Final = 16                                        # tokens a step
USUAL_DRAFTED: Final = 3
_OTHER_WORDS: Final = {"": Drafter.NONE, "off": Drafter.NONE, "no": Drafter.NONE, "nextn": Drafter.MTP,
                       "eagle": Drafter.EAGLE3, "lookup": Drafter.NGRAM}
_SAID: Final = re.compile(r"(?P<way>eagle3|[a-z]*)[-_ ]?(?P<tokens>\d{1,2})?")


@dataclass(frozen=True, slots=True)
class Published:
    """A drafter somebody has published, or how much of a way's drafts was kept: a row of assets/drafters.csv."""

    name: Note                     # Hub id; empty where the model's own weights draft, or for all models
    method: Literal["mtp", "eagle3", "draft", "ngram"]
    target: str                    # the models it drafts for, * for any letters; a lone * is any other model
    params: Annotated[float, Within(1e6, 1e12)] | None          # of a draft model
    layers: Annotated[int, Within(1, 200)] | None
    drafted: Annotated[int, Within(1, MOST_DRAFTED)] | None     # tokens a step, where acceptance was measured
    accept_length: Annotated[float, Within(1, MOST_DRAFTED + 1)] | None     # tokens a step yields, its own one too
    source: str

    @property
    def rate(self) -> float | None:
        """Chance that a drafted token is kept where all before it are."""
        return None if self.drafted is None or self.accept_length is None else rate_of(self.accept_length, self.drafted)


def rate_of(accept_length: float, drafted: int) -> float:
    """The rate a at which 1 + a + ... + a^drafted tokens are what a step yields, by bisection.

    Law: Leviathan, Kalman, Matias, ICML 2023 (arXiv 2211.17192), equation 1. Engines publish the mean acceptance
    length, which counts the model's own token.
    """
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(middle**i for i in range(drafted + 1)) < accept_length else (low, middle)
    return low


@lru_cache(maxsize=1)
def _rows() -> tuple[Published, ...]:
    return tables.read("drafters.csv", Published)


@lru_cache(maxsize=4096)
def published(way: Drafter, model: str) -> tuple[Published, ...]:
    """What is known of a way to draft for a model, what names the model before what holds for any."""
    name, method = model.lower(), WORDS[way]
    own = [row for row in _rows() if row.method == method and row.target != "*"
           and fnmatchcase(name, row.target.lower())]
    return (*own, *(row for row in _rows() if row.method == method and row.target == "*"))


def named(way: Drafter, model: str) -> Published | None:
    """The published drafter of that way for the model, or None."""
    return next((row for row in published(way, model) if row.name and row.target != "*"), None)


def kept_rate(way: Drafter, model: str) -> Published | None:
    """Where the share of drafts that is kept was published: of this model, else of others."""
    return next((row for row in published(way, model) if row.rate is not None), None)


def kept_share(way: Drafter, model: str, drafted: int) -> float:
    """Share of the drafted tokens that is kept, as published: (L - 1) / drafted; 0 where nobody says."""
    row = kept_rate(way, model)
    rate = row.rate if row else None
    return sum(rate**i for i in range(1, drafted + 1)) / drafted if rate is not None else 0.0


def read(text: str, called: str = "spec_method") -> tuple[Drafter, int | None]:
    """The way a file or a command names, and the tokens a step that its name ends in: "mtp3", "draft:name", "EAGLE3".

    Raises InputError for a way that is not known.
    """
    said = _SAID.match(text.strip().lower())
    way = said["way"] if said else text
    tokens = int(said["tokens"]) if said and said["tokens"] else None
    if way in WORDS:
        return Drafter(WORDS.index(way)), tokens
    if way in _OTHER_WORDS:
        return _OTHER_WORDS[way], tokens
    raise InputError(f"{called} is '{text[:40]}', no way to draft: use one of {', '.join(WORDS)}.")
