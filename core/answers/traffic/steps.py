"""Step times of one replica, tabulated once so that a simulated step costs a microsecond."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.models import ModelSpec
from core.physics.efficiency import load, rates_of
from core.physics.speed.steps import Clock, clock
from core.physics.speed.work import CONTEXTS as SPEED_CONTEXTS
from core.physics.speed.work import work
from core.terms import Deployment

CONTEXTS: Final = tuple(SPEED_CONTEXTS.tolist())    # mean context per sequence [tokens]
_HALF_OCTAVES: Final = 2.0
MID_STEP: Final = 0.5           # of a step: what a simulated request waits for the one under way, on average

Nodes = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class StepTable:
    """`StepTimes` of one deployment, interpolated linearly."""

    decode_s: tuple[Nodes, ...]     # [sequences - 1][CONTEXTS]
    chunks: Nodes                   # prompt tokens of a step
    beside: Nodes                   # sequences that decode in the same step; the first is 0: prompts alone
    prompt_s: tuple[Nodes, ...]     # [beside][chunks], what the prompts add, without their attention
    attention: Nodes                # [CONTEXTS] attention of a prompt of that length, per token of it [s]
    interference: float             # share of a prompt's time that decodes beside it feel
    max_num_batched_tokens: int
    max_num_seqs: int
    request_s: float                # a request's time outside of the engine, and its images'
    extra_steps: float              # steps of a first token beside half of the one under way

    def seconds(self, decoding: int, context_tokens: float, prefill_tokens: int) -> float:
        """Step of `decoding` sequences holding `context_tokens` in all, and a share of prompts [s]."""
        prompt_s = self.prompts_s(decoding, prefill_tokens) if prefill_tokens else 0.0
        if not decoding:
            return prompt_s
        row = self.decode_s[min(decoding, len(self.decode_s)) - 1]
        return _interpolate(CONTEXTS, row, context_tokens / decoding) + self.interference * prompt_s

    def attention_s(self, start: int, end: int) -> float:
        """What tokens `start` to `end` of a prompt add to it by attending to all before them [s]."""
        whole = end * _interpolate(CONTEXTS, self.attention, end)
        return whole - start * _interpolate(CONTEXTS, self.attention, start) if start else whole

    def prompts_s(self, decoding: int, tokens: int) -> float:
        """What prompt tokens add to a step of `decoding` sequences, without their attention [s]."""
        high = min(bisect_right(self.beside, decoding), len(self.beside) - 1)
        low = high - 1
        if not decoding:
            return _interpolate(self.chunks, self.prompt_s[0], tokens)
        part = (decoding - self.beside[low]) / (self.beside[high] - self.beside[low]) if low else 1.0
        few, many = (_interpolate(self.chunks, self.prompt_s[i], tokens) for i in (low or 1, high))
        return few + part * (many - few)


def _interpolate(nodes: Nodes, values: Nodes, at: float) -> float:
    """Linear between nodes and beyond the last in the last slope."""
    high = min(max(bisect_right(nodes, at), 1), len(nodes) - 1)
    low = high - 1
    part = (at - nodes[low]) / (nodes[high] - nodes[low])
    return values[low] + part * (values[high] - values[low])


def step_table(spec: ModelSpec, deployment: Deployment, drafted: int = 0, gained: float = 1.0) -> StepTable:
    """Tabulates `core.physics.speed`'s steps of one replica of `deployment` up to the sequences its engine seats.

    With a drafter a decode step checks `drafted` tokens and yields `gained`: it is tabulated per token it yields.
    """
    pairs = ((spec, deployment),)
    known = rates_of(pairs, load())
    timer = clock(work(pairs), known)
    seats, budget = int(timer.work.default_seats[0]), int(timer.work.chunk[0])
    chunks, beside = _half_octaves(budget), np.concatenate([[0.0], _half_octaves(seats)])
    return StepTable(
        decode_s=_decode(timer, seats, drafted, gained),
        chunks=tuple(chunks.tolist()),
        beside=tuple(beside.tolist()),
        prompt_s=tuple(_prompts(timer, chunks, count) for count in beside.tolist()),
        attention=tuple(_attention(timer, np.array(CONTEXTS)).tolist()),
        interference=float(known.interference[0]),
        max_num_batched_tokens=budget,
        max_num_seqs=seats,
        request_s=float(known.request_s[0]) + float(np.ravel(timer.seeing(np.zeros(1, np.intp)))[0]),
        extra_steps=max(0.0, float(known.wait_steps[0]) - MID_STEP),
    )


def _half_octaves(last: int) -> NDArray[np.float64]:
    """1, 1.4, 2 ... and `last` itself; at least two nodes."""
    steps = int(np.ceil(_HALF_OCTAVES * np.log2(max(last, 2))))
    return np.unique(np.append(2.0 ** (np.arange(steps) / _HALF_OCTAVES), float(max(last, 2))))


def _decode(timer: Clock, seats: int, drafted: int, gained: float) -> tuple[Nodes, ...]:
    batch, context = np.meshgrid(np.arange(1.0, seats + 1), np.array(CONTEXTS), indexing="ij")
    pair = np.zeros(batch.size, dtype=np.intp)
    seconds = timer.decode(pair, batch.ravel(), context.ravel(), float(drafted)).seconds.reshape(batch.shape) / gained
    return tuple(tuple(row) for row in seconds.tolist())


def _prompts(timer: Clock, chunks: NDArray[np.float64], beside: float) -> Nodes:
    """A step's prompts less their attention, alone or beside that many decoding sequences [s]."""
    pair, one = np.zeros(len(chunks), dtype=np.intp), np.ones(len(chunks))
    others = np.full(len(chunks), beside) if beside else None
    seconds = timer.prefill(pair, one, chunks, others).seconds - chunks * _attention(timer, chunks)
    seconds = seconds - timer.seeing(pair)         # once for each request, not for each of its chunks
    return tuple(seconds.tolist())


def _attention(timer: Clock, tokens: NDArray[np.float64]) -> NDArray[np.float64]:
    """Attention of a prompt of that many tokens, per token of it [s]."""
    flops = np.interp(tokens, SPEED_CONTEXTS, timer.work.prefill_flops[0])
    return np.asarray(flops / (timer.rates.attention_rate * timer.work.peak_16bit)[0])
