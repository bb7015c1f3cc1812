"""A separate process for what may crash, run out of memory or hang.

It gets its order as one JSON line, answers in JSON lines, is killed with all it started when the block is
left, and ends with its parent: its standard input closes.
"""

import json
import logging
import os
import platform
import queue
import resource
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, TextIO

from core.basics.places import ROOT

TICK_S: Final = 0.1                 # how soon a cancellation is seen
SECRETS: Final = ("TOKEN", "KEY", "SECRET", "PASSWORD", "CREDENTIAL", "DATABASE")
_OUT_OF_MEMORY: Final = ("out of memory", "can't allocate memory", "not enough memory", "allocate", "ALLOC_FAILED")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Worker:
    """A running process, what it says, and where its complaints go."""

    process: "subprocess.Popen[str]"
    lines: "queue.Queue[str]"
    errors: IO[bytes]

    def next(self) -> dict[str, Any] | None:
        """The next line it said, or None when it said nothing for a moment."""
        try:
            said: dict[str, Any] = json.loads(self.lines.get(timeout=TICK_S))
        except queue.Empty:
            return None
        return said

    @property
    def has_ended(self) -> bool:
        """Whether the process is no longer running, for whatever reason."""
        return self.process.poll() is not None

    def log_last_words(self) -> None:
        """What it wrote to its standard error last, for the administrator."""
        self.errors.seek(0)
        words = self.errors.read()[-4000:].decode(errors="replace")
        _log.warning("the worker ended with %s: %s", self.process.returncode, words)

    def why_it_ended(self, after: str) -> str:
        """One sentence on why it ended early, `after` how much work; its last words go to the log."""
        code = self.process.returncode
        self.log_last_words()
        if code == -signal.SIGKILL:
            return f"The measuring process was killed by the system {after}, most likely for want of memory: free some."
        if code < 0:
            return f"The measuring process crashed {after} ({signal.Signals(-code).name}): check driver and memory."
        return f"The measuring process ended {after} with code {code}; its last words are in the server's log."


@contextmanager
def running(
    module: str, order: Mapping[str, Any], arguments: Sequence[str] = (), **variables: str,
) -> Iterator[Worker]:
    """`python -m module arguments`, told its order; killed with all it started when the block is left.

    `variables` are its environment beside ours, from which whatever looks like a secret is taken.
    """
    lines: queue.Queue[str] = queue.Queue()
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments], cwd=ROOT, env=environment(variables), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True,
        )
        assert process.stdin is not None and process.stdout is not None
        reader = threading.Thread(target=_read, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            try:
                process.stdin.write(json.dumps(order) + "\n")
                process.stdin.flush()
            except BrokenPipeError:
                _log.warning("%s ended before it was told what to do", module)
            yield Worker(process, lines, errors)
        finally:
            _kill(process)
            try:
                process.stdin.close()       # what it started in sessions of their own ends when it sees that
            except BrokenPipeError:
                _log.debug("the worker had closed its input")
            reader.join(timeout=5)
            process.stdout.close()


def _read(stream: IO[str], lines: "queue.Queue[str]") -> None:
    for line in stream:
        lines.put(line)


def _kill(process: "subprocess.Popen[str]") -> None:
    """Ends the worker and its children (compilers) now."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        _log.debug("the worker had ended")
    process.wait(timeout=10)


def environment(variables: Mapping[str, str]) -> dict[str, str]:
    """The environment without anything that looks like a secret, and what is said beside it."""
    kept = {name: value for name, value in os.environ.items() if not any(word in name.upper() for word in SECRETS)}
    return kept | {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | dict(variables)       # as NVML counts them


def free_memory_bytes() -> float | None:
    """What a processor's machine has to spare, from /proc/meminfo; None where it is not told [B]."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((float(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:")), None)


def told() -> tuple[dict[str, Any], TextIO]:
    """In the worker: the order, and where to say things."""
    order: dict[str, Any] = json.loads(sys.stdin.readline())
    return order, bound_to_parent()


def bound_to_parent() -> TextIO:
    """In the worker: where to say things, from when on it ends with its parent.

    Standard output is left to chatty libraries.
    """
    out = os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return out


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def say(out: TextIO, **line: object) -> None:
    """In the worker: one line to the parent."""
    out.write(json.dumps(line) + "\n")
    out.flush()


def limit_memory(more_bytes: float | None) -> None:
    """Lets this process allocate that much beyond what it holds now."""
    if more_bytes is None or sys.platform != "linux":
        return
    held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()
    limit = held + int(more_bytes)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def ran_out_of_memory(error: Exception) -> bool:
    """Whether an error, of Python, torch or a driver, means that memory was short."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" \
        or any(words in str(error).split("\n")[0] for words in _OUT_OF_MEMORY)


def processor_name() -> str:
    """What this machine's processor calls itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.machine())
