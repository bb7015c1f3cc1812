"""What is asked of the speed model, and what it answers: columns, one row a case."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.models import ModelSpec
from core.terms import Bound, Deployment

Floats: TypeAlias = NDArray[np.float64]
Rows: TypeAlias = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Cases:
    """Rows of load on pairs of model and deployment; made by `core.physics.ask`."""

    pairs: tuple[tuple[ModelSpec, Deployment], ...]
    which: Rows                  # [rows] index into `pairs`
    static: NDArray[np.bool_]    # [rows] True: the batch starts together; False: continuous batching
    concurrency: Floats          # [rows] requests in flight over the pair's GPUs; NaN: maximum load
    input_tokens: Floats         # [rows]
    output_tokens: Floats        # [rows] 1: prefill only
    found_tokens: Floats         # [rows] of the prompt, in the prefix cache: read, not computed
    held: Floats                 # [rows] requests one replica's cache holds, inf without one: at full length where
                                 # the batch starts together, at their mean length where batches are continuous
    drafted: Floats              # [rows] tokens a drafter proposes a step; 0 without one
    gained: Floats               # [rows] tokens a step yields; 1 without a drafter


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds and requests of every row; `running` counts over the whole deployment."""

    ttft_s: Floats
    tpot_s: Floats
    output_tokens_per_s: Floats
    running: Floats
    crowding: Floats             # requests asked for over the seats the KV cache has


@dataclass(frozen=True, slots=True)
class Range:
    """Estimates with their 80 % ranges, arrays [rows]."""

    value: Floats
    low: Floats
    high: Floats


@dataclass(frozen=True, slots=True)
class Prediction:
    """Times and rates of every row. TPOT is NaN where only one token is asked for."""

    ttft_s: Range
    tpot_s: Range
    output_tokens_per_s_per_gpu: Range
    prefill_bound: NDArray[np.object_]     # [rows] Bound
    decode_bound: NDArray[np.object_]      # [rows] Bound
    running: Floats                        # [rows] requests really in flight over the deployment
    watts_per_gpu: Range                   # NaN where the GPU's power limit is not known


@dataclass(frozen=True, slots=True)
class OperatorCost:
    """One operator of one step on one GPU, all layers together."""

    name: str
    flops: float
    bytes: float
    seconds: float
    bound: Bound

    @property
    def intensity(self) -> float:
        """FLOPs per byte; zero where nothing is read."""
        return self.flops / self.bytes if self.bytes else 0.0
