"""Accelerators at one kind of price: the median of the clouds, the cheapest listed, or spot."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.products.gpus import GpuSpec, Quote, quotes

REFERENCE: Final = "reference"
PRICE_KINDS: Final = {
    REFERENCE: "median on-demand price of the providers",
    "cheapest": "cheapest on-demand price",
    "spot": "cheapest spot price; the provider may take the GPU back at any time",
}
_LISTED: Final = {"cheapest": ("on-demand", "serverless"), "spot": ("spot",)}


def priced(among: Sequence[GpuSpec], kind: str) -> tuple[GpuSpec, ...]:
    """The accelerators at that kind of price; without one where nobody lists it. KeyError for an unknown kind."""
    if kind == REFERENCE:
        return tuple(among)
    return tuple(_at(gpu, _LISTED[kind]) for gpu in among)


def _at(gpu: GpuSpec, kinds: Sequence[str]) -> GpuSpec:
    listed = [quote for quote in quotes(gpu.name) if quote.kind in kinds]
    if not listed:
        return replace(gpu, price_usd_per_hour=None, price_source="")
    best = min(listed, key=lambda quote: quote.usd_per_gpu_hour)
    return replace(gpu, price_usd_per_hour=best.usd_per_gpu_hour, price_source=_words(best))


def _words(quote: Quote) -> str:
    where = ", ".join(part for part in (quote.provider, quote.region, quote.instance) if part)
    return f"{where}, {quote.kind}, USD per GPU hour. {quote.source} ({quote.as_of})"
