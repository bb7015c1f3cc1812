"""What an hour of one GPU costs: dated list prices by provider, and one reference price per GPU."""

from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from statistics import median
from typing import Annotated, Final, Literal

from core.basics import tables
from core.basics.tables import Note, Within

# Kinds a reference price may rest on, best first, and how each is called.
REFERENCE_KINDS: Final = {
    "on-demand": "on-demand list prices",
    "serverless": "serverless prices, billed by the second",
    "reserved": "prices of reserved capacity",
    "indicative": "indicative figures, not quotes",
}


@dataclass(frozen=True, slots=True)
class Quote:
    """One provider's price of one GPU for one hour, in US dollars without tax."""

    gpu: str
    provider: str
    region: Note
    instance: Note
    kind: Literal["on-demand", "spot", "serverless", "reserved", "indicative"]
    usd_per_gpu_hour: Annotated[float, Within(0.01, 1000)]
    as_of: str              # "2026-08-19", "read 2026-11"
    source: str
    note: Note


@cache
def all_quotes() -> tuple[Quote, ...]:
    """Every price of assets/prices.csv."""
    return tables.read("prices.csv", Quote)


@cache
def _by_gpu() -> dict[str, tuple[Quote, ...]]:
    grouped = defaultdict(list)
    for quote in all_quotes():
        grouped[quote.gpu].append(quote)
    return {gpu: tuple(quotes) for gpu, quotes in grouped.items()}


def quotes(gpu: str) -> tuple[Quote, ...]:
    """The prices known for a catalogued GPU, by its catalogue name."""
    return _by_gpu().get(gpu, ())


def reference_price(gpu: str) -> tuple[float | None, str]:
    """The price a plan uses unless the user has an own one [USD per GPU hour], and where it comes from.

    The median over providers of each one's lowest on-demand price; where nobody lists one, the same
    over the next kind of `REFERENCE_KINDS`. (None, "") for a GPU without any.
    """
    for kind, label in REFERENCE_KINDS.items():
        lowest: dict[str, Quote] = {}
        for quote in quotes(gpu):
            if quote.kind == kind:
                known = lowest.get(quote.provider)
                if known is None or quote.usd_per_gpu_hour < known.usd_per_gpu_hour:
                    lowest[quote.provider] = quote
        if lowest:
            price = median(quote.usd_per_gpu_hour for quote in lowest.values())
            listed = ", ".join(f"{name} {quote.usd_per_gpu_hour:.2f}" for name, quote in lowest.items())
            sources = ", ".join(dict.fromkeys(f"{quote.source} ({quote.as_of})" for quote in lowest.values()))
            return price, f"Median of {label}, USD per GPU hour: {listed}. {sources}"
    return None, ""
