"""What runs on the cluster's nodes: one call, and the board where running calls leave word."""

import platform
import time
import traceback
from typing import Any, Final

from core.basics.errors import SweetspotError
from core.machinery.cluster.calls import Loss, News, Result, packed, unpacked

EVERY_S: Final = 0.3        # between two words of a call that has no partial result to hand over


class Board:
    """Keeps what the calls say until it is asked for, and their places."""

    def __init__(self) -> None:
        self._news: list[str] = []
        self._places: dict[int, str] = {}
        self._reserved: dict[int, Any] = {}     # Ray's placement group of every call that is waiting or runs
        self._granted: set[int] = set()

    def reserve(self, call: int, needs: dict[str, float], node: str) -> None:
        """Asks for a place with these resources, on that node where one is named."""
        from ray.util.placement_group import placement_group

        selector = [{"ray.io/node-id": node}] if node else None
        self._reserved[call] = placement_group([needs], bundle_label_selector=selector)

    def release(self, call: int) -> None:
        """Gives the place back, or no longer asks for it."""
        from ray.util.placement_group import remove_placement_group

        remove_placement_group(self._reserved.pop(call))

    def starts(self, call: int, node: str) -> None:
        """Notes the node a call starts on, and says so in its news."""
        self._places[call] = node
        self._news.append(packed(News(call, 0.0, "starting")))

    def say(self, news: str) -> None:
        """Keeps a line of news, packed by its call, until `take`."""
        self._news.append(news)

    def take(self) -> tuple[list[str], dict[int, str], dict[int, Any]]:
        """What was said since the last time, the node of every call that started, and the places newly granted."""
        from ray.util.placement_group import placement_group_table

        granted = {
            call: group for call, group in self._reserved.items()
            if call not in self._granted and placement_group_table(group)["state"] == "CREATED"
        }
        self._granted.update(granted)
        news, self._news = self._news, []
        return news, dict(self._places), granted

    def free(self) -> dict[str, int]:
        """Whole GPUs that are free now, by node."""
        from ray._private.state import available_resources_per_node  # Ray's own client has no public way

        return {node: int(found.get("GPU", 0)) for node, found in available_resources_per_node().items()}


def perform(board: Any, call: int, work: str) -> str:
    """Runs a call on this node and leaves word of it on the board; packed, a Result or a Loss.

    What goes to and fro is packed, so that the head, which passes it on, needs none of our requirements.
    """
    import ray

    board.starts.remote(call, ray.get_runtime_context().get_node_id())
    said_s, last = time.monotonic(), None

    def tell(share: float, note: str, part: Any = None) -> None:
        nonlocal said_s, last
        if part is not None or time.monotonic() - said_s > EVERY_S:
            said_s, last = time.monotonic(), board.say.remote(packed(News(call, share, note, part)))

    try:
        function, arguments = unpacked(work)
        heard: Result | Loss = Result(call, function(tell, *arguments))
    except SweetspotError as error:
        heard = Loss(call, str(error))
    except ImportError as error:
        heard = Loss(call, f"{platform.node()} lacks {error.name or 'a package'}: install requirements.txt there.")
    except Exception as error:
        traceback.print_exc()
        heard = Loss(call, f"It failed on {platform.node()} with {type(error).__name__}: see the logs of the node.")
    if last is not None:
        ray.get(last)           # so that the board has it all before the result is seen
    return packed(heard)
