"""The short names people write for models, and the nearest real ones when a name is not known.

`llama-3-8b`, `Meta-Llama-3-8B` and `llama3-8b` are one name in plain form; `mixtral-8x7b` leaves out the
qualifiers that the repository's name ends in. An Ollama tag is a name, a size and how it is stored.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

_MAKERS: Final = re.compile(r"^(meta|c4ai|nvidia)-(?=[a-z])")
_QUALIFIER: Final = re.compile(r"-(hf|it|pt|instruct|chat|base|preview|bf16|v\d+(\.\d+)*|\d{4}|\d{1,3}k)$")
_SEPARATORS: Final = re.compile(r"[-_\s]+")
_BETWEEN_WORDS: Final = re.compile(r"(?<!\d)-|-(?!\d)")    # "2-7b" keeps its dash: it is not "27b"
_TAG: Final = re.compile(
    r"([\w.-]+):(?:(\d+(?:\.\d+)?[bm](?:-a\d+b)?|\d+x\d+b|e\d+b)-?)?"
    r"(?:(?:instruct|thinking|chat|text|it|latest|\d{4})-?)*(q\d\w*|fp16|bf16)?", re.ASCII
)
_GRAM: Final = 3            # characters compared at a time
_EFFORT: Final = 6000       # names looked at for one question, those of the rarest grams first
_ALIKE: Final = 0.4         # shared grams, as a share of both names', from which a name is worth showing
_LONGEST: Final = 120       # characters; no repository has a longer name


def _dashed(name: str) -> str:
    """The last part of a name in lower case, its words joined by dashes, without its maker."""
    return _MAKERS.sub("", _SEPARATORS.sub("-", name.rpartition("/")[2].strip().lower()))


def plain(name: str) -> str:
    """What is compared of a name: case, maker and separators do not count."""
    return _BETWEEN_WORDS.sub("", _dashed(name))


def loose(name: str) -> str:
    """The plain form without the qualifiers at its end: -Instruct, -hf, -v0.1, -2407, -4k."""
    dashed = _dashed(name)
    while (shorter := _QUALIFIER.sub("", dashed)) != dashed:
        dashed = shorter
    return _BETWEEN_WORDS.sub("", dashed)


def tag(name: str) -> tuple[str, str] | None:
    """An Ollama tag as `name:size` and its quantisation (empty: Ollama's default); None when it is none."""
    found = _TAG.fullmatch(name.strip().lower())
    if found is None:
        return None
    return f"{found[1]}:{found[2]}" if found[2] else found[1], found[3] or ""


@dataclass(frozen=True, slots=True)
class Index:
    """Full names by plain form, by loose form, and by the grams in them."""

    exact: Mapping[str, str]
    loosely: Mapping[str, tuple[str, ...]]  # the shortest first
    names: tuple[str, ...]
    grams: Mapping[str, tuple[int, ...]]   # gram -> places in `names`
    sizes: tuple[int, ...]                 # grams of each name

    def find(self, name: str) -> str | None:
        """The full name a short one stands for: of those it fits loosely, one that begins with it."""
        form = plain(name)
        if form in self.exact:
            return self.exact[form]
        fitting = self.loosely.get(form) or self.loosely.get(loose(name)) or ()
        begins = (full for full in fitting if plain(full).startswith(form))
        return next(begins, fitting[0] if fitting else None)

    def closest(self, name: str, n: int) -> tuple[str, ...]:
        """At most `n` names alike, the most alike first; one of those that differ in case or separators."""
        wanted = _grams(name[:_LONGEST])
        shared: Counter[int] = Counter()
        effort = 0
        for places in sorted((self.grams.get(gram, ()) for gram in wanted), key=len):
            effort += len(places)
            if effort > _EFFORT:
                break
            shared.update(places)
        scores = ((2 * count / (len(wanted) + self.sizes[place]), -place) for place, count in shared.items())
        found: dict[str, str] = {}
        for score, place in sorted(scores, reverse=True)[: 10 * n]:
            if score >= _ALIKE and len(found) < n:
                found.setdefault(plain(self.names[-place]), self.names[-place])
        return tuple(found.values())


def _grams(name: str) -> frozenset[str]:
    text = f"-{_dashed(name)}-"
    return frozenset(text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1))


def index(names: Iterable[str]) -> Index:
    """An index of full names; of two that share a plain form the earlier has it, of a loose form the shorter."""
    exact: dict[str, str] = {}
    ordered = tuple(names)
    for name in ordered:
        exact.setdefault(plain(name), name)
    loosely: defaultdict[str, list[str]] = defaultdict(list)
    for name in ordered:
        loosely[loose(name)].append(name)
    places: defaultdict[str, list[int]] = defaultdict(list)
    grams = [_grams(name) for name in ordered]
    for place, found in enumerate(grams):
        for gram in found:
            places[gram].append(place)
    fitting = {form: tuple(sorted(full, key=lambda name: len(_dashed(name)))) for form, full in loosely.items()}
    return Index(exact, fitting, ordered, {gram: tuple(at) for gram, at in places.items()},
                 tuple(len(found) for found in grams))
