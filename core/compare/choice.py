"""One row of a comparison as the choice that pages and exports know."""

import numpy as np

from core import cost, quality_prior
from core.advice import Choice
from core.compare.field import Field
from core.speed import Range
from core.sweep import SOURCE
from core.terms import Basis, Estimate


def choice_of(field: Field, row: int) -> Choice:
    """The figures of a layout at the workload's concurrency."""
    p, deployment = field.prediction, field.deployments[row]
    price, loss = deployment.gpu.price_usd_per_hour, field.losses[row]
    rate, asked = _estimate(p.output_tokens_per_s_per_gpu, row), field.workload.concurrency
    met, held = bool(field.meets_slo[row]), float(field.capacity[row])
    return Choice(
        deployment=deployment, concurrency=asked, footprint=field.footprints[row],
        ttft=_estimate(p.ttft_s, row), tpot=_estimate(p.tpot_s, row),
        output_tokens_per_s=_estimate(p.output_tokens_per_s_per_gpu, row, deployment.gpus),
        cost_usd_per_million_output_tokens=None if price is None else cost.usd_per_million_output_tokens(price, rate),
        usd_per_hour=None if price is None else cost.usd_per_hour(price, deployment.gpus),
        prefill_bound=p.prefill_bound[row], decode_bound=p.decode_bound[row],
        quality=loss, quality_note=quality_prior.NO_FIGURE if loss is None else loss.source,
        fits=bool(field.fits[row]), meets_slo=met, memory_concurrency=int(min(held, 1e9)),
        slo_concurrency=asked if met else 0, occupancy=asked / held if held else np.inf,
    )


def _estimate(column: Range, row: int, times: float = 1.0) -> Estimate:
    value, low, high = (float(c[row]) * times for c in (column.value, column.low, column.high))
    return Estimate(value, low, high, Basis.ESTIMATED, SOURCE)
