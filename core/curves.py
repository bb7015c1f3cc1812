"""One deployment seen from around it: over the batch, against other formats, over batch and context.

These are the curves a plan is drawn with. All times come from `core.speed`, all memory from
`core.memory`; beyond the memory limit the curves go on as if there were memory, and say so.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.formats import FORMATS, Format, unsupported
from core.memory import footprint
from core.models import ModelSpec
from core.speed import Cases, Prediction, Range, predict
from core.terms import Deployment, Workload

Floats = NDArray[np.float64]

BATCHES: Final = tuple(2**power for power in range(11))
CONTEXTS: Final = tuple(2**power for power in range(10, 18))
# One of each kind: what a server is usually offered. Others differ by their scales only.
COMPARED: Final = ("bf16", "fp8", "w8a8-int8", "int8", "awq-int4", "nvfp4", "gguf-Q8_0", "gguf-Q4_K_M")
VARIED: Final = {"concurrency": "requests", "input_tokens": "prompt", "output_tokens": "answer"}
TIE: Final = 0.02               # closer than this, no estimate can tell two formats apart
SIXTEEN_BIT: Final = ("bf16", "fp16")
KNEE_ELASTICITY: Final = 0.5    # below it, doubling the batch adds less than 2**0.5 - 1 = 41 % of throughput


@dataclass(frozen=True, slots=True)
class BatchCurve:
    """Speed over the requests in flight, arrays [batches], for the whole deployment."""

    batches: tuple[int, ...]
    ttft_s: Range
    tpot_s: Range
    output_tokens_per_s: Range
    memory_limit: float            # requests the KV cache holds at the end of an answer
    knee: float | None             # requests from which batching pays less; None: not on this curve


@dataclass(frozen=True, slots=True)
class FormatCurves:
    """Decode speed of weight formats relative to the first, arrays [batches]."""

    batches: tuple[int, ...]
    formats: tuple[Format, ...]    # the first is the 16-bit baseline
    relative: tuple[Floats, ...]

    @property
    def leaders(self) -> tuple[tuple[int, Format], ...]:
        """The fastest format from each batch on: (batch, format), a new entry wherever the lead changes.

        A format leads when it is ahead of the next by more than `TIE`; until then the lead stays.
        """
        found: list[tuple[int, int]] = []
        for column, batch in enumerate(self.batches):
            speeds = [line[column] for line in self.relative]
            best = int(np.argmax(speeds))
            if not found or speeds[best] > speeds[found[-1][1]] * (1 + TIE):
                found.append((batch, best))
        return tuple((batch, self.formats[index]) for batch, index in found)


@dataclass(frozen=True, slots=True)
class ContextGrid:
    """Speed and memory over context and batch, arrays [contexts, batches]."""

    batches: tuple[int, ...]
    contexts: tuple[int, ...]
    tpot_s: Floats
    ttft_s: Floats
    output_tokens_per_s: Floats
    memory_used: Floats            # share of the KV cache that the requests fill
    meets: NDArray[np.bool_]       # both SLOs

    @property
    def fits(self) -> NDArray[np.bool_]:
        return self.memory_used <= 1.0


@dataclass(frozen=True, slots=True)
class Variation:
    """The same deployment under another load."""

    says: str                      # "twice the requests"
    workload: Workload
    ttft_s: float
    tpot_s: float
    output_tokens_per_s: float
    fits: bool


def batch_curve(
    spec: ModelSpec, deployment: Deployment, workload: Workload, batches: Sequence[int] = BATCHES
) -> BatchCurve:
    """Times and throughput of a deployment over the requests in flight."""
    lengths = np.full(len(batches), float(workload.input_tokens)), np.full(len(batches), float(workload.output_tokens))
    seen = _predict(spec, (deployment,), np.zeros(len(batches), np.intp), np.asarray(batches, float), *lengths)
    rate = _times(seen.output_tokens_per_s_per_gpu, deployment.gpus)
    limit = float(footprint(spec, deployment).max_concurrency(workload.context_tokens)) * deployment.dp
    return BatchCurve(tuple(batches), seen.ttft_s, seen.tpot_s, rate, limit, knee(batches, rate.value))


def knee(batches: Sequence[int], throughput: Floats) -> float | None:
    """The batch from which doubling it adds less than 41 % of throughput, or None on a curve without one.

    That is where the elasticity d ln(throughput) / d ln(batch) falls through 1/2: for a step of
    fixed + batch * share seconds, where the requests' own share has grown as large as what they split.
    """
    elasticity = np.diff(np.log(throughput)) / np.diff(np.log(np.asarray(batches, float)))
    middle = np.log2(np.asarray(batches[:-1], float)) + np.diff(np.log2(np.asarray(batches, float))) / 2
    below = np.flatnonzero(elasticity < KNEE_ELASTICITY)
    if below.size == 0 or below[0] == 0:
        return None
    left, right = below[0] - 1, below[0]
    share = (elasticity[left] - KNEE_ELASTICITY) / (elasticity[left] - elasticity[right])
    return float(2.0 ** (middle[left] + share * (middle[right] - middle[left])))


def format_curves(
    spec: ModelSpec, deployment: Deployment, workload: Workload, batches: Sequence[int] = BATCHES
) -> FormatCurves:
    """Decode speed of the formats with kernels on this GPU, relative to 16 bits, all else kept.

    The mean decode step alone, without prefills in between: that is where formats differ.
    The deployment's own format is always among them.
    """
    formats = _compared(deployment)
    pairs = tuple(replace(deployment, weights=fmt) for fmt in formats)
    rows = np.repeat(np.arange(len(formats)), len(batches))
    answer = max(2.0, float(workload.output_tokens))        # a single token has no time per further token
    lengths = np.full(rows.size, float(workload.input_tokens)), np.full(rows.size, answer)
    seen = _predict(spec, pairs, rows, np.tile(np.asarray(batches, float), len(formats)), *lengths, static=True)
    step_s = seen.tpot_s.value.reshape(len(formats), len(batches))
    return FormatCurves(tuple(batches), formats, tuple(step_s[0] / step_s))


def context_grid(
    spec: ModelSpec, deployment: Deployment, workload: Workload,
    batches: Sequence[int] = BATCHES, contexts: Sequence[int] = CONTEXTS,
) -> ContextGrid:
    """Times and cache use over context and batch; the answer keeps its length, up to half the context."""
    contexts = tuple(c for c in contexts if spec.max_context is None or c <= spec.max_context) or (contexts[0],)
    length, batch = (grid.ravel() for grid in np.meshgrid(np.asarray(contexts, float), np.asarray(batches, float),
                                                          indexing="ij"))
    output = np.minimum(float(workload.output_tokens), length / 2)
    seen = _predict(spec, (deployment,), np.zeros(length.size, np.intp), batch, length - output, output)
    most = np.asarray(footprint(spec, deployment).max_concurrency(length), float) * deployment.dp
    with np.errstate(divide="ignore"):
        used = np.where(most > 0, batch / np.maximum(most, 1e-12), np.inf)
    meets = (seen.tpot_s.value <= workload.tpot_slo_s) & (seen.ttft_s.value <= workload.ttft_slo_s)
    shape = len(contexts), len(batches)
    return ContextGrid(
        tuple(batches), contexts, seen.tpot_s.value.reshape(shape), seen.ttft_s.value.reshape(shape),
        (seen.output_tokens_per_s_per_gpu.value * deployment.gpus).reshape(shape),
        used.reshape(shape), meets.reshape(shape),
    )


def variations(spec: ModelSpec, deployment: Deployment, workload: Workload) -> tuple[Variation, ...]:
    """The deployment under other loads: requests, prompts and answers halved and doubled."""
    changes = [
        (f"{'half' if factor < 1 else 'twice'} the {words}", replace(workload, **{field: value}))
        for field, words in VARIED.items()
        for factor in (0.5, 2.0)
        if (value := round(factor * getattr(workload, field))) >= 1
    ]
    loads = [load for _, load in changes]
    columns = np.array([(load.concurrency, load.input_tokens, load.output_tokens) for load in loads], float).T
    seen = _predict(spec, (deployment,), np.zeros(len(loads), np.intp), *columns)
    memory = footprint(spec, deployment)
    return tuple(
        Variation(
            says, load, float(seen.ttft_s.value[row]), float(seen.tpot_s.value[row]),
            float(seen.output_tokens_per_s_per_gpu.value[row]) * deployment.gpus,
            load.concurrency <= float(memory.max_concurrency(load.context_tokens)) * deployment.dp,
        )
        for row, (says, load) in enumerate(changes)
    )


def _compared(deployment: Deployment) -> tuple[Format, ...]:
    """The 16-bit format of this GPU, the deployment's own, and one of each kind that runs here."""
    gpu, engine = deployment.gpu, deployment.engine
    baseline = "bf16" if unsupported(FORMATS["bf16"], gpu, engine) is None else "fp16"
    others = [name for name in COMPARED if name != "bf16" and unsupported(FORMATS[name], gpu, engine) is None]
    own = baseline if deployment.weights.name in SIXTEEN_BIT else deployment.weights.name
    names = dict.fromkeys([baseline, own, *others])
    return tuple(FORMATS[name] for name in names)


def _predict(
    spec: ModelSpec, deployments: tuple[Deployment, ...], which: NDArray[np.intp],
    concurrency: Floats, inputs: Floats, outputs: Floats, *, static: bool = False,
) -> Prediction:
    """Every row without a limit of memory: in continuous batching, or as a batch that starts together."""
    return predict(Cases(
        pairs=tuple((spec, deployment) for deployment in deployments),
        which=which,
        static=np.full(which.size, static),
        concurrency=concurrency,
        input_tokens=inputs,
        output_tokens=outputs,
        kv_tokens=np.full(len(deployments), np.inf),
    ))


def _times(rate: Range, factor: float) -> Range:
    return Range(rate.value * factor, rate.low * factor, rate.high * factor)
