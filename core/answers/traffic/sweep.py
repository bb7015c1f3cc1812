"""Where the points of a sweep are worked out: here, one after the other, or side by side on a Ray cluster.

Both give the same results, for a point is a function of its arguments alone.
"""

import logging
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from typing import Any, Final

from core.basics.errors import ClusterError
from core.basics.settings import setting
from core.machinery import cluster
from core.machinery.cluster import Call, Loss, Result, Tell

WAIT_S: Final = 20.0        # for a free processor of the cluster, before the point is worked out here
_log = logging.getLogger(__name__)

Look = Callable[[], None]                           # called often; what it raises stops the work
Point = tuple[Callable[..., Any], tuple[Any, ...]]  # a function of a module of core, and what follows its `Look`
Executor = Callable[[Sequence[Point], Look], Generator[Any]]    # gives the results in the order of the points


def executor() -> Executor:
    """On the cluster where SWEETSPOT_RAY names one, else here."""
    return on_cluster if setting("ray") else here


def here(points: Sequence[Point], look: Look) -> Generator[Any]:
    """In this thread, a point whenever the next one is asked for."""
    for function, arguments in points:
        yield function(look, *arguments)


def on_cluster(points: Sequence[Point], look: Look) -> Generator[Any]:
    """Side by side on the cluster; what it cannot give, or where it cannot be had, is worked out here."""
    found: dict[int, Any] = {}
    given = 0
    try:
        with closing(cluster.run([Call(_unwatched, point) for point in points], look, wait_s=WAIT_S)) as words:
            for heard in words:
                if isinstance(heard, Result):
                    found[heard.call] = heard.value
                if isinstance(heard, Loss):
                    _log.warning("point %s of a sweep is worked out here: %s", heard.call, heard.reason)
                while given in found:
                    yield found.pop(given)
                    given += 1
    except ClusterError as error:
        _log.warning("a sweep goes on without the cluster: %s", error)
    for number in range(given, len(points)):
        yield found[number] if number in found else next(here(points[number:number + 1], look))


def _unwatched(_: Tell, function: Callable[..., Any], arguments: tuple[Any, ...]) -> Any:
    """On a node, where the whole process is stopped instead."""
    return function(lambda: None, *arguments)
