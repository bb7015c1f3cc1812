"""Constants of the loads that few figures speak of: read from assets/load_constants.csv, each with its source."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated, Final

from core.basics.tables import Table, Within


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant of a load's physics: a row of assets/load_constants.csv."""

    name: str
    value: Annotated[float, Within(0, 1e12)]
    unit: str
    meaning: str
    source: str


CONSTANTS: Final = Table("load_constants.csv", Constant)


@cache
def constant(name: str) -> float:
    """Its value."""
    return CONSTANTS[name].value


def of_engine(name: str, engine: str) -> float:
    """Its value for an engine that has one of its own, else the common one."""
    own = f"{name}_{engine}"
    return constant(own if own in CONSTANTS else name)
