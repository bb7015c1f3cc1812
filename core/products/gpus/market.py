"""Today's prices of a GPU through gpuhunt, where it is installed: `pip install gpuhunt`."""

from datetime import UTC, datetime

from core.basics.errors import HardwareError
from core.products.gpus.catalogue import normalised
from core.products.gpus.prices import Quote
from core.products.gpus.spec import GpuSpec

_MEMORY_APART = 0.05        # providers round the memory of a card


def todays_quotes(gpu: GpuSpec) -> tuple[Quote, ...]:
    """The lowest price of each provider, on demand and spot, cheapest first [USD per GPU hour].

    Providers name a card without its form, so a card is recognised by the beginning of its name and its memory.
    Raises HardwareError where gpuhunt is missing or its catalogue cannot be fetched.
    """
    try:
        import gpuhunt  # an optional extra
    except ImportError:
        raise HardwareError(
            "Today's prices need gpuhunt: pip install gpuhunt, then start Sweetspot again. The bundled ones are used."
        ) from None
    try:
        items = gpuhunt.query(min_gpu_count=1)
    except Exception:       # gpuhunt lets its network library's own errors through
        raise HardwareError("gpuhunt could not fetch its prices: the bundled ones are used.") from None
    nominal = gpu.nominal_memory_gib or 0.0
    lowest: dict[tuple[str, bool], Quote] = {}
    for item in items:
        name, memory = normalised(item.gpu_name or ""), float(item.gpu_memory or 0)
        if not name or not normalised(gpu.name).startswith(name) or abs(memory - nominal) > _MEMORY_APART * nominal:
            continue
        price = float(item.price) / item.gpu_count
        known = lowest.get((item.provider, bool(item.spot)))
        if price > 0 and (known is None or price < known.usd_per_gpu_hour):
            lowest[item.provider, bool(item.spot)] = Quote(
                gpu.name, str(item.provider), str(item.location), str(item.instance_name),
                "spot" if item.spot else "on-demand", price, datetime.now(UTC).date().isoformat(), "gpuhunt", "",
            )
    return tuple(sorted(lowest.values(), key=lambda quote: quote.usd_per_gpu_hour))
