"""What a start-up log, an error or a command line says of a deployment.

Each fact is one row of assets/log_facts.csv, each known failure one of assets/log_problems.csv, with the engine's
file that prints it. Nothing in a text is executed, and only its first and last parts are read when it is long.
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final, Literal

from core.basics import tables
from core.basics.tables import Note, Within

MAX_CHARACTERS: Final = 400_000      # of a pasted text; a start-up log has 5,000 to 50,000
_ESCAPES: Final = re.compile(r"\x1b\[[0-9;]*m|\r")
_PREFIX: Final = re.compile(r"^\((?:\w+ ?)+(?:pid=\d+)?\)\s", re.MULTILINE)      # "(EngineCore_0 pid=123) INFO ..."
_TEXTS: Final = ("version", "model", "gpu", "weights", "kv_cache", "expert_parallel")
Kind = Literal["structure", "kernels", "memory", "context", "model", "arguments"]


@dataclass(frozen=True, slots=True)
class FactRow:
    """Where an engine prints a fact."""

    engine: Note                                # empty: any
    fact: str
    scale: Annotated[float, Within(1, 1024)]    # the printed number times this is the fact
    pattern: str                                # its first group is the fact
    source: str


@dataclass(frozen=True, slots=True)
class ProblemRow:
    """What an engine prints when it cannot start, what it means and what helps; {a} is the group a of the pattern."""

    engines: tuple[str, ...]                    # none: any
    kind: Kind
    pattern: str
    says: str
    changes: Note                               # sentences, | between them
    source: str


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an engine did not start."""

    kind: Kind
    sentence: str
    changes: tuple[str, ...]
    source: str


@dataclass(frozen=True, slots=True)
class Log:
    """What was understood of a text."""

    engine: str                                 # empty: it says of none
    texts: Mapping[str, str]                    # version, model, gpu, weights, kv_cache
    numbers: Mapping[str, float]                # tp, max_model_len, weights_gib, kv_tokens ...
    problem: Problem | None

    @property
    def is_understood(self) -> bool:
        """Whether the text said anything about a deployment."""
        return self.problem is not None or bool(self.engine and (self.texts or self.numbers))


@cache
def _facts() -> tuple[tuple[FactRow, re.Pattern[str]], ...]:
    return tuple((row, re.compile(row.pattern, re.MULTILINE)) for row in tables.read("log_facts.csv", FactRow))


@cache
def _problems() -> tuple[tuple[ProblemRow, re.Pattern[str]], ...]:
    return tuple((row, re.compile(row.pattern)) for row in tables.read("log_problems.csv", ProblemRow))


def read(text: str) -> Log:
    """The facts and the failure in a text; the engine is the one whose words it uses most."""
    clean = _PREFIX.sub("", _ESCAPES.sub("", _bounded(text)))
    found = [(row, match) for row, pattern in _facts() if (match := pattern.search(clean))]
    failures = [(row, match) for row, pattern in _problems() if (match := pattern.search(clean))]
    engine = _engine(found, failures)
    texts: dict[str, str] = {}
    numbers: dict[str, float] = {}
    for row, match in found:
        if row.engine not in ("", engine):
            continue
        if row.fact in _TEXTS:
            texts.setdefault(row.fact, match[1].strip())
        else:
            numbers.setdefault(row.fact, float(match[1].replace(",", "")) * row.scale)
    own = [(row, match) for row, match in failures if not row.engines or not engine or engine in row.engines]
    return Log(engine, texts, numbers, _problem(*own[0]) if own else None)


def _bounded(text: str) -> str:
    """The ends of a long text: an engine says what it runs first, and what went wrong last."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}\n{text[-half:]}"


def _engine(found: list[tuple[FactRow, re.Match[str]]], failures: list[tuple[ProblemRow, re.Match[str]]]) -> str:
    votes = Counter(row.engine for row, _ in found if row.engine)
    votes.update(row.engines[0] for row, _ in failures if row.engines)
    return votes.most_common(1)[0][0] if votes else ""


def _problem(row: ProblemRow, match: re.Match[str]) -> Problem:
    """The sentences with what the text said in them; a change that needs what it did not say is left out."""
    said = {name: value for name, value in match.groupdict().items() if value is not None}
    changes = [change for change in row.changes.split("|") if change and _names(change) <= set(said)]
    sentence = row.says.format(**(dict.fromkeys(_names(row.says), "its buffers") | said))
    return Problem(row.kind, sentence, tuple(change.format(**said) for change in changes), row.source)


def _names(template: str) -> set[str]:
    return set(re.findall(r"\{(\w)\}", template))
