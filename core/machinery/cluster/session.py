"""A cluster from the outside: starts the process that speaks to Ray, reads what it hears, ends it when asked."""

import os
import re
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from importlib.util import find_spec
from secrets import token_hex
from typing import Any, Final

from core.basics.errors import ClusterError
from core.basics.settings import setting
from core.machinery.cluster.calls import Call, Heard, Node, packed, unpacked
from core.machinery.worker import running

ADDRESS: Final = re.compile(r"ray://[\w.\-\[\]:]+:\d{1,5}")
CONNECT_S: Final = 120.0        # to start a cluster, or to reach one and hand it the code

Look = Callable[[], None]       # called ten times per second; what it raises stops the work


def is_installed() -> bool:
    """Whether Ray is there; it is not loaded."""
    return find_spec("ray") is not None


def address() -> str | None:
    """The cluster that SWEETSPOT_RAY names; None: one embedded in this machine. Raises ClusterError."""
    said = setting("ray")
    if said is not None and not ADDRESS.fullmatch(said):
        raise ClusterError("SWEETSPOT_RAY must look like ray://host:10001: correct the setting.")
    return said


def nodes(look: Look = lambda: None) -> tuple[Node, ...]:
    """The machines of the cluster that are alive, those with GPUs first. Raises ClusterError."""
    with closing(_lines((), look, 0.0)) as lines:
        return tuple(unpacked(next(lines)["nodes"]))


def run(calls: Sequence[Call], look: Look, *, wait_s: float) -> Generator[Heard]:
    """Runs calls side by side and yields what is heard of them; each ends in one Result or one Loss.

    A call that found no place `wait_s` after the last other one started or ended is lost. Closing the iterator stops
    every call at once. Raises ClusterError when there is no cluster or it goes away.
    """
    with closing(_lines(calls, look, wait_s)) as lines:
        for line in lines:
            if "heard" in line:
                yield unpacked(line["heard"])


def _lines(calls: Sequence[Call], look: Look, wait_s: float) -> Generator[Mapping[str, Any]]:
    """What the driver says, until it is done."""
    if not is_installed():
        raise ClusterError("Ray is not installed here: run pip install -r requirements-cluster.txt.")
    at, started_s, connected = address(), time.monotonic(), False
    order = {"address": at, "wait_s": wait_s, "calls": packed(tuple(calls))}
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder, \
            running("core.machinery.cluster.driver", order, **_variables(None if at else folder)) as driver:
        while True:
            line = driver.next()
            look()
            if line is None and driver.has_ended and driver.lines.empty():
                driver.log_last_words()
                raise ClusterError("The Ray cluster went away: see the server's log, then try again.")
            if line is None and not connected and time.monotonic() - started_s > CONNECT_S:
                raise ClusterError(f"The Ray cluster was not ready in {CONNECT_S:.0f} s: see the logs of its head.")
            if line is None:
                continue
            if "refused" in line:
                if not line["explained"]:
                    driver.log_last_words()
                raise ClusterError(line["refused"])
            if "done" in line:
                return
            connected = True
            yield line


def _variables(embedded_in: str | None) -> dict[str, str]:
    """The driver's environment: Ray's own settings, no word to Ray's makers, at once gone when it is killed.

    An embedded cluster listens on the loopback interface alone and asks for a token that nobody else knows.
    """
    rays = {name: value for name, value in os.environ.items() if name.startswith("RAY_")}
    rays |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "0"}
    if embedded_in is None:
        return rays
    return rays | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",       # what keeps Ray on loopback there does so everywhere
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32), "RAY_TMPDIR": embedded_in,
    }
