"""Which model a short name means: `llama-3-8b`, `Qwen 3 8B`, `qwen3-next`, and the nearest real ones when none fits.

A name is its words, numbers and sizes. A model fits when it has every one of those asked for; what it has besides
may only be a qualifier that people leave out: -Instruct, -hf, a maker's name, a size where there is but one. A version,
a date, a context length or a word is never dropped: DeepSeek-V5 is not DeepSeek-V2.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

_TOKEN: Final = re.compile(
    r"(?:nv|mx|b)?fp?\d+(?![a-z\d])|int[48]|w\d+a\d+|\d-?bit"   # how it is stored, one word: fp8, bf16, w4a16
    r"|ai21|c4ai"
    r"|\d+x\d+(?:\.\d+)?[bm](?![a-z])"               # 8x7b
    r"|[ae]\d+(?:\.\d+)?b(?![a-z])"                 # a3b, e4b
    r"|v\d+(?:\.\d+)*(?![a-z\d])"                   # v0.3
    r"|\d+(?:\.\d+)*(?:b\d|[bmtke])?(?![a-z\d])"    # 70b, 7b1, 128k, 16e, 2507, 3.1
    r"|\d+(?:\.\d+)*"                               # the 3 of "3n"
    r"|[a-z]+?(?=v\d)|[a-z]+"
)
_UNDERSCORED: Final = re.compile(r"(?<=\d)_(?=\d)")         # Qwen-1_8B, internlm2_5
_SEPARATORS: Final = re.compile(r"[-_\s]+")
_SIZE: Final = re.compile(r"\d+(?:\.\d+)?(?:x\d+(?:\.\d+)?)?[bmt]\d?")
_ACTIVE: Final = re.compile(r"[ae]\d+(?:\.\d+)?b|\d+e")     # active parameters, experts
_EXPERTS: Final = re.compile(r"\d+e")    # beside it the size is of what is active: Llama-4-Scout-17B-16E
_DATE: Final = re.compile(r"\d{4}|(?:0[1-9]|1[0-2])|20\d\d")
_CONTEXT: Final = re.compile(r"\d+k|1m")
_NUMBER: Final = re.compile(r"\d+(?:\.\d+)*")
_FIRST: Final = re.compile(r"v0(?:\.\d+)+|v0?1")           # the first releases of a model: v0.1, v1.0, v01
_UNSAID: Final = (_SIZE, _ACTIVE, _DATE, _CONTEXT, _FIRST)

_SAME: Final[Mapping[str, str]] = {
    "it": "instruct", "inst": "instruct", "pt": "base", "text": "base", "pretrain": "base",
}
_BASE: Final = "base"
# Words people leave out, and how much each weighs when two models fit.
_LEFT_OUT: Final[Mapping[str, int]] = {
    "hf": 0, "bf16": 1, "instruct": 2, "chat": 2, "beta": 2, "preview": 3, _BASE: 4,
}
_MAKERS: Final = frozenset({"meta", "c4ai", "nvidia", "ai21", "google", "openai", "microsoft", "ibm"})
_FAMILIES: Final = frozenset({"llama", "qwen", "mistral", "mixtral", "gemma", "phi"})    # what fine-tunes are made from
# Words that tell one model of a family from another; alone they name no family.
_ROLES: Final = frozenset({
    "coder", "code", "math", "vl", "vision", "omni", "thinking", "think", "reasoning", "distill", "small", "medium",
    "large", "mini", "nano", "super", "ultra", "tiny", "micro", "flash", "pro", "plus", "next", "lite", "air", "max",
    "v", "x", "h", "n", "a", "m", "moe", "fast", "turbo", "xl", "exp", "draft", "dense", "deep",
})
_SIZE_SPREAD: Final = 0.055     # "14B" is said of 14.66, "12B" of 12.25 billion parameters
_GRAM: Final = 3                # characters compared at a time
_EFFORT: Final = 6000           # names looked at for one question, those of the rarest grams first
_ALIKE: Final = 0.4             # shared grams, as a share of both names', from which a name is worth showing
_LONGEST: Final = 120           # characters; no repository has a longer name

Tokens = tuple[str, ...]


def tokens(name: str, *, underscore_is_point: bool = True) -> Tokens:
    """The words, numbers and sizes of a name's last part; "4.0" is "4", "v3" is kept apart from "3"."""
    text = name.rpartition("/")[2].lower()
    text = _UNDERSCORED.sub("." if underscore_is_point else "-", text)
    found = (token.replace(".0", "") if re.fullmatch(r"v?\d+\.0", token) else token for token in _TOKEN.findall(text))
    return tuple(_SAME.get(token, token) for token in found)


def _unversioned(token: str) -> str:
    """ "v3" as "3": people write DeepSeek V3, deepseek-3 and llama-v3.1."""
    return token[1:] if re.fullmatch(r"v\d[\d.]*", token) else token


@dataclass(frozen=True, slots=True)
class _Entry:
    """One full name, ready to be compared."""

    name: str
    words: Tokens
    params: float           # billions; 0 where they are not known


