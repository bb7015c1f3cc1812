"""Machines by the names their sellers give them: `p5.48xlarge`, `Standard_ND96isr_H100_v5`, `DGX H100`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from core.basics import tables
from core.basics.tables import Within
from core.products.gpus.prices import all_quotes


@dataclass(frozen=True, slots=True)
class Machine:
    """One row of assets/machines.csv."""

    name: str
    provider: str
    gpu: str
    count: Annotated[int, Within(1, 1024)]
    network_gbit_per_s: Annotated[float, Within(1, 100_000)] | None     # between machines, all links together
    source: str

    def said(self) -> str:
        """What the machine is, as a sentence: its GPUs, its network and what it costs where that is known."""
        network = f", {self.network_gbit_per_s:,.0f} Gbit/s of network" if self.network_gbit_per_s else ""
        prices = [quote.usd_per_gpu_hour for quote in all_quotes() if quote.instance == self.name]
        price = f", ${prices[0] * self.count:,.2f} per hour on demand" if prices else ""
        return f"{self.name} has {self.count} × {self.gpu}{network}{price}."


def _key(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


@cache
def _machines() -> Mapping[str, Machine]:
    """By name without case and punctuation; Azure's also without the Standard_ they all begin with."""
    rows = tables.read("machines.csv", Machine, ("name",))
    return {key: row for row in rows for key in (_key(row.name), _key(row.name.removeprefix("Standard_")))}


def machine(name: str) -> Machine | None:
    """The machine of that name, whatever its case and punctuation; None where none is known."""
    return _machines().get(_key(name))
