"""What limits a phase, operator by operator, and the batch at which decode turns."""

from typing import Final, Literal

import numpy as np

from core.models import ModelSpec
from core.physics.efficiency import load, rates_of
from core.physics.speed.cases import Floats, OperatorCost
from core.physics.speed.matmuls import at_context, join, matmuls
from core.physics.speed.shape import shape
from core.physics.speed.steps import Clock, clock
from core.physics.speed.work import work
from core.terms import Bound, Deployment

LARGEST_BATCH: Final = 2**14


def breakdown(
    spec: ModelSpec, deployment: Deployment, phase: Literal["prefill", "decode"], batch: float, context: float,
) -> tuple[OperatorCost, ...]:
    """Every operator of one decode step at `context`, or of the prefill of `batch` prompts of `context` tokens.

    One GPU's share, all layers of its kind together; overhead and communication come last.
    """
    timer = _clock(spec, deployment)
    one, prompts, length = np.zeros(1, np.intp), np.array([batch / deployment.dp]), np.array([float(context)])
    step = (timer.decode if phase == "decode" else timer.prefill)(one, prompts, length)
    tokens = prompts if phase == "decode" else prompts * length
    out = _matmuls(spec, timer, float(tokens[0]), float(prompts[0]))
    out.append(_attention(timer, phase, prompts, length))
    moved = float((tokens * timer.work.layers * timer.work.hidden * 2 * timer.rates.elementwise_passes)[0])
    passes = float(timer.elementwise(one, tokens)[0])
    out.append(OperatorCost("norms and activations", 0.0, moved, passes, Bound.MEMORY))
    overhead = float((step.overhead + step.host)[0])
    out.append(OperatorCost("overhead", 0.0, 0.0, overhead, Bound.OVERHEAD))
    if deployment.gpus > 1:
        out.append(OperatorCost("communication", 0.0, 0.0, float(step.communication[0]), Bound.COMMUNICATION))
    return tuple(out)


def compute_bound_batch(spec: ModelSpec, deployment: Deployment, context: float) -> float | None:
    """Smallest batch over the deployment at which a decode step spends more on arithmetic than on memory.

    None when it stays memory-bound to a batch of 16,384: the KV cache grows with the batch too.
    """
    timer = _clock(spec, deployment)
    batches = 2.0 ** np.arange(0, np.log2(LARGEST_BATCH) + 0.25, 0.25)
    step = timer.decode(np.zeros(len(batches), np.intp), batches, np.full(len(batches), float(context)))
    turned = np.flatnonzero(step.compute > step.memory)
    return float(batches[turned[0]] * deployment.dp) if len(turned) else None


def _clock(spec: ModelSpec, deployment: Deployment) -> Clock:
    pairs = ((spec, deployment),)
    return clock(work(pairs), rates_of(pairs, load()))


def _matmuls(spec: ModelSpec, timer: Clock, tokens: float, prompts: float) -> list[OperatorCost]:
    """The matrices; lm_head works on one token a prompt."""
    names = shape(spec).names
    chunk = min(tokens, float(timer.work.chunk[0]))
    costs = matmuls(timer.work, timer.rates, np.arange(len(names)), np.array([chunk, prompts]))
    out = []
    for i, name in enumerate(names):
        head = i == len(names) - 1
        column, times = (1, 1.0) if head else (0, tokens / chunk)
        by_memory = costs.memory_s[i, column] >= costs.compute_s[i, column]
        out.append(OperatorCost(
            name, float(costs.flops[i, column] * times), float(costs.bytes[i, column] * times),
            float(costs.seconds[i, column] * times), Bound.MEMORY if by_memory else Bound.COMPUTE,
        ))
    return _merged(out)


def _attention(timer: Clock, phase: str, prompts: Floats, length: Floats) -> OperatorCost:
    """Attention and recurrent state over the cache."""
    w, one = timer.work, np.zeros(1, np.intp)
    if phase == "decode":
        read, mixed = timer.cache(one, prompts, length)
        flops = prompts * at_context(w.decode_flops, one, length)
        moved = prompts * (at_context(w.kv_read, one, length) + 2 * w.state_bytes)
        seconds = join(read, mixed) + timer.state(one, prompts)
        bound = Bound.MEMORY if read[0] >= mixed[0] else Bound.COMPUTE
    else:
        flops = prompts * length * at_context(w.prefill_flops, one, length)
        seconds = timer.prompt_attention(one, prompts * length, length)
        moved = prompts * at_context(w.kv_read, one, length)
        bound = Bound.COMPUTE
    return OperatorCost("attention", float(flops[0]), float(moved[0]), float(seconds[0]), bound)


def _merged(operators: list[OperatorCost]) -> list[OperatorCost]:
    """One line a name: kinds of layers own matrices of the same name; the bound is the longer one's."""
    out: dict[str, OperatorCost] = {}
    for cost in operators:
        known = out.get(cost.name)
        if known is not None:
            longer = max(known, cost, key=lambda c: c.seconds)
            cost = OperatorCost(cost.name, known.flops + cost.flops, known.bytes + cost.bytes,
                                known.seconds + cost.seconds, longer.bound)
        out[cost.name] = cost
    return list(out.values())
