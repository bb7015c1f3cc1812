"""How the matrices of a checkpoint are stored, and which of them."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import translate
from functools import cached_property
from typing import Final

from core.basics.errors import ArchitectureUnknown
from core.products.formats import FORMATS

ROUTED_EXPERTS: Final = r"re:.*\bexperts\b"     # not shared_experts
_MAX_PATTERNS: Final = 256   # the most in a real list is 6 expressions (moonshotai/Kimi-K3)


@dataclass(frozen=True, slots=True)
class Storage:
    """Values, and what a group of them shares."""

    format: str              # a name of core.products.formats
    value_bits: float
    group_bits: float = 0.0  # scale and zero point of a group
    group: int = 0           # values of a group; 0: a row, which is one output channel

    def bits(self, inputs: int) -> float:
        """Bits of one weight of a matrix with rows of `inputs`, scales included."""
        return self.value_bits + self.group_bits / (self.group or max(1, inputs))


PLAIN: Final = Storage("bf16", 16.0)


def unknown(key: str, value: object) -> ArchitectureUnknown:
    """The refusal of a value that no format stands for."""
    return ArchitectureUnknown(
        f"The repository declares {key} '{str(value)[:40]}', which stands for no format this planner knows;"
        " plan the model it was made from instead."
    )


def storage(name: str) -> Storage:
    """The storage of a format as its own row describes it. Raises: ArchitectureUnknown when there is no such format."""
    if name not in FORMATS:
        raise unknown("the format", name)
    return Storage(name, FORMATS[name].bits_per_weight)


@dataclass(frozen=True)
class Kept:
    """Modules a list names, ready to be asked about."""

    names: frozenset[str]               # a module and all inside it; also a part of a path: 'gate'
    prefixes: tuple[str, ...]           # globs with nothing but a star at the end
    patterns: tuple[re.Pattern[str], ...]

    @cached_property
    def lengths(self) -> frozenset[int]:
        """Components of the names."""
        return frozenset(name.count(".") + 1 for name in self.names)

    def holds(self, module: str) -> bool:
        """Whether the module, or something it lies in, is named."""
        return (
            module.startswith(self.prefixes)
            or not self.names.isdisjoint(_paths(module, self.lengths))
            or any(pattern.match(module) for pattern in self.patterns)
        )


def kept(modules: Sequence[str]) -> Kept:
    """Reads names, `*` globs (ModelOpt) and `re:` expressions (compressed-tensors)."""
    names, prefixes, patterns = set(), [], []
    for text in modules:
        if text.startswith("re:") or "*" in text[:-1] or "?" in text:
            patterns.append(text)
        elif text.endswith("*"):
            prefixes.append(text[:-1])
        else:
            names.add(text)
    compiled = (_compiled(text) for text in patterns[:_MAX_PATTERNS])
    return Kept(frozenset(names), tuple(prefixes), tuple(found for found in compiled if found))


def _compiled(text: str) -> re.Pattern[str] | None:
    """None for what does not compile and for expressions that could run for ever."""
    if not text.startswith("re:"):
        return re.compile(translate(text) + "|" + translate(text + ".*"))   # and all inside it
    expression = text[3:]
    if len(expression) > 200 or len(re.findall(r"[*+{]", expression)) > 4 or re.search(r"\)[*+{]", expression):
        return None
    try:
        return re.compile(expression)
    except re.error:
        return None


def _paths(module: str, lengths: Iterable[int]) -> Iterator[str]:
    """Every run of so many components of a dotted name."""
    parts = module.split(".")
    for length in lengths:
        for begin in range(len(parts) - length + 1):
            yield ".".join(parts[begin : begin + length])


@dataclass(frozen=True)
class Rule:
    """Modules that are stored in their own way; 'Linear' among them is every matrix of the layers."""

    modules: tuple[str, ...]
    stored: Storage

    @cached_property
    def _kept(self) -> Kept:
        return kept(self.modules)

    @property
    def named(self) -> bool:
        """Whether it names modules, not their class."""
        return "Linear" not in self.modules

    @property
    def questions(self) -> int:
        """The patterns a module's name is matched against."""
        return 1 + len(self._kept.patterns) + len(self._kept.prefixes) // 64

    def holds(self, module: str) -> bool:
        """Whether the rule is for that module."""
        return not self.named or self._kept.holds(module)


@dataclass(frozen=True, slots=True)
class Scheme:
    """What a quantiser did: the first rule that holds, else `default`."""

    default: Storage
    rules: tuple[Rule, ...] = ()
    head: bool = False                # lm_head is quantised like the layers unless a rule keeps it
    embedding: Storage = PLAIN
    note: str = ""                    # what the declaration leaves open

    def stored(self, module: str) -> Storage:
        """How a matrix of the layers is stored."""
        return next((rule.stored for rule in self.rules if rule.holds(module)), self.default)

    def stored_head(self) -> Storage:
        """How lm_head is stored: 16 bits unless it is named, or quantised like the rest."""
        for rule in self.rules:
            if rule.holds("lm_head") and (rule.named or self.head):
                return rule.stored
        return self.default if self.head else PLAIN
