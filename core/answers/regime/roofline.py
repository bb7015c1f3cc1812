"""A deployment on its roofline: ceilings, the way over batch and prompt, and what a step is spent on.

Source of the model: Williams, Waterman, Patterson, "Roofline", CACM 52(4), 2009. All figures are one GPU's share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.models import ModelSpec
from core.physics import speed
from core.physics.efficiency import load, rates_of
from core.physics.efficiency.labels import compute
from core.physics.speed import OperatorCost
from core.physics.speed.matmuls import matmuls
from core.physics.speed.regime import DRAFTING, HOST_MEMORY
from core.physics.speed.work import Work, peak_flops, work
from core.terms import Bound, Deployment

Floats: TypeAlias = NDArray[np.float64]

BATCHES: Final = tuple(2**n for n in range(11))
LARGEST_BATCH: Final = 2.0**14
LARGE_TOKENS: Final = 2.0**15        # rows of a matmul that is as fast as it gets
ATTENTION: Final = "attention"
PASSES: Final = "norms and activations"
# Parts of a step, and what limits each.
PARTS_OF: Final = {
    "weights": "memory traffic", "KV cache": "memory traffic", "activations": "memory traffic",
    HOST_MEMORY: "host memory traffic", DRAFTING: "drafting", "compute": "arithmetic",
    "communication": "communication", "overhead": "launch overhead",
}


@dataclass(frozen=True, slots=True)
class Ceiling:
    """A rate the matrix units cannot pass."""

    dtype: str                      # bf16, fp8, ...
    peak_flops_per_s: float         # data sheet, dense
    achieved_flops_per_s: float | None   # by large matmuls of this model; None where it is not what bounds them


@dataclass(frozen=True, slots=True)
class Roof:
    """Ceilings of one GPU for one deployment; the first is the one the weights are multiplied under."""

    peak_bytes_per_s: float
    achieved_bytes_per_s: float     # when a matmul streams its weights
    ceilings: tuple[Ceiling, ...]

    @property
    def ridge_flops_per_byte(self) -> float:
        """Textbook ridge: peak rate over peak bandwidth [FLOP/B]."""
        return self.ceilings[0].peak_flops_per_s / self.peak_bytes_per_s

    @property
    def achieved_ridge_flops_per_byte(self) -> float:
        """The same from what is achieved [FLOP/B]."""
        ceiling = self.ceilings[0]
        return (ceiling.achieved_flops_per_s or ceiling.peak_flops_per_s) / self.achieved_bytes_per_s


@dataclass(frozen=True, slots=True)
class Path:
    """Whole steps on the roofline, arrays [sizes]: batch of decodes, or tokens of a prompt."""

    sizes: tuple[int, ...]
    intensity: Floats               # FLOP/B
    flops_per_s: Floats             # achieved over the whole step, overheads included
    seconds: Floats
    shares: tuple[tuple["Share", ...], ...]


@dataclass(frozen=True, slots=True)
class Share:
    """Part of a step, by its name in PARTS_OF."""

    name: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Matrices:
    """All matmuls of a decode step over the batch: the time each roof allows, arrays [batches]."""

    batches: Floats                 # over the whole deployment
    memory_s: Floats
    compute_s: Floats

    def turning(self, doubt: float) -> float | None:
        """The batch at which their arithmetic, quicker by `doubt` [log], outlasts their bytes; None: never."""
        return crossing(self.batches, self.compute_s / self.memory_s, float(np.exp(doubt)))


def roof(spec: ModelSpec, deployment: Deployment) -> Roof:
    """Peaks of the data sheet, and what matmuls of this model reach of them."""
    gpu, engine = deployment.gpu, deployment.engine
    pair = ((spec, deployment),)
    made, rate = work(pair), rates_of(pair, load())
    stack = np.arange(len(made.pair) - 1)                # without lm_head, which stays in 16 bits
    large = matmuls(made, rate, stack, np.array([LARGE_TOKENS]))
    kind = compute(deployment.weights, gpu)
    ceilings = [Ceiling(kind, peak_flops(gpu, kind, engine), float(large.flops.sum() / large.compute_s.sum()))]
    plain = peak_flops(gpu, "bf16", engine)
    if plain != ceilings[0].peak_flops_per_s:
        ceilings.append(Ceiling(_sixteen_bit(deployment), plain, None))
    return Roof(
        gpu.bandwidth_bytes_per_s, float(rate.weights_bandwidth[0]) * gpu.bandwidth_bytes_per_s, tuple(ceilings)
    )


def _sixteen_bit(deployment: Deployment) -> str:
    return next((name for name in ("bf16", "fp16", "fp32") if name in deployment.gpu.flops), "fp32")


def matrices(spec: ModelSpec, deployment: Deployment) -> Matrices:
    """The roofs of all matmuls of a decode step, batch 1 to 16,384 in eighths of an octave."""
    pair = ((spec, deployment),)
    batches = np.exp2(np.arange(0, np.log2(LARGEST_BATCH) + 0.125, 0.125))
    made = work(pair)
    costs = matmuls(made, rates_of(pair, load()), np.arange(len(made.pair)), batches)
    return Matrices(batches * deployment.dp, costs.memory_s.sum(axis=0), costs.compute_s.sum(axis=0))


def weight_stream(spec: ModelSpec, deployment: Deployment) -> tuple[float, float]:
    """Bytes of all matrices on one GPU, and the FLOPs one token does with those it visits.

    Embeddings are looked up, not streamed; every expert counts, for a batch touches them all.
    """
    made: Work = work(((spec, deployment),))
    weights = made.inputs * made.outputs * made.count * made.expert_share
    held = np.where(made.experts > 0, made.experts, 1.0)
    return float((weights * held * made.weight_bytes).sum()), float((2.0 * weights * made.active).sum())


def crossing(batches: Floats, ratio: Floats, level: float = 1.0) -> float | None:
    """The size from which `ratio` stays above `level`, between samples in logs.

    The first size where it is above throughout; None when the last sample is below.
    """
    below = np.flatnonzero(~(ratio > level))
    if below.size and below[-1] == len(ratio) - 1:
        return None
    if not below.size:
        return float(batches[0])
    left = int(below[-1])
    low, high = np.log(ratio[left] / level), np.log(ratio[left + 1] / level)
    part = -low / (high - low)
    return float(np.exp(np.log(batches[left]) * (1 - part) + np.log(batches[left + 1]) * part))


def shares(costs: Sequence[OperatorCost]) -> tuple[Share, ...]:
    """What a step's time is spent on; an operator counts whole under what bounds it."""
    parts = dict.fromkeys(PARTS_OF, 0.0)
    for cost in costs:
        parts[_spent_on(cost)] += cost.seconds
    return tuple(Share(name, seconds) for name, seconds in parts.items() if seconds > 0)


