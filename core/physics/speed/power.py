"""Power of one GPU under a load: its limit, times how much of it each part of a step draws."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from core.physics.efficiency import loads
from core.physics.efficiency.labels import Pair
from core.physics.speed.cases import Cases, Floats, Range, Times
from core.physics.speed.steps import Step

J_PER_KWH: Final = 3.6e6
MILLION: Final = 1e6


def limits_w(pairs: Sequence[Pair]) -> Floats:
    """The power limit of one GPU of each pair [W]; NaN where it is not known."""
    return np.array([d.gpu.tdp_w or np.nan for _, d in pairs])


def drawn(step: Step) -> Floats:
    """Share of the limit that a step draws: its parts by their time [rows]."""
    shares: Mapping[str, Floats] = {
        "power_memory": step.memory, "power_compute": step.compute, "power_overhead": step.overhead + step.host,
        "power_communication": step.communication,
    }
    whole = sum(shares.values(), np.zeros_like(step.memory))
    return np.asarray(sum(loads.constant(name) * part for name, part in shares.items()) / whole)


def watts(cases: Cases, times: Times, prefill: Step, decode: Step, dp: Floats) -> Range:
    """Mean power of one GPU while the load runs, prompts and answers by their share of the time [W, rows]."""
    limit = limits_w(cases.pairs)[cases.which]
    prompts = np.where(cases.static, np.maximum(1.0, times.running / dp), 1.0)
    requests_per_s = times.output_tokens_per_s / cases.output_tokens / dp
    prefilling = np.clip(requests_per_s * prefill.seconds / prompts, 0.0, 1.0)
    share = prefilling * drawn(prefill) + (1 - prefilling) * drawn(decode)
    doubt = np.exp(loads.constant("power_doubt"))
    return Range(limit * share, limit * share / doubt, limit * np.minimum(1.0, share * doubt))


def tokens_per_joule(watts: Range, tokens_per_s: Range) -> Range:
    """Output tokens for each joule of one GPU; `tokens_per_s` of that GPU. Both doubts add in quadrature."""
    wide = np.hypot(np.log(watts.value / watts.low), np.log(tokens_per_s.value / tokens_per_s.low))
    value = tokens_per_s.value / watts.value
    return Range(value, value * np.exp(-wide), value * np.exp(wide))


def kwh_per_million(watts: Range, tokens_per_s: Range) -> Range:
    """Electricity of the GPUs for a million output tokens [kWh]."""
    good = tokens_per_joule(watts, tokens_per_s)
    return Range(*(MILLION / J_PER_KWH / end for end in (good.value, good.high, good.low)))
