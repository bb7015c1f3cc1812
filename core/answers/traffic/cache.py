"""The share of a simulated replica's KV cache that a request takes by its own length."""

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from core.models import Tokens

FULL: Final = 1 + 1e-9          # of shares added up; the rest is what adding and taking away may leave behind
BLOCK_TOKENS: Final = 16        # lengths are told apart by so many tokens; vLLM's blocks are a multiple of it
_STRAIGHT: Final = 0.01         # slopes closer than that are one

# Requests that the whole cache holds when each has that many tokens: `Footprint.max_concurrency`.
Holds = Callable[[NDArray[np.float64]], Tokens]


def shares(holds: Holds, tokens: NDArray[np.int64]) -> NDArray[np.float64]:
    """Share of the cache that a request of each length (>= 1) takes, its last block whole; above 1 it does not fit."""
    length = np.ceil(tokens / BLOCK_TOKENS) * BLOCK_TOKENS
    with np.errstate(divide="ignore"):
        return np.broadcast_to(1 / np.asarray(holds(length)), length.shape)


def shares_by_block(holds: Holds, most_tokens: int) -> list[float]:
    """The same, to be looked up: [blocks] share of a request of 0, 1, 2 ... blocks, up to `most_tokens`."""
    return [0.0, *shares(holds, BLOCK_TOKENS * np.arange(1, -(-most_tokens // BLOCK_TOKENS) + 1)).tolist()]


def bends(by_block: list[float]) -> tuple[int, ...]:
    """Lengths, powers of two, from where a token takes more or less than before [tokens]: a window is full."""
    nodes = [2**power for power in range((len(by_block) - 1).bit_length())]
    slopes = np.diff([by_block[node] for node in nodes]) / np.diff(nodes)
    bent = np.abs(np.diff(slopes)) > _STRAIGHT * slopes[1:]
    return tuple(BLOCK_TOKENS * node for node, turns in zip(nodes[1:-1], bent.tolist(), strict=True) if turns)


def longest(holds: Holds, most_tokens: int) -> int:
    """Tokens of the longest request that the empty cache holds, looked for up to the block of `most_tokens`."""
    low, high = 0, -(-most_tokens // BLOCK_TOKENS) + 1
    while high - low > 1:
        middle = (low + high) // 2
        fits = shares(holds, np.array([middle * BLOCK_TOKENS]))[0] <= FULL
        low, high = (middle, high) if fits else (low, middle)
    return low * BLOCK_TOKENS