@dataclass(frozen=True, slots=True)
class Index:
    """Full names by the tokens in them and by their grams."""

    entries: tuple[_Entry, ...]
    bearing: Mapping[str, frozenset[int]]  # token, without its v -> places in `entries`
    grams: Mapping[str, tuple[int, ...]]   # gram -> places in `entries`
    gram_counts: tuple[int, ...]           # grams of each name

    def find(self, name: str, publisher: str = "") -> str | None:
        """The full name a short one stands for; None where none fits, or several of different size or kind do."""
        if len(name) > _LONGEST:
            return None
        for underscore_is_point in (False, True):
            asked = self._known_words(tokens(name, underscore_is_point=underscore_is_point))
            if found := self._fitting(asked, publisher):
                return found
        return None

    def same(self, name: str) -> str | None:
        """The full name with exactly these tokens, makers and -hf aside; the first where several have them."""
        asked = self._known_words(tokens(name))
        return self._with(asked) or self._with(tuple(word for word in asked if word not in _MAKERS))

    def _with(self, asked: Tokens) -> str | None:
        wanted = Counter(map(_unversioned, asked))
        for place in sorted(self._bearers(tuple(wanted))):
            rest = Counter(map(_unversioned, self.entries[place].words)) - wanted
            if all(word in _MAKERS or word == "hf" for word in rest):
                return self.entries[place].name
        return None

    def variant(self, full: str, kind: str) -> str | None:
        """The full name of the same model in another kind (`instruct`, `text`, `thinking-2507`); None where none is."""
        asked = tokens(kind)
        entry = next((entry for entry in self.entries if entry.name.lower() == full.lower()), None)
        if entry is None or self._rest(asked, entry) is not None:
            return None if entry is None else entry.name
        stem = tuple(word for word in entry.words if word not in _LEFT_OUT)
        unnumbered = tuple(word for word in stem if not _FIRST.fullmatch(word))
        new = tuple(word for word in asked if word not in stem)
        return self._fitting((*stem, *new), "") or self._fitting((*unnumbered, *new), "")

    def _known_words(self, asked: Tokens) -> Tokens:
        """Words joined or parted as the names have them: gptoss is gpt oss, Tiny Llama is tinyllama."""
        joined: list[str] = []
        for token in asked:
            if joined and token.isalpha() and joined[-1].isalpha() and self._are_one_word(joined[-1], token):
                joined[-1] += token
            else:
                joined.append(token)
        return tuple(part for token in joined for part in self._parted(token))

    def _are_one_word(self, first: str, second: str) -> bool:
        return first + second in self.bearing and not self._bearers((first, second))

    def _parted(self, token: str) -> Tokens:
        if token in self.bearing or not token.isalpha():
            return (token,)
        for cut in range(2, len(token) - 1):
            head, tail = token[:cut], token[cut:]
            if self._bearers((head, tail)):
                return head, tail
        return (token,)

    def _bearers(self, wanted: Iterable[str]) -> frozenset[int]:
        places = [self.bearing.get(_unversioned(token), frozenset()) for token in wanted]
        return frozenset.intersection(*places) if places else frozenset()

    def _fitting(self, asked: Tokens, publisher: str) -> str | None:
        if not any(token.isalpha() and token not in _ROLES and token not in _LEFT_OUT for token in asked):
            return None
        certain = [token for token in asked if not _SIZE.fullmatch(token) and token != _BASE]
        fits: list[tuple[int, int, Tokens]] = []       # weight of what was left out, place, what it was
        for place in self._bearers(certain):
            entry = self.entries[place]
            if publisher and not entry.name.lower().startswith(publisher):
                continue
            rest = self._rest(asked, entry)
            weight = None if rest is None else _weight(rest, asked, entry)
            if rest is not None and weight is not None:
                fits.append((weight, place, rest))
        if not fits:
            return None
        fits.sort()
        if fits[0][0] <= 1:                            # nothing but a maker, -hf or -BF16 was left out
            return self.entries[fits[0][1]].name
        if _told_apart([rest for _, _, rest in fits]):
            return None
        lightest = [(place, rest) for weight, place, rest in fits if weight == fits[0][0]]
        newest = max(_newness(rest) for _, rest in lightest)
        return next(self.entries[place].name for place, rest in lightest if _newness(rest) == newest)

    def _rest(self, asked: Tokens, entry: _Entry) -> Tokens | None:
        """The tokens of a name that were not asked for; None where one asked for is not in it."""
        left = list(entry.words)
        for token in asked:
            place = next((at for at, word in enumerate(left) if _unversioned(word) == _unversioned(token)), None)
            if place is not None:
                del left[place]
            elif token == _BASE:
                if not self._is_base(entry):
                    return None
            elif not (_SIZE.fullmatch(token) and _is_of_size(token, entry)):
                return None
        return tuple(left)

    def _is_base(self, entry: _Entry) -> bool:
        """Whether a name without -base is the base model: there is an -Instruct, -it or -chat beside it."""
        if "instruct" in entry.words or "chat" in entry.words:
            return False
        beside = Counter(map(_unversioned, entry.words))
        return any(
            Counter(map(_unversioned, self.entries[place].words)) == beside + Counter([kind])
            for kind in ("instruct", "chat")
            for place in self._bearers((*entry.words, kind))
        )

    def key(self, name: str) -> Tokens:
        """What is compared of a name that is only compared whole: Llama 4 Scout is llama-4-scout."""
        return tuple(map(_unversioned, self._known_words(tokens(name))))

    def closest(self, name: str, n: int) -> tuple[str, ...]:
        """At most `n` names alike, those first that have every word asked; one of those that differ in separators."""
        wanted = _grams(name[:_LONGEST])
        shared: Counter[int] = Counter()
        effort = 0
        for places in sorted((self.grams.get(gram, ()) for gram in wanted), key=len):
            effort += len(places)
            if effort > _EFFORT:
                break
            shared.update(places)
        whole = self._bearers(self.key(name[:_LONGEST]))
        scores = ((2 * count / (len(wanted) + self.gram_counts[place]) + (place in whole), -place)
                  for place, count in shared.items())
        found: dict[frozenset[str], str] = {}
        for score, place in sorted(scores, reverse=True)[: 10 * n]:
            if score >= _ALIKE and len(found) < n:
                entry = self.entries[-place]
                found.setdefault(frozenset(entry.words) - _MAKERS, entry.name)
        return tuple(found.values())