def _spent_on(cost: OperatorCost) -> str:
    if cost.name in PARTS_OF:
        return cost.name
    if cost.bound is not Bound.MEMORY:
        return str(cost.bound)
    return {ATTENTION: "KV cache", PASSES: "activations"}.get(cost.name, "weights")


def decode_path(
    spec: ModelSpec, deployment: Deployment, context: float, batches: Sequence[int] = BATCHES, *, drafted: float = 0.0,
) -> Path:
    """Decode steps over the batch, each request at `context` tokens, with `drafted` tokens to check."""
    return _path(
        tuple(batches), [speed.breakdown(spec, deployment, "decode", n, context, drafted=drafted) for n in batches]
    )


def prefill_path(spec: ModelSpec, deployment: Deployment, longest: int, *, found: float = 0.0) -> Path:
    """Prefills of one prompt, from a few new tokens to `longest`, each behind `found` tokens of the prefix cache."""
    lengths = (*(n for n in (2**power for power in range(4, 21)) if n < longest), longest)
    return _path(
        lengths, [speed.breakdown(spec, deployment, "prefill", 1, found + n, found=found) for n in lengths]
    )


def _path(sizes: tuple[int, ...], steps: Sequence[Sequence[OperatorCost]]) -> Path:
    flops = np.array([sum(cost.flops for cost in step) for step in steps])
    moved = np.array([sum(cost.bytes for cost in step) for step in steps])
    seconds = np.array([sum(cost.seconds for cost in step) for step in steps])
    return Path(
        sizes, flops / moved, flops / seconds, seconds,
        tuple(shares(step) for step in steps),
    )
