"""Pages are drawn a few at a time, in the order in which they were asked for."""

import threading

from pages.server.turns import Turns
from tests.conftest import wait_for


class Queue:
    """Pages that begin when they may and end when they are told."""

    def __init__(self, turns: Turns) -> None:
        self.turns, self.begun, self.told, self.ends = turns, [], {}, {}

    def ask(self, name: str) -> None:
        self.ends[name] = threading.Event()
        waiting = len(self.turns._waiting) + len(self.turns._begun_at)
        threading.Thread(target=self._draw, args=(name,), daemon=True).start()
        wait_for(lambda: len(self.turns._waiting) + len(self.turns._begun_at) > waiting)

    def _draw(self, name: str) -> None:
        with self.turns.turn(lambda ahead: self.told.setdefault(name, ahead)):
            self.begun.append(name)
            self.ends[name].wait()


def test_first_come_first_served_and_no_more_at_once():
    queue = Queue(Turns(at_once=2, holds_s=3600))
    for name in "abcde":
        queue.ask(name)
    wait_for(lambda: {"c", "d", "e"} <= set(queue.told))
    assert queue.begun == ["a", "b"] and queue.told == {"c": 0, "d": 1, "e": 2}
    for ended, next_one in ("bc", "cd", "ae"):
        queue.ends[ended].set()
        wait_for(lambda name=next_one: queue.begun[-1] == name)
    assert queue.begun == list("abcde")


def test_a_page_that_waits_for_something_itself_holds_nobody_up():
    queue = Queue(Turns(at_once=1, holds_s=0.0))
    for name in "ab":
        queue.ask(name)
    wait_for(lambda: queue.begun == ["a", "b"])


def test_a_page_that_breaks_gives_its_turn_back():
    turns = Turns(at_once=1, holds_s=3600)
    for _ in range(2):
        try:
            with turns.turn(print):
                raise ZeroDivisionError
        except ZeroDivisionError:
            continue
    assert not turns._waiting and not turns._begun_at