def _weight(rest: Tokens, asked: Tokens, entry: _Entry) -> int | None:
    """How much was left out of a name; None where a part of it must be said."""
    own = any(word.isalpha() and word not in _ROLES | _FAMILIES and word not in _LEFT_OUT for word in asked)
    dated = any(_DATE.fullmatch(token) and token in entry.words for token in asked)
    maker = entry.name.partition("/")[0].lower()
    made_from = _made_from(entry.words) if own else frozenset()
    weight = 0
    for token in rest:
        if token in _LEFT_OUT:
            weight += _LEFT_OUT[token]
        elif token in _MAKERS or (own and token.isalpha() and len(token) > 3 and maker.startswith(token)):
            continue
        elif any(kind.fullmatch(token) for kind in _UNSAID) or token in made_from or (
            dated and _NUMBER.fullmatch(token)
        ):
            weight += 2
        else:
            return None
    return weight


def _made_from(words: Tokens) -> frozenset[str]:
    """The family a fine-tune says it is made from, with its version: the llama and 3.1 of Hermes-3-Llama-3.1-8B."""
    after = {second for first, second in pairwise(words) if first in _FAMILIES and _NUMBER.fullmatch(second)}
    return frozenset(_FAMILIES.intersection(words) | after)


def _told_apart(rests: Sequence[Tokens]) -> bool:
    """Whether models that fit differ in size, context or in what they are made from, so that one must be said."""
    def differences(rest: Tokens) -> Tokens:
        return tuple(
            token for token in rest
            if _SIZE.fullmatch(token) or _ACTIVE.fullmatch(token) or _CONTEXT.fullmatch(token) or token in _FAMILIES
        )

    return len({differences(rest) for rest in rests}) > 1


def _newness(rest: Tokens) -> tuple[str, ...]:
    """The date in a name, to be compared: 2507 is newer than 2505; 08-2024 newer than none."""
    dates = [token for token in rest if _DATE.fullmatch(token)]
    return tuple(sorted(dates, key=len, reverse=True))


def _is_of_size(token: str, entry: _Entry) -> bool:
    """Whether a model whose name tells no total has as many parameters as asked: Mistral-Nemo for 12B."""
    if any(_SIZE.fullmatch(word) for word in entry.words) and not any(_EXPERTS.fullmatch(word) for word in entry.words):
        return False
    unit = {"b": 1.0, "m": 1e-3, "t": 1e3}.get(token[-1])
    if unit is None or "x" in token:
        return False
    return abs(entry.params / (float(token[:-1]) * unit) - 1) <= _SIZE_SPREAD


def _grams(name: str) -> frozenset[str]:
    dashed = _SEPARATORS.sub("-", name.rpartition("/")[2].strip().lower())
    first, dash, rest = dashed.partition("-")
    text = f"-{rest if dash and first in _MAKERS else dashed}-"
    return frozenset(text[i : i + _GRAM] for i in range(len(text) - _GRAM + 1))


def index(names: Iterable[tuple[str, int]]) -> Index:
    """An index of full names with their total parameters; of two that are alike the earlier is taken."""
    entries = tuple(_Entry(name, tokens(name), params / 1e9) for name, params in names)
    bearing: defaultdict[str, set[int]] = defaultdict(set)
    places: defaultdict[str, list[int]] = defaultdict(list)
    grams = [_grams(entry.name) for entry in entries]
    for place, (entry, found) in enumerate(zip(entries, grams, strict=True)):
        for word in entry.words:
            bearing[_unversioned(word)].add(place)
        for gram in found:
            places[gram].append(place)
    return Index(entries, {word: frozenset(at) for word, at in bearing.items()},
                 {gram: tuple(at) for gram, at in places.items()}, tuple(len(found) for found in grams))
