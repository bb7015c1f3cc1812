"""Somebody else's program: heard, bounded in time, and gone with all it started."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from core.basics.places import ROOT
from core.machinery.jobs import Cancelled
from core.machinery.program import started
from tests.conftest import wait_for

# Starts a child of its own in the background, says both numbers, and stays.
FAMILY = "sleep 600 & echo $! > child; echo $$ > parent; echo ready; wait"


def alive(number):
    try:
        stat = Path(f"/proc/{number}/stat").read_text(encoding="ascii")
        return stat.rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):        # gone before, or while it is read
        return False


def nothing():
    """A tick that goes on."""


def numbers(folder):
    wait_for(lambda: (folder / "parent").exists() and (folder / "parent").read_text().strip())
    return [int((folder / name).read_text()) for name in ("child", "parent")]


def test_what_it_says_and_how_it_ends(tmp_path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "hidden")
    with started(["sh", "-c", "echo $GIVEN $A_TOKEN; echo wrong >&2; exit 3"], tmp_path, {"GIVEN": "x"}, "said") as ran:
        assert ran.wait(30, nothing) == 3
        assert ran.said() == "x\nwrong\n"


def test_all_of_it_ends_when_the_block_is_left(tmp_path):
    with started(["sh", "-c", FAMILY], tmp_path, {}, "said") as ran:
        child, parent = numbers(tmp_path)
        assert ran.wait(0.2, nothing) is None and alive(child) and alive(parent)
    assert not alive(child) and not alive(parent)


def test_it_may_tidy_up_first(tmp_path):
    """An engine that is asked to end lets go of its shared memory before it is killed."""
    words = ["sh", "-c", "trap 'echo tidied; exit 0' INT; echo ready; while :; do sleep 0.05; done"]
    with started(words, tmp_path, {}, "said") as ran:
        wait_for(lambda: "ready" in ran.said())
    assert "tidied" in ran.said()


def test_a_cancellation_ends_it(tmp_path):
    def cancel():
        raise Cancelled("Cancelled.")

    with pytest.raises(Cancelled), started(["sh", "-c", FAMILY], tmp_path, {}, "said") as ran:
        family = numbers(tmp_path)
        ran.wait(30, cancel)
    assert not any(map(alive, family))


def test_it_ends_with_us_even_when_we_are_killed(tmp_path):
    ours = subprocess.Popen([sys.executable, "-c", f"""
from pathlib import Path
from core.machinery.program import started
with started(["sh", "-c", {FAMILY!r}], Path({str(tmp_path)!r}), {{}}, "said") as ran:
    ran.wait(600, lambda: None)
"""], cwd=ROOT)
    family = numbers(tmp_path)
    os.kill(ours.pid, signal.SIGKILL)
    ours.wait()
    wait_for(lambda: not any(map(alive, family)))


def test_of_very_much_the_ends_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr("core.machinery.program.MOST_SAID", 100)
    with started(["sh", "-c", "echo first; seq 1000; echo last"], tmp_path, {}, "said") as ran:
        ran.wait(30, nothing)
        assert ran.said().startswith("first\n") and ran.said().endswith("last\n") and len(ran.said()) < 120
