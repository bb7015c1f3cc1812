"""Run by `core.machinery.program`, alone: a program that must not outlive whoever asked for it.

Its standard input is a pipe that nobody writes to: when that closes, the whole process group is killed.
"""

import os
import signal
import subprocess
import sys
import threading


def main() -> None:
    """Runs the words, and ends as they end."""
    signal.signal(signal.SIGINT, lambda *_: None)       # it goes to the whole group: the program answers it
    threading.Thread(target=_end_with_parent, daemon=True).start()
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
    sys.exit(child.wait() % 256)


def _end_with_parent() -> None:
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
