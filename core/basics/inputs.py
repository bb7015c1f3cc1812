"""What an input of a load is: all that pages, links, files and commands know of it."""

import math
from dataclasses import dataclass, replace
from typing import Final

from core.basics.bounds import Bounds
from core.basics.errors import InputError
from core.basics.units import MS_PER_S


@dataclass(frozen=True, slots=True)
class Unit:
    """How an input is counted by people and in files; the workload itself counts seconds and shares."""

    name: str                  # as it stands behind a number on pages
    on_pages: float = 1.0      # of these to one of the workload's own
    in_files: float = 1.0      # the same in files and commands
    whole: bool = True         # pages take whole numbers only


TOKENS: Final = Unit("tokens")
REQUESTS: Final = Unit("requests")
COUNT: Final = Unit("")
PIXELS: Final = Unit("pixels")
GB_PER_S: Final = Unit("GB/s", whole=False)
GBIT_PER_S: Final = Unit("Gbit/s")
MS: Final = Unit("ms", MS_PER_S, MS_PER_S)
PERCENT: Final = Unit("%", 100.0, whole=False)      # a share in files


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a load, and all that pages, links, files and commands know of it."""

    key: str                   # in links and kept plans: never to be changed
    unit: Unit
    bounds: Bounds             # in the workload's own unit
    step: float                # of one press on a page
    label: str
    help: str
    is_target: bool = False    # what is accepted, not what comes in: no column of a case
    may_be_open: bool = False  # empty in a case: as much as can be carried, or what is published
    of_deployment: bool = False    # how the model is run, not what comes in
    words: tuple[str, ...] = ()    # what its values, 0 and up, are called
    group: str = ""            # pages keep those of a group together, folded up
    slides_to: float = 0.0     # pages draw a slider, up to the most that is of use
    name: str = ""             # of the workload's field
    default: float | None = None

    @property
    def column(self) -> str:
        """Its name in files: `input_tokens`, `ttft_slo_ms`."""
        return f"{self.name.removesuffix('_s')}_ms" if self.unit is MS else self.name

    @property
    def option(self) -> str:
        """Its name on the command line: a target is called by what it bounds, as `--ttft-ms`."""
        return "--" + self.column.replace("_slo", "").replace("_", "-")

    @property
    def in_files(self) -> Bounds:
        """What a file or a command may say."""
        scale, of = self.unit.in_files, self.bounds
        return of if scale == 1 else replace(of, low=of.low * scale, high=of.high * scale)

    @property
    def on_pages(self) -> Bounds:
        """What a page or a link may say."""
        low, high = (end * self.unit.on_pages for end in (self.bounds.low, self.slides_to or self.bounds.high))
        whole = self.unit.whole
        return Bounds(math.ceil(low) if whole else low, math.floor(high) if whole else high, self.unit.name, whole)

    @property
    def is_open(self) -> bool:
        """Whether nothing need be said of it: None is what is published."""
        return self.default is None

    def shown(self, value: float | None) -> float | str | None:
        """A value as pages and links have it: an integer where they take no other, None where it is open."""
        if value is None:
            return None
        if self.words:
            return self.words[int(value)]
        return round(value * self.unit.on_pages, None if self.unit.whole else 6)

    def of_page(self, shown: float | str | None) -> float | None:
        """The value that a page or a link means."""
        if isinstance(shown, str):
            return self.words.index(shown)
        return None if shown is None else self._own(shown / self.unit.on_pages)

    def filed(self, value: float | None) -> float | str | None:
        """A value as files and commands have it; None where it is open."""
        if value is None:
            return None
        if self.words:
            return self.words[int(value)]
        return self._own(value * self.unit.in_files)

    def of_file(self, filed: float) -> float:
        """The value that a file means."""
        return self._own(filed / self.unit.in_files)

    def read(self, text: str, called: str = "") -> float:
        """The value a file or a command means, which may call it otherwise. Raises InputError."""
        if self.words:
            return self.worded(text, called or self.column)
        return self.of_file(self.in_files.read(called or self.column, text))

    def worded(self, word: str, called: str) -> float:
        """The value of a word. Raises InputError."""
        if word not in self.words:
            raise InputError(f"{called} is '{word[:40]}': use one of {', '.join(self.words)}.")
        return self.words.index(word)

    def _own(self, value: float) -> float:
        return int(value) if self.bounds.whole else value
