"""The app in a browser: this process becomes its server."""

import os
import sys
from typing import NoReturn

from core.basics.places import ROOT


def serve(address: str, port: int) -> NoReturn:
    """Replaces this process with `streamlit run app.py`, so that signals and the exit code are the server's own.

    `-P` keeps folders named `core` or `pages` in the current folder from being taken for ours.
    """
    os.execv(sys.executable, [
        sys.executable, "-P", "-m", "streamlit", "run", str(ROOT / "app.py"),
        "--server.address", address, "--server.port", str(port),
    ])
