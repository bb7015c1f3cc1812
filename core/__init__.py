"""Sweetspot's knowledge, free of any user interface: models, GPUs, memory, speed and advice."""

from typing import Final

__version__: Final = "0.1.0"
