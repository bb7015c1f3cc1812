"""Prefill and decode on workers of their own: prompts never stall answers, and each cache crosses a link once."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import Final

import numpy as np

from core.basics.errors import InputError
from core.models import ModelSpec
from core.physics import memory, speed
from core.physics.efficiency import loads
from core.physics.memory.identity import SpecKey
from core.physics.shapes import misfit
from core.physics.speed.steps import Clock
from core.terms import Deployment

MOST_GPUS: Final = 144           # of one worker


@dataclass(frozen=True, slots=True)
class Pool:
    """Workers of one kind."""

    gpus: int                    # of one worker
    workers: int | None = None   # None: as many as the other kind keeps busy


@dataclass(frozen=True, slots=True)
class Apart:
    """What the two kinds of workers do together."""

    ttft_s: float
    tpot_s: float
    output_tokens_per_s_per_gpu: float
    prefill: Deployment          # of one worker
    decode: Deployment
    prefill_workers: int
    decode_workers: int
    transfer_s: float            # of one prompt's cache


def worker(spec: ModelSpec, base: Deployment, gpus: int) -> tuple[Deployment, ...]:
    """Ways to split one worker that fit: matrices over its GPUs, or experts over them and attention on each.

    Where neither holds the model, more GPUs are taken, twice as many each time. Raises InputError where none does.
    """
    while gpus <= MOST_GPUS:
        ways = [replace(base, tp=gpus, dp=1, ep=1), replace(base, tp=1, dp=gpus, ep=gpus)]
        known = ways if spec.is_moe else ways[:1]
        fitting = [way for way in known if misfit(spec, way) is None and memory.footprint(spec, way).fits]
        if fitting:
            return tuple(fitting)
        gpus *= 2
    raise InputError(f"{spec.name} does not fit on one worker of up to {MOST_GPUS} x {base.gpu.name}.")


@lru_cache(maxsize=512)
def _clock(key: SpecKey, d: Deployment) -> Clock:
    return speed.timed([(key.spec, d)]).clock


def _one(value: float) -> np.ndarray:
    return np.array([float(value)])


_PAIR: Final = np.zeros(1, np.intp)


def _steps(
    spec: ModelSpec, ways: tuple[Deployment, ...], concurrency: float, context: float, workers: int | None,
) -> Iterator[tuple[float, int, Deployment]]:
    """Seconds of a decode step, workers that hold the requests, and the way, for every way to split one."""
    for d in ways:
        held = max(1.0, float(memory.footprint(spec, d).max_concurrency(context))) * d.dp
        count = workers or max(1, ceil(concurrency / held))
        batch = max(1.0, min(concurrency / count, held) / d.dp)
        yield float(_clock(SpecKey(spec), d).decode(_PAIR, _one(batch), _one(context)).seconds[0]), count, d


def apart(
    spec: ModelSpec, base: Deployment, prefill: Pool, decode: Pool,
    concurrency: float, input_tokens: float, output_tokens: float,
) -> Apart:
    """TTFT, TPOT and rate of `concurrency` requests in flight over both kinds of workers.

    Decoding steps carry no prompts. Prompts queue for the workers of their kind: those ahead of one grow a little
    slower than the requests that each worker serves. Constants: assets/load_constants.csv, with their errors.
    """
    context = input_tokens + output_tokens / 2
    step, deciders, way = min(
        _steps(spec, worker(spec, base, decode.gpus), concurrency, context, decode.workers), key=lambda one: one[0])
    tpot = step * loads.of_engine("apart_step", base.engine)
    starts = [(float(_clock(SpecKey(spec), d).prefill(_PAIR, _one(1.0), _one(input_tokens)).seconds[0]), d)
              for d in worker(spec, base, prefill.gpus)]
    own, start = min(starts, key=lambda one: one[0] / one[1].dp)
    alone = min(seconds for seconds, _ in starts)
    answering = max(output_tokens * tpot, own)
    starters = prefill.workers or max(1, ceil(own / start.dp * concurrency / answering))
    waiting = concurrency / starters / start.dp
    ahead = loads.constant("apart_ahead") * waiting ** loads.constant("apart_ahead_exponent")
    moved = float(spec.kv_bytes(input_tokens, base.kv_cache, start.tp))
    transfer = moved / base.gpu.link_bytes_per_s_among(2 * way.gpus)
    ttft = loads.of_engine("apart_first_s", base.engine) + alone + own * ahead + transfer
    rate = concurrency * output_tokens / (ttft + max(0.0, output_tokens - 1) * tpot)
    gpus = starters * start.gpus + deciders * way.gpus
    return Apart(ttft, tpot, rate / gpus, start, way, starters, deciders, transfer)
