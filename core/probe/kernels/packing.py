"""How GPTQ and AWQ checkpoints store quantised weights: several integers in each 32-bit word.

- GPTQ (AutoGPTQ, `qlinear_cuda.py`): weights packed along K, lowest bits first: `qweight` [K*b/32, N];
  zero points packed along N and stored one too small: `qzeros` [groups, N*b/32].
- AWQ (AutoAWQ, `WQLinear_GEMM`): weights and zero points packed along N, the eight columns of a word
  in the order 0 2 4 6 1 3 5 7: `qweight` [K, N/8], `qzeros` [groups, N/8].

Both keep `scales` [groups, N] and mean w = (q - zero) * scale.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

WORD_BITS: Final = 32
AWQ_BITS: Final = 4
AWQ_ORDER: Final = (0, 2, 4, 6, 1, 3, 5, 7)     # nibble -> column

Integers = NDArray[np.int64]
Words = NDArray[np.int32]


def pack_gptq(weights: Integers, zeros: Integers, bits: int) -> tuple[Words, Words]:
    """Weights [K, N] and zero points [groups, N], 0..2^bits-1, as GPTQ's qweight and qzeros."""
    per_word = WORD_BITS // bits
    along_k = weights.reshape(-1, per_word, weights.shape[1])
    stored = (zeros - 1) % 2**bits
    along_n = stored.reshape(len(zeros), -1, per_word)
    return _words(np.moveaxis(along_k, 1, -1), bits), _words(along_n, bits)


def unpack_gptq(qweight: Words, qzeros: Words, bits: int) -> tuple[Integers, Integers]:
    """Inverse of `pack_gptq`."""
    weights = np.moveaxis(_values(qweight, bits), -1, 1).reshape(-1, qweight.shape[1])
    zeros = _values(qzeros, bits).reshape(len(qzeros), -1)
    return weights, (zeros + 1) % 2**bits


def pack_awq(weights: Integers, zeros: Integers) -> tuple[Words, Words]:
    """Weights [K, N] and zero points [groups, N], 0..15, as AWQ's qweight and qzeros."""
    def packed(values: Integers) -> Words:
        words = values.reshape(len(values), -1, len(AWQ_ORDER))
        return _words(words[:, :, AWQ_ORDER], AWQ_BITS)

    return packed(weights), packed(zeros)


def unpack_awq(qweight: Words, qzeros: Words) -> tuple[Integers, Integers]:
    """Inverse of `pack_awq`."""
    columns = np.argsort(AWQ_ORDER)

    def unpacked(words: Words) -> Integers:
        return _values(words, AWQ_BITS)[:, :, columns].reshape(len(words), -1)

    return unpacked(qweight), unpacked(qzeros)


def dequantised(weights: Integers, zeros: Integers, scales: NDArray[np.float64]) -> NDArray[np.float64]:
    """(q - zero) * scale [K, N]; the last group may be short."""
    group = -(-len(weights) // len(scales))
    row = np.arange(len(weights)) // group
    return np.asarray((weights - zeros[row]) * scales[row])


def _words(values: Integers, bits: int) -> Words:
    """Integers [..., n] -> words [...], lowest bits first."""
    shifts = bits * np.arange(values.shape[-1], dtype=np.int64)
    words: Words = np.sum(values.astype(np.int64) << shifts, axis=-1).astype(np.uint32).view(np.int32)
    return words


def _values(words: Words, bits: int) -> Integers:
    """Words [...] -> integers [..., n], lowest bits first."""
    shifts = bits * np.arange(WORD_BITS // bits, dtype=np.int64)
    unsigned = np.ascontiguousarray(words).view(np.uint32).astype(np.int64)
    return np.asarray((unsigned[..., None] >> shifts) & (2**bits - 1))
