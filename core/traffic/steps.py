"""Step times of one replica, tabulated once so that a simulated step costs a microsecond."""

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np

from core.efficiency import labels, load, rates
from core.models import ModelSpec
from core.speed.steps import clock
from core.speed.work import work
from core.terms import Deployment

CONTEXTS: Final = tuple(float(2**power) for power in range(0, 21))   # mean context per sequence [tokens]
CHUNKS: Final = tuple(float(2 ** (power / 2)) for power in range(0, 35))   # prompt tokens of a step


@dataclass(frozen=True, slots=True)
class StepTable:
    """`StepTimes` of one deployment, interpolated linearly."""

    decode_s: tuple[tuple[float, ...], ...]    # [sequences - 1][CONTEXTS]
    prefill_s: tuple[float, ...]               # [CHUNKS], a step of prompts alone
    interference: float                        # share of a prompt's time that decodes beside it feel

    def seconds(self, decoding: int, context_tokens: float, prefill_tokens: int) -> float:
        """Step of `decoding` sequences holding `context_tokens` in all, and a share of prompts [s]."""
        prompt_s = _interpolate(CHUNKS, self.prefill_s, prefill_tokens) if prefill_tokens else 0.0
        if not decoding:
            return prompt_s
        row = self.decode_s[min(decoding, len(self.decode_s)) - 1]
        step_s = _interpolate(CONTEXTS, row, context_tokens / decoding)
        return step_s + self.interference * prompt_s


def _interpolate(nodes: tuple[float, ...], values: tuple[float, ...], at: float) -> float:
    """Linear between nodes and beyond the last in the last slope."""
    high = min(max(bisect_right(nodes, at), 1), len(nodes) - 1)
    low = high - 1
    part = (at - nodes[low]) / (nodes[high] - nodes[low])
    return values[low] + part * (values[high] - values[low])


def step_table(spec: ModelSpec, deployment: Deployment, max_num_seqs: int) -> StepTable:
    """Tabulates `core.speed`'s steps of one replica of `deployment` up to `max_num_seqs` sequences."""
    pairs = ((spec, deployment),)
    known = rates(labels(pairs), load())
    timer = clock(work(pairs), known)
    sequences = np.arange(1, max_num_seqs + 1, dtype=np.float64)
    batch, context = np.meshgrid(sequences, np.array(CONTEXTS), indexing="ij")
    pair = np.zeros(batch.size, dtype=np.intp)
    decode = timer.decode(pair, batch.ravel(), context.ravel()).seconds.reshape(batch.shape)
    chunks = np.array(CHUNKS)
    prefill = timer.prefill(np.zeros(len(chunks), dtype=np.intp), np.ones(len(chunks)), chunks).seconds
    return StepTable(
        decode_s=tuple(tuple(row) for row in decode.tolist()),
        prefill_s=tuple(prefill.tolist()),
        interference=float(known.interference[0]),
    )
