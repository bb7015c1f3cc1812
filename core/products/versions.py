"""The versions that launch files, requirements and docs agree on: assets/versions.csv."""

from dataclasses import dataclass
from typing import Final

from core.basics.tables import Table
from core.products.engines import find


@dataclass(frozen=True, slots=True)
class Version:
    """An engine or a library as it is pinned."""

    name: str                  # of an engine, a key of ENGINES; or of a library in its registry
    label: str                 # as texts call it
    version: str
    source: str                # where it was read, and what keeps it there


VERSIONS: Final[Table[Version]] = Table("versions.csv", Version)


def launched_release(engine: str) -> str:
    """The release of an engine that launch files start; the one its defaults were read from where none is pinned."""
    name = find(engine).name
    return VERSIONS[name].version if name in VERSIONS else find(engine).version


def requirement(library: str, extra: str = "") -> str:
    """A library as pip is asked for it: amd-quark[cli]==0.13."""
    return f"{library}{extra}=={VERSIONS[library].version}"
