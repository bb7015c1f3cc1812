"""What tokens cost: the price of the GPUs over the tokens they make."""

from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.basics.bounds import Bounds
from core.products.gpus import GpuSpec
from core.terms import Estimate, Workload

HOURS_PER_MONTH: Final = 730.0      # 8760 hours of a year over 12, as the large clouds bill a month
SECONDS_PER_HOUR: Final = 3600.0
MILLION: Final = 1e6
PRICE: Final = Bounds(0, 1000, "USD per GPU-hour")      # typed prices above it are slips


def price_of(gpu: GpuSpec, own_usd_per_hour: float | None = None) -> tuple[float | None, str]:
    """USD per hour of one GPU and where the price comes from: the user's own, else the reference price.

    (None, reason) where neither is known. Raises InputError for an own price outside 0 to 1000.
    """
    if own_usd_per_hour is not None:
        return PRICE.checked("The price", own_usd_per_hour), "your own price"
    if gpu.price_usd_per_hour is None:
        return None, f"No price is known for {gpu.name}: type in your own."
    return gpu.price_usd_per_hour, gpu.price_source


def usd_per_hour(price_usd_per_gpu_hour: float, gpus: int) -> float:
    """USD per hour of a deployment of `gpus` GPUs."""
    return price_usd_per_gpu_hour * gpus


def usd_per_month(price_usd_per_gpu_hour: float, gpus: int) -> float:
    """USD per month of 730 hours of a deployment that runs all the time."""
    return usd_per_hour(price_usd_per_gpu_hour, gpus) * HOURS_PER_MONTH


def usd_per_million(price_usd_per_gpu_hour: ArrayLike, tokens_per_s_per_gpu: ArrayLike) -> NDArray[np.float64]:
    """USD per million tokens at the rate of one GPU [tokens/s]; arrays broadcast; inf where no token is made."""
    with np.errstate(divide="ignore"):
        seconds_per_token = np.divide(1.0, tokens_per_s_per_gpu)
    return np.asarray(price_usd_per_gpu_hour) / SECONDS_PER_HOUR * seconds_per_token * MILLION


def usd_per_million_output_tokens(price_usd_per_gpu_hour: float, output_tokens_per_s_per_gpu: Estimate) -> Estimate:
    """USD per million output tokens; the slow end of the throughput range is the dear end of the cost.

    A price is a fact, so the cost rests on what the throughput rests on.
    """
    rate = output_tokens_per_s_per_gpu
    return Estimate(
        value=float(usd_per_million(price_usd_per_gpu_hour, rate.value)),
        low=float(usd_per_million(price_usd_per_gpu_hour, rate.high)),
        high=float(usd_per_million(price_usd_per_gpu_hour, rate.low)),
        basis=rate.basis,
        source=f"{price_usd_per_gpu_hour:g} USD per GPU hour over {rate.source}",
    )


def usd_per_million_tokens(
    price_usd_per_gpu_hour: float, output_tokens_per_s_per_gpu: Estimate, workload: Workload
) -> Estimate:
    """USD per million tokens, prompt and answer counted alike, as token prices of hosted models are compared.

    Each output token comes with input/output prompt tokens of the workload.
    """
    share = workload.output_tokens / workload.context_tokens
    output = usd_per_million_output_tokens(price_usd_per_gpu_hour, output_tokens_per_s_per_gpu)
    return Estimate(output.value * share, output.low * share, output.high * share, output.basis, output.source)
