"""A program of somebody else, an engine or a benchmark: started without a shell, bounded in time, gone when left.

It runs under a guard, so that it and all it started end with us even when we are killed. What it writes goes to one
file in the caller's folder, as do its temporary files.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from core.basics.places import ROOT
from core.machinery.worker import TICK_S, environment

GRACE_S: Final = 20.0               # that an engine has to let go of its GPU and its shared memory
_POLL_S: Final = 0.02
_GUARD: Final = ROOT / "core" / "machinery" / "guard.py"
MOST_SAID: Final = 2_000_000        # bytes of output that are read; the ends of longer ones


@dataclass(frozen=True, slots=True)
class Program:
    """A running program and the file of what it says."""

    process: "subprocess.Popen[bytes]"
    output: Path

    @property
    def code(self) -> int | None:
        """How it ended; None while it runs."""
        return self.process.poll()

    def said(self) -> str:
        """What it wrote until now, standard output and error as they came; of very much the two ends."""
        size = self.output.stat().st_size
        with self.output.open("rb") as opened:
            if size <= MOST_SAID:
                return opened.read().decode("utf-8", "replace")
            first = opened.read(MOST_SAID // 2)
            opened.seek(size - MOST_SAID // 2)
            return f"{first.decode('utf-8', 'replace')}\n{opened.read().decode('utf-8', 'replace')}"

    def wait(self, seconds: float, tick: Callable[[], None]) -> int | None:
        """How it ended, or None where it still runs after that time; `tick` is called often and may raise."""
        until = time.monotonic() + seconds
        while self.code is None and time.monotonic() < until:
            tick()
            time.sleep(TICK_S)
        return self.code


@contextmanager
def started(words: Sequence[str], folder: Path, variables: Mapping[str, str], name: str) -> Iterator[Program]:
    """Runs `words` in `folder`; told to end, then killed with all it started, when the block is left.

    `variables` are its environment beside ours, from which whatever looks like a secret is taken. `name` is that of
    the file of its output.
    """
    temporary = folder / "t"
    temporary.mkdir(exist_ok=True)
    output = folder / name
    with output.open("wb") as said:
        process = subprocess.Popen(
            [sys.executable, "-I", str(_GUARD), *words], cwd=folder,
            env=environment({"TMPDIR": str(temporary), **variables}), stdin=subprocess.PIPE, stdout=said,
            stderr=subprocess.STDOUT, start_new_session=True,
        )
    try:
        yield Program(process, output)
    finally:
        _end(process)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Asks the program to end, waits for it, and kills what is left of its group."""
    assert process.stdin is not None
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=GRACE_S)
    until = time.monotonic() + GRACE_S
    with suppress(ProcessLookupError):              # all of it has ended
        while time.monotonic() < until:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()                          # one that has ended counts until it is asked how
            time.sleep(_POLL_S)
    process.stdin.close()
