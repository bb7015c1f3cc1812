"""What limits a phase, operator by operator, and the batch at which decode turns."""

from typing import Final, Literal

import numpy as np

from core.models import ModelSpec
from core.physics.efficiency import load, rates_of
from core.physics.speed.cases import Floats, OperatorCost
from core.physics.speed.hosts import Hosts
from core.physics.speed.matmuls import at_context, join, matmuls
from core.physics.speed.shape import shape
from core.physics.speed.steps import Clock, clock
from core.physics.speed.work import work
from core.terms import Bound, Deployment

LARGEST_BATCH: Final = 2**14
HOST_MEMORY: Final = "weights in host memory"
DRAFTING: Final = "drafting"


def breakdown(
    spec: ModelSpec, deployment: Deployment, phase: Literal["prefill", "decode"], batch: float, context: float,
    *, found: float = 0.0, drafted: float = 0.0,
) -> tuple[OperatorCost, ...]:
    """Every operator of one decode step at `context`, or of the prefill of `batch` prompts of `context` tokens.

    Of each prompt `found` tokens are in the prefix cache: attended to, not computed. A decode step checks `drafted`
    more tokens per sequence. One GPU's share, all layers of its kind together; overhead and communication come last.
    """
    timer = _clock(spec, deployment)
    one, prompts, length = np.zeros(1, np.intp), np.array([batch / deployment.dp]), np.array([float(context)])
    if phase == "decode":
        step, tokens = timer.decode(one, prompts, length, drafted), prompts * (1 + drafted)
    else:
        step, tokens = timer.prefill(one, prompts, length - found, found=found), prompts * (length - found)
    rows = prompts * (1 + drafted) if phase == "decode" else prompts
    out = _matmuls(spec, timer, float(tokens[0]), float(rows[0]))
    out.append(_attention(timer, phase, prompts, length, found, drafted))
    moved = float((tokens * timer.work.layers * timer.work.hidden * 2 * timer.rates.elementwise_passes)[0])
    passes = float(timer.elementwise(one, tokens)[0])
    out.append(OperatorCost("norms and activations", 0.0, moved, passes, Bound.MEMORY))
    out += _shown(timer, phase, prompts) + _adapted(timer, tokens)
    if timer.work.hosts is not None:
        out = _on_the_gpu(out, timer.work.hosts)
    if timer.work.hosts is not None or drafted:
        rest = float((step.memory + step.compute)[0]) - sum(cost.seconds for cost in out)
        out.append(OperatorCost(DRAFTING if drafted else HOST_MEMORY, 0.0, 0.0, max(0.0, rest), Bound.MEMORY))
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
    """The matrices; lm_head works on the last token of each prompt, and on all that a decode step checks."""
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


def _on_the_gpu(operators: list[OperatorCost], hosts: Hosts) -> list[OperatorCost]:
    """What is left of the operators on the GPU where part of the layers is on the host."""
    layers = float(hosts.layers_share[0])
    shares = {"lm_head": float(hosts.head_share[0]), "attention": layers, "norms and activations": layers}
    parts = [(cost, shares.get(cost.name, float(hosts.stack_share[0]))) for cost in operators]
    return [OperatorCost(c.name, c.flops * part, c.bytes * part, c.seconds * part, c.bound) for c, part in parts]


def _attention(
    timer: Clock, phase: str, prompts: Floats, length: Floats, found: float, drafted: float
) -> OperatorCost:
    """Attention and recurrent state over the cache."""
    w, one = timer.work, np.zeros(1, np.intp)
    if phase == "decode":
        read, mixed = timer.cache(one, prompts, length)
        mixed = mixed * (1 + drafted)
        flops = prompts * (1 + drafted) * at_context(w.decode_flops, one, length)
        moved = prompts * (at_context(w.kv_read, one, length) + 2 * w.state_bytes)
        seconds = join(read, mixed) + timer.state(one, prompts)
        bound = Bound.MEMORY if read[0] >= mixed[0] else Bound.COMPUTE
    else:
        cached = np.array([found])
        flops = prompts * (length * at_context(w.prefill_flops, one, length)
                           - cached * at_context(w.prefill_flops, one, np.maximum(cached, 1.0)))
        seconds = timer.prompt_attention(one, prompts * (length - found), length - found, found)
        moved = prompts * at_context(w.kv_read, one, length)
        bound = Bound.COMPUTE
    return OperatorCost("attention", float(flops[0]), float(moved[0]), float(seconds[0]), bound)


def _shown(timer: Clock, phase: str, prompts: Floats) -> list[OperatorCost]:
    """The vision tower over the images of the prompts, where they have some."""
    seeing = timer.work.seeing
    if seeing is None or phase == "decode":
        return []
    seconds = float(np.ravel(prompts * timer.seeing(np.zeros(1, np.intp)))[0])
    return [OperatorCost("vision tower", float((prompts * seeing)[0]), 0.0, seconds, Bound.COMPUTE)]


def _adapted(timer: Clock, tokens: Floats) -> list[OperatorCost]:
    """LoRA adapters beside the matmuls, where there are some; their launches are overhead."""
    adapters = timer.work.adapters
    if adapters is None:
        return []
    read, multiply = timer.adapters_s(adapters, np.zeros(1, np.intp), tokens)
    moved = np.minimum(tokens, adapters.count) * adapters.bytes
    bound = Bound.MEMORY if read[0] >= multiply[0] else Bound.COMPUTE
    return [OperatorCost("LoRA adapters", float((tokens * adapters.flops)[0]), float(moved[0]),
                         float((read + multiply)[0]), bound)]


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
