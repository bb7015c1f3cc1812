"""One row of a prediction as the choice that pages and exports know."""

import numpy as np

from core.answers import cost
from core.answers.advice.plan import Choice
from core.answers.sweep import SOURCE
from core.losses import prior as quality_prior
from core.physics.memory import Footprint
from core.physics.speed import Prediction, Range, kwh_per_million, tokens_per_joule
from core.terms import Basis, Deployment, Estimate


def estimate_at(column: Range, row: int, times: float = 1.0) -> Estimate:
    """One row of a column as a figure with its range."""
    value, low, high = (float(c[row]) * times for c in (column.value, column.low, column.high))
    return Estimate(value, low, high, Basis.ESTIMATED, SOURCE)


def _energy(p: Prediction, row: int) -> dict[str, Estimate | None]:
    """Power and what a million tokens take of it."""
    known = not np.isnan(p.watts_per_gpu.value[row])
    columns = {
        "watts_per_gpu": p.watts_per_gpu,
        "kwh_per_million_output_tokens": kwh_per_million(p.watts_per_gpu, p.output_tokens_per_s_per_gpu),
        "output_tokens_per_joule": tokens_per_joule(p.watts_per_gpu, p.output_tokens_per_s_per_gpu),
    }
    return {name: estimate_at(column, row) if known else None for name, column in columns.items()}


def choice_at(
    p: Prediction, row: int, deployment: Deployment, concurrency: int, footprint: Footprint,
    loss: Estimate | None, *, fits: bool, met: bool, held: float, served: int,
) -> Choice:
    """The figures of one row: a layout under that many requests.

    `held` is the number of requests its KV cache takes, `served` the most that meet the targets.
    """
    price = deployment.gpu.price_usd_per_hour
    rate = estimate_at(p.output_tokens_per_s_per_gpu, row)
    return Choice(
        deployment=deployment, concurrency=concurrency, footprint=footprint,
        ttft=estimate_at(p.ttft_s, row), tpot=estimate_at(p.tpot_s, row),
        output_tokens_per_s=estimate_at(p.output_tokens_per_s_per_gpu, row, deployment.gpus),
        cost_usd_per_million_output_tokens=None if price is None else cost.usd_per_million_output_tokens(price, rate),
        usd_per_hour=None if price is None else cost.usd_per_hour(price, deployment.gpus),
        **_energy(p, row),
        prefill_bound=p.prefill_bound[row], decode_bound=p.decode_bound[row],
        quality=loss, quality_note=quality_prior.NO_FIGURE if loss is None else loss.source,
        fits=fits, meets_slo=met, memory_concurrency=int(min(held, 1e9)),
        slo_concurrency=served, occupancy=concurrency / held if held else np.inf,
    )
