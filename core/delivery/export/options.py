"""The engines' documented options and images: one table each, the only place their names stand."""

import csv
from collections.abc import Mapping
from functools import cache
from typing import Final

from core.basics.places import ASSETS

OPTIONS: Final = "engine_options.csv"
IMAGES: Final = "engine_images.csv"
ACCELERATORS: Final = "ray_accelerators.csv"


@cache
def _rows(table: str) -> tuple[dict[str, str], ...]:
    with (ASSETS / table).open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))


@cache
def names(engine: str) -> Mapping[str, str]:
    """Setting of a plan -> the engine's option for it, as its documentation of the planned version names it."""
    return {row["setting"]: row["option"] for row in _rows(OPTIONS) if row["engine"] == engine}


def options(engine: str, values: Mapping[str, object]) -> tuple[str, ...]:
    """Words of a command line; a None is left out, True is a switch. KeyError for an undocumented setting."""
    known = names(engine)
    words: list[str] = []
    for setting, value in values.items():
        if value is True:
            words.append(known[setting])
        elif value is not None:
            words += [known[setting], str(value)]
    return tuple(words)


def image(engine: str, vendor: str) -> str | None:
    """The engine's published container for a maker's GPUs, or None."""
    return next((row["image"] for row in _rows(IMAGES) if (row["engine"], row["vendor"]) == (engine, vendor)), None)


def ray_accelerator(gpu: str) -> str | None:
    """Ray's name for a GPU, or None where Ray has none."""
    words = gpu.split()
    return next((row["accelerator_type"] for row in _rows(ACCELERATORS) if row["gpu"] in words), None)
