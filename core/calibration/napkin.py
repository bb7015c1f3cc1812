"""The estimate anybody makes on a napkin: what a step reads over 0.7 of the bandwidth, its FLOPs over half the peak.

The yardstick beside every table: where it is nearer than the fitted model, the model has something to learn.
"""

from collections.abc import Mapping
from typing import Final

import numpy as np

from core.physics.efficiency import Constants, rates_of
from core.physics.speed.cases import Cases, Floats
from core.physics.speed.matmuls import TOKENS, at_context, between, matmuls
from core.physics.speed.work import work

BANDWIDTH: Final = 0.7           # share of the data sheet's
PEAK: Final = 0.5                # the same of the matrix units


def napkin(cases: Cases) -> Mapping[str, Floats]:
    """TTFT [s], TPOT [s] and output tokens/s per GPU of every row: no launches, no queues, no messages."""
    jobs = work(cases.pairs)
    costs = matmuls(jobs, rates_of(cases.pairs, Constants()), np.arange(len(jobs.pair)), TOKENS)
    read = np.add.reduceat(costs.bytes, jobs.first, axis=0)                                  # [pairs, TOKENS]
    multiply = np.add.reduceat(costs.flops / (PEAK * jobs.peak[:, None]), jobs.first, axis=0)
    pair, dp = cases.which, jobs.dp[cases.which]
    most = np.where(np.isfinite(cases.held), np.maximum(cases.held, 1.0), 1.0)
    batch = np.minimum(np.where(np.isnan(cases.concurrency), most, cases.concurrency / dp), most)
    context = cases.input_tokens + cases.output_tokens / 2
    cache = batch * at_context(jobs.kv_read, pair, context)
    tpot = (between(read, pair, batch) + cache) / (BANDWIDTH * jobs.bandwidth[pair])
    prompts = np.where(cases.static, batch, 1.0) * cases.input_tokens
    ttft = np.maximum(between(multiply, pair, prompts), tpot)
    whole = np.where(cases.static, ttft, batch * ttft) + (cases.output_tokens - 1) * tpot
    return {"ttft": ttft, "tpot": tpot, "throughput": batch * dp * cases.output_tokens / whole / jobs.gpus[pair]}
