"""The engines' documented options and images: one table each, the only place their names stand."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Annotated

from core.basics import tables
from core.basics.tables import Within
from core.products.versions import VERSIONS


@dataclass(frozen=True, slots=True)
class Option:
    """What an engine calls a setting of a plan: assets/engine_options.csv."""

    engine: str
    setting: str
    option: str
    source: str


@dataclass(frozen=True, slots=True)
class Image:
    """An engine's published container for a maker's GPUs: assets/engine_images.csv."""

    engine: str
    vendor: str
    image: str                 # with {version} for the engine's, assets/versions.csv
    entry_words: Annotated[int, Within(0, 4)]     # first words of the command that the image runs by itself
    source: str


@dataclass(frozen=True, slots=True)
class Accelerator:
    """Ray's name for a GPU: assets/ray_accelerators.csv."""

    gpu: str
    accelerator_type: str
    source: str


@cache
def listed() -> tuple[Option, ...]:
    """Every option of every engine."""
    return tables.read("engine_options.csv", Option, ("engine", "setting"))


@cache
def images() -> tuple[Image, ...]:
    """Every published container."""
    return tables.read("engine_images.csv", Image, ("engine", "vendor"))


@cache
def accelerators() -> tuple[Accelerator, ...]:
    """Every GPU that Ray has a name for."""
    return tables.read("ray_accelerators.csv", Accelerator, ("gpu",))


@cache
def names(engine: str) -> Mapping[str, str]:
    """Setting of a plan -> the engine's option for it, as its documentation of the planned version names it."""
    return {row.setting: row.option for row in listed() if row.engine == engine}


def options(engine: str, values: Mapping[str, object]) -> tuple[str, ...]:
    """Words of a command line; a None is left out, True is a switch, a tuple's words follow one option.

    KeyError for an undocumented setting.
    """
    known = names(engine)
    words: list[str] = []
    for setting, value in values.items():
        if value is True:
            words.append(known[setting])
        elif isinstance(value, tuple):
            words += [known[setting], *value]
        elif value is not None:
            words += [known[setting], str(value)]
    return tuple(words)


def image(engine: str, vendor: str) -> Image | None:
    """The engine's published container for a maker's GPUs, or None."""
    found = next((row for row in images() if (row.engine, row.vendor) == (engine, vendor)), None)
    return found and replace(found, image=found.image.format(version=VERSIONS[engine].version))


def ray_accelerator(gpu: str) -> str | None:
    """Ray's name for a GPU, or None where Ray has none."""
    words = gpu.split()
    return next((row.accelerator_type for row in accelerators() if row.gpu in words), None)
