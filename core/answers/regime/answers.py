"""Three questions people ask of a roofline, answered with the figures they rest on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.answers.regime.roofline import ATTENTION, crossing, matrices, roof, weight_stream
from core.answers.sweep import Refusal
from core.models import ModelSpec
from core.physics import memory, speed
from core.physics.ask import Load, desk
from core.products.formats import FORMATS, Format
from core.products.kernels import pointless
from core.terms import Deployment, Workload

Floats: TypeAlias = NDArray[np.float64]

# Four-bit weights by preference, and what they are compared with: the first of each that runs here.
FOUR_BIT: Final = ("awq-int4", "gptq-int4", "int4", "gguf-Q4_K_M")
EIGHT_BIT: Final = ("fp8", "w8a8-int8", "gguf-Q8_0")
SIXTEEN_BIT: Final = ("bf16", "fp16")
LONGEST_CONTEXT: Final = 2.0**24     # tokens; beyond every model
CLOSE: Final = 1.001
WORTH: Final = 1.02                  # a smaller lead is none: no estimate can tell it


@dataclass(frozen=True, slots=True)
class MemoryBound:
    """Up to which batch a decode step is memory-bound, and the arithmetic behind it, per GPU."""

    context: float                  # tokens each request holds
    batch: float | None             # operator model; None: memory-bound at any batch
    matrices_batch: float | None    # the matmuls alone, without the cache
    matrices_low: float | None      # the same were their arithmetic slower, and faster, by the doubt
    matrices_high: float | None
    textbook_batch: float           # ridge x weight bytes / FLOPs of a token: data-sheet peaks, no cache
    ridge_flops_per_byte: float     # data sheet
    achieved_ridge_flops_per_byte: float
    weight_bytes: float             # streamed once a step
    flops_per_token: float          # in the matrices
    token_compute_s: float          # arithmetic one more request adds, at the achieved rate
    cache_bytes: float              # one request's cache
    cache_s: float                  # reading it, which one more request adds too
    cache_flops_per_byte: float     # of decode attention, whatever the batch
    free_context: float             # tokens of context at which both are equal


def memory_bound(spec: ModelSpec, deployment: Deployment, context: float, *, doubt: float) -> MemoryBound:
    """Where decode turns from memory to compute at `context` tokens per request.

    `doubt`: how far the ratio of arithmetic to bytes may be off [log], as far as TPOT may.

    A batch of B streams the weights W once, reads B caches K and does B times the FLOPs F:
    memory-bound while W/bw + B K/bw > B F/rate, so never compute-bound when K/bw > F/rate.
    """
    limits, alone = roof(spec, deployment), matrices(spec, deployment)
    weight_bytes, flops = weight_stream(spec, deployment)
    attention = next(c for c in speed.breakdown(spec, deployment, "decode", deployment.dp, context)
                     if c.name == ATTENTION)
    achieved = limits.ceilings[0].achieved_flops_per_s or limits.ceilings[0].peak_flops_per_s
    token_s = flops / achieved
    return MemoryBound(
        context=context,
        batch=speed.compute_bound_batch(spec, deployment, context),
        matrices_batch=alone.turning(0.0), matrices_low=alone.turning(-doubt), matrices_high=alone.turning(doubt),
        textbook_batch=limits.ridge_flops_per_byte * weight_bytes / flops * deployment.dp,
        ridge_flops_per_byte=limits.ridge_flops_per_byte,
        achieved_ridge_flops_per_byte=limits.achieved_ridge_flops_per_byte,
        weight_bytes=weight_bytes,
        flops_per_token=flops,
        token_compute_s=token_s,
        cache_bytes=attention.bytes,
        cache_s=attention.seconds,
        cache_flops_per_byte=attention.intensity,
        free_context=context * token_s / attention.seconds if attention.seconds else float("inf"),
    )


@dataclass(frozen=True, slots=True)
class Rival:
    """Another format against INT4, where everything else stays."""

    format: Format
    at_one: float                   # INT4's decode speed relative to it at one request
    at_plan: float                  # the same at the plan's batch
    prefill: float                  # INT4's prefill speed relative to it
    stops: float | None             # batch from which INT4 leads by less than 2 %; None: not up to the largest
    stops_low: float | None         # the same were INT4 slower, and faster, by the margin
    stops_high: float | None
    matrices_batch: float | None    # its own matmuls turn compute-bound here
    textbook_batch: float
    weight_bytes: float             # streamed a step on one GPU
    relative: Floats                # [batches] INT4's decode speed relative to it


@dataclass(frozen=True, slots=True)
class FormatRace:
    """From which batch INT4 stops paying here."""

    format: Format | None           # INT4 as it runs here; None when it does not
    own: Rival | None               # INT4 against itself: its bytes and where its matmuls turn
    rivals: tuple[Rival, ...]
    batches: tuple[int, ...]
    left_out: tuple[Refusal, ...]


RACE_BATCHES: Final = tuple(sorted({round(2 ** (n / 2)) for n in range(25)}))    # 1 to 4,096


def format_race(
    spec: ModelSpec, deployment: Deployment, workload: Workload, batch: float, *, margin: float
) -> FormatRace:
    """INT4 against eight and sixteen bits over the batch, the mean decode step alone, memory left aside.

    `margin`: how far apart two formats must be estimated for the order to be trusted [log].
    """
    left_out: list[Refusal] = []
    found = [_first(kind, deployment, left_out) for kind in (FOUR_BIT, EIGHT_BIT, SIXTEEN_BIT)]
    four = found[0]
    if four is None:
        return FormatRace(None, None, (), RACE_BATCHES, tuple(left_out))
    runs = [four, *(fmt for fmt in found[1:] if fmt)]
    layouts = tuple(replace(deployment, weights=fmt) for fmt in runs)
    sizes = np.array([*RACE_BATCHES, batch], float)
    tpot, ttft = _static_times(spec, layouts, sizes, workload)
    contests = []
    for index, layout in enumerate(layouts):
        relative = tpot[index, :-1] / tpot[0, :-1]
        lost = 1 / relative
        stops, low, high = (crossing(sizes[:-1], lost, np.exp(by) / WORTH) for by in (0.0, -margin, margin))
        weight_bytes, flops = weight_stream(spec, layout)
        contests.append(Rival(
            format=layout.weights, at_one=float(relative[0]), at_plan=float(tpot[index, -1] / tpot[0, -1]),
            prefill=float(ttft[index] / ttft[0]), stops=stops, stops_low=low, stops_high=high,
            matrices_batch=matrices(spec, layout).turning(0.0),
            textbook_batch=roof(spec, layout).ridge_flops_per_byte * weight_bytes / flops,
            weight_bytes=weight_bytes, relative=relative,
        ))
    return FormatRace(four, contests[0], tuple(contests[1:]), RACE_BATCHES, tuple(left_out))


def _first(names: tuple[str, ...], deployment: Deployment, left_out: list[Refusal]) -> Format | None:
    """The first format that runs here; the reason of the most usual one where another had to step in."""
    reasons: list[Refusal] = []
    for name in names:
        reason = pointless(FORMATS[name], deployment.gpu, deployment.engine)
        if reason is None:
            left_out += reasons[:1]
            return FORMATS[name]
        reasons.append(Refusal(FORMATS[name].label, reason))
    left_out += reasons[:1]
    return None


def _static_times(
    spec: ModelSpec, layouts: tuple[Deployment, ...], sizes: Floats, workload: Workload
) -> tuple[Floats, Floats]:
    """TPOT [layouts, sizes] of batches that start together, and TTFT [layouts] of one prompt, in seconds."""
    rows = np.repeat(np.arange(len(layouts)), len(sizes))
    answer = max(2.0, float(workload.output_tokens))        # a single token has no time per further token
    load = replace(
        Load.of(workload), static=True, concurrency=np.tile(sizes, len(layouts)), output_tokens=answer
    )
    seen = desk((spec, layout) for layout in layouts).predict(load, rows, endless=True)
    shape = len(layouts), len(sizes)
    return seen.tpot_s.value.reshape(shape), seen.ttft_s.value.reshape(shape)[:, 0]


@dataclass(frozen=True, slots=True)
class CacheWeight:
    """From which context on the KV cache outweighs the weights, on one GPU."""

    requests: float                 # in flight on one replica
    weight_bytes: float             # resident
    cache_bytes_per_token: float    # one request's, once every window is full
    context: float | None           # all requests together; None: never, whatever the context
    context_of_one: float | None    # a single request
    reading_context: float | None   # where reading the caches takes longer than streaming the weights
    at_plan: float                  # cache over weights at the workload's context
    plan_context: int


def cache_outweighs(spec: ModelSpec, deployment: Deployment, workload: Workload, batch: float) -> CacheWeight:
    """The context at which `batch` requests' caches are as large as the weights.

    Raises HardwareError where the GPU has no memory figure.
    """
    taken = memory.footprint(spec, deployment)
    weights, requests = taken.term("weights").bytes, batch / deployment.dp
    far = float(taken.cache.sequence_bytes(LONGEST_CONTEXT)) - float(taken.cache.sequence_bytes(LONGEST_CONTEXT / 2))
    at = workload.context_tokens
    return CacheWeight(
        requests=requests,
        weight_bytes=weights,
        cache_bytes_per_token=far / (LONGEST_CONTEXT / 2),
        context=_reaches(lambda tokens: requests * float(taken.cache.sequence_bytes(tokens)), weights),
        context_of_one=_reaches(lambda tokens: float(taken.cache.sequence_bytes(tokens)), weights),
        reading_context=_reading_context(spec, deployment, batch),
        at_plan=float(taken.cache.load_bytes(requests, at, workload.shared_tokens)) / weights,
        plan_context=at,
    )


def _reading_context(spec: ModelSpec, deployment: Deployment, batch: float) -> float | None:
    """The context from which a decode step spends longer on caches than on matrices."""
    def surplus(tokens: float) -> float:
        step = speed.breakdown(spec, deployment, "decode", batch, tokens)
        matmuls = sum(c.seconds for c in step if c.flops and c.name != ATTENTION)
        return sum(c.seconds for c in step if c.name == ATTENTION) / matmuls
    return _reaches(surplus, 1.0)


def _reaches(measure: Callable[[float], float], level: float) -> float | None:
    """The fewest tokens at which a rising `measure` is at `level`, to 0.1 %; None when it never is."""
    low, high = 1.0, LONGEST_CONTEXT
    if measure(high) < level:
        return None
    if measure(low) >= level:
        return low
    while high / low > CLOSE:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if measure(middle) >= level else (middle, high)
    return high
