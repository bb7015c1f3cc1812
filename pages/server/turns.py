"""Whose turn it is when many ask at once: pages are drawn a few at a time, first come, first served.

Python runs one thread at a time: of two hundred pages drawn side by side each is as late as the last one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import streamlit as st

AT_ONCE = 3
HOLDS_S = 1.0          # a page that takes longer waits for something itself, the Hub say: the next may begin
QUIET_S = 0.5          # a wait that nobody needs to be told of
TELL_EVERY_S = 2.0


class Turns:
    """The pages that are drawn, and those that wait."""

    def __init__(self, at_once: int = AT_ONCE, holds_s: float = HOLDS_S) -> None:
        self._at_once, self._holds_s = at_once, holds_s
        self._lock = threading.Lock()
        self._waiting: deque[threading.Event] = deque()
        self._begun_at: dict[threading.Event, float] = {}

    @contextmanager
    def turn(self, tell: Callable[[int], None]) -> Iterator[None]:
        """Waits until it is this page's turn; `tell` hears now and then how many are before it."""
        mine = threading.Event()
        with self._lock:
            self._waiting.append(mine)
            self._admit()
        try:
            pause_s = QUIET_S
            while not mine.wait(pause_s):
                with self._lock:
                    self._admit()
                    ahead = self._waiting.index(mine) if mine in self._waiting else 0
                if not mine.is_set():
                    tell(ahead)
                pause_s = TELL_EVERY_S
            yield
        finally:
            with self._lock:
                if mine in self._waiting:
                    self._waiting.remove(mine)
                self._begun_at.pop(mine, None)
                self._admit()

    def counted(self) -> tuple[int, int]:
        """How many pages are drawn, and how many wait."""
        return len(self._begun_at), len(self._waiting)

    def _admit(self) -> None:
        """Lets the first ones in line begin, as far as there is room."""
        now = time.monotonic()
        drawn = sum(now - begun < self._holds_s for begun in self._begun_at.values())
        for _ in range(min(self._at_once - drawn, len(self._waiting))):
            first = self._waiting.popleft()
            self._begun_at[first] = now
            first.set()


TURNS = Turns()


@contextmanager
def turn() -> Iterator[None]:
    """This page's turn; a visitor who has to wait is told so."""
    told: list[st.delta_generator.DeltaGenerator] = []

    def tell(ahead: int) -> None:
        if not told:
            told.append(st.empty())
        told[0].info(f"Many visitors came at once: {ahead + 1} before you.", icon=":material/hourglass_empty:")

    with TURNS.turn(tell):
        for place in told:
            place.empty()
        yield
