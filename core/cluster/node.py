"""What runs on the cluster's nodes: one call, and the board where running calls leave word."""

import time
from collections.abc import Callable
from typing import Any, Final

from core.cluster.calls import Loss, News, Result
from core.errors import SweetspotError

EVERY_S: Final = 0.3        # between two words of a call that has no partial result to hand over


class Board:
    """Keeps what the calls say until it is asked for."""

    def __init__(self) -> None:
        self._news: list[News] = []
        self._places: dict[int, str] = {}

    def starts(self, call: int, node: str) -> None:
        self._places[call] = node
        self._news.append(News(call, 0.0, "starting"))

    def say(self, news: News) -> None:
        self._news.append(news)

    def take(self) -> tuple[list[News], dict[int, str]]:
        """What was said since the last time, and the node of every call that started."""
        news, self._news = self._news, []
        return news, dict(self._places)

    def free(self) -> dict[str, tuple[int, int]]:
        """Whole GPUs and processors that are free now, by node."""
        from ray._private.state import available_resources_per_node  # Ray's own client has no public way

        return {
            node: (int(found.get("GPU", 0)), int(found.get("CPU", 0)))
            for node, found in available_resources_per_node().items()
        }


def perform(board: Any, call: int, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Result | Loss:
    """Runs a call on this node and leaves word of it on the board."""
    import ray

    board.starts.remote(call, ray.get_runtime_context().get_node_id())
    said_s = time.monotonic()
    last = None

    def tell(share: float, note: str, part: Any = None) -> None:
        nonlocal said_s, last
        if part is not None or time.monotonic() - said_s > EVERY_S:
            said_s, last = time.monotonic(), board.say.remote(News(call, share, note, part))

    try:
        value = function(tell, *arguments)
    except SweetspotError as error:
        return Loss(call, str(error))
    if last is not None:
        ray.get(last)           # so that the board has it all before the result is seen
    return Result(call, value)
