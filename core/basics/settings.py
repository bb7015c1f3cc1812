"""What the administrator sets: environment variables SWEETSPOT_<NAME>."""

import os
from pathlib import Path
from typing import Final

from core.basics.places import ROOT

OFF: Final = frozenset({"0", "false", "no", "off"})


def setting(name: str) -> str | None:
    """The value of SWEETSPOT_<NAME>, or None when unset or empty."""
    return os.environ.get(f"SWEETSPOT_{name.upper()}") or None


def switch(name: str) -> bool | None:
    """Whether the administrator turned something on or off; None where nothing was said."""
    said = setting(name)
    return None if said is None else said.lower() not in OFF


def data_folder() -> Path:
    """The folder of everything saved: SWEETSPOT_DATA, else `data/` next to the app."""
    return Path(setting("data") or ROOT / "data")


def is_public() -> bool:
    """Whether strangers can reach this app (SWEETSPOT_PUBLIC=1): probing, quality and local files are then off.

    The server sets it where it is unset and other machines can reach it (pages/start.py).
    """
    return setting("public") in {"1", "true", "yes", "on"}
