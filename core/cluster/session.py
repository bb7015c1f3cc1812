"""A cluster from the outside: starts the process that speaks to Ray, reads what it hears, ends it when asked."""

import base64
import json
import logging
import os
import pickle
import queue
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path
from secrets import token_hex
from typing import IO, Any, Final

from core.cluster.calls import Call, Heard, Node
from core.errors import ClusterError
from core.settings import setting

ROOT: Final = Path(__file__).resolve().parents[2]
ADDRESS: Final = re.compile(r"ray://[\w.\-\[\]:]+:\d{1,5}")
CONNECT_S: Final = 60.0         # to start a cluster, or to reach one and hand it the code
WAIT_S: Final = 30.0            # for a place in the cluster
TICK_S: Final = 0.1             # how soon a cancellation is seen
SECRETS: Final = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "DATABASE")
_log = logging.getLogger(__name__)


def is_installed() -> bool:
    """Whether Ray is there; it is not loaded."""
    return find_spec("ray") is not None


def address() -> str | None:
    """The cluster that SWEETSPOT_RAY names; None: one embedded in this machine. Raises ClusterError."""
    said = setting("ray")
    if said is not None and not ADDRESS.fullmatch(said):
        raise ClusterError("SWEETSPOT_RAY must look like ray://host:10001: correct the setting.")
    return said


def nodes(look: Callable[[], None] = lambda: None) -> tuple[Node, ...]:
    """The machines of the cluster that are alive, those with GPUs first. Raises ClusterError.

    `look` is called ten times a second; what it raises stops the search.
    """
    with closing(_lines((), look, WAIT_S)) as lines:
        return tuple(_unpacked(next(lines)["nodes"]))


def run(calls: Sequence[Call], look: Callable[[], None], *, wait_s: float = WAIT_S) -> Generator[Heard]:
    """Runs calls side by side and yields what is heard of them; each ends in one Result or one Loss.

    A call that found no place `wait_s` after the last other one ended is lost. `look` is called ten times a
    second; what it raises stops every call at once, and so does closing the iterator. Raises ClusterError
    when there is no cluster or it goes away.
    """
    with closing(_lines(calls, look, wait_s)) as lines:
        for line in lines:
            if "heard" in line:
                yield _unpacked(line["heard"])


def _unpacked(text: str) -> Any:
    return pickle.loads(base64.b64decode(text))


def _lines(calls: Sequence[Call], look: Callable[[], None], wait_s: float) -> Generator[Mapping[str, Any]]:
    """What the driver says, until it is done."""
    if not is_installed():
        raise ClusterError("Ray is not installed here: run pip install -r requirements-cluster.txt.")
    at = address()
    order = {"address": at, "wait_s": wait_s, "calls": base64.b64encode(pickle.dumps(tuple(calls))).decode("ascii")}
    started_s, connected = time.monotonic(), False
    with _driver(order, at is None) as (driver, said, errors):
        while True:
            line = _next(said)
            look()
            if line is None:
                if driver.poll() is not None and said.empty():
                    raise ClusterError(_died(driver.returncode, errors))
                if not connected and time.monotonic() - started_s > CONNECT_S:
                    raise ClusterError(f"The Ray cluster was not ready in {CONNECT_S:.0f} s: see the logs of its head.")
                continue
            if "refused" in line:
                _log.warning("no cluster: %s", _last_words(errors))
                raise ClusterError(line["refused"])
            if "done" in line:
                return
            connected = True
            yield line


@contextmanager
def _driver(
    order: Mapping[str, Any], embedded: bool
) -> Iterator[tuple["subprocess.Popen[str]", "queue.Queue[str]", IO[bytes]]]:
    """The driver with its lines in a queue; killed with all it started when the block is left."""
    lines: queue.Queue[str] = queue.Queue()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as folder, \
            tempfile.TemporaryFile() as errors:
        driver = subprocess.Popen(
            [sys.executable, "-m", "core.cluster.driver"], cwd=ROOT, env=_environment(folder if embedded else None),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )
        assert driver.stdin is not None and driver.stdout is not None
        reader = threading.Thread(target=_read, args=(driver.stdout, lines), daemon=True)
        reader.start()
        try:
            try:
                driver.stdin.write(json.dumps(order) + "\n")
                driver.stdin.flush()
            except BrokenPipeError:
                _log.warning("the cluster's driver ended before it was told what to do")
            yield driver, lines, errors
        finally:
            _kill(driver)
            reader.join(timeout=5)
            driver.stdout.close()
            try:
                driver.stdin.close()
            except BrokenPipeError:
                _log.debug("the driver had closed its input")


def _environment(embedded_folder: str | None) -> dict[str, str]:
    """The driver's environment: no secret but Ray's own, no word to Ray's makers, at once gone when it is killed.

    An embedded cluster listens on the loopback interface alone and asks for a token that nobody else knows.
    """
    kept = {
        name: value for name, value in os.environ.items()
        if name.startswith("RAY_") or not any(word in name.upper() for word in SECRETS)
    }
    kept |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_CLIENT_RECONNECT_GRACE_PERIOD": "0"}
    if embedded_folder is None:
        return kept
    return kept | {
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",       # what keeps Ray on loopback there does so everywhere
        "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token_hex(32), "RAY_TMPDIR": embedded_folder,
    }


def _read(stream: IO[str], lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)


def _kill(driver: "subprocess.Popen[str]") -> None:
    """Ends the driver now; an embedded cluster and the calls of any cluster end with it."""
    try:
        os.killpg(driver.pid, signal.SIGKILL)
    except ProcessLookupError:
        _log.debug("the driver had ended")
    driver.wait(timeout=10)


def _next(lines: "queue.Queue[str]") -> dict[str, Any] | None:
    """The next line, or None when nothing was said for a moment."""
    try:
        said: dict[str, Any] = json.loads(lines.get(timeout=TICK_S))
    except queue.Empty:
        return None
    return said


def _last_words(errors: IO[bytes]) -> str:
    errors.seek(0)
    return errors.read()[-4000:].decode(errors="replace")


def _died(code: int, errors: IO[bytes]) -> str:
    _log.warning("the cluster's driver ended with %s: %s", code, _last_words(errors))
    return "The Ray cluster went away: see the server's log, then try again."
