"""y = x W with W of 4 or 8 bits in the GPTQ or AWQ layout, dequantised in the kernel: W4A16 and W8A16.

The fallback where no faster kernel is installed. Needs triton, on a GPU or in its interpreter
(TRITON_INTERPRET=1). Layouts: `core.probe.kernels.packing`.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from core.probe.kernels.packing import WORD_BITS

if TYPE_CHECKING:
    import torch

SMALLEST_TILE_K: Final = 16     # tl.dot multiplies no narrower tiles
LARGEST_TILE_K: Final = 64
STAGES: Final = 4               # tiles read ahead; one more than Triton does unasked, for its words are few bytes
tl: Any = None                  # triton.language once a kernel is asked for: the jit looks it up here


def tile_k(group: int) -> int:
    """Largest tile along K of one group. Raises ValueError where the group is no multiple of 16."""
    tile = LARGEST_TILE_K
    while group % tile:
        tile //= 2
    if tile < SMALLEST_TILE_K:
        raise ValueError(f"a group of {group} is no multiple of {SMALLEST_TILE_K}")
    return tile


def weight_only_matmul(
    x: torch.Tensor, qweight: torch.Tensor, qzeros: torch.Tensor, scales: torch.Tensor, *,
    bits: int, group: int, awq: bool, parts: int = 1,
) -> torch.Tensor:
    """x [M, K] times the packed weights -> [M, N] in the type of x; accumulated in 32 bits.

    `group` rows of K share a scale; the last group may be short. N is a multiple of 32/bits. K is read in
    up to `parts` parts by programs of their own, whose sums are then added.
    """
    import torch
    import triton

    M, K = x.shape
    N = scales.shape[1]
    along_k = tile_k(group)
    tile_m, tile_n = _tile(M, awq)
    rows = triton.cdiv(K, parts * along_k) * along_k
    parts = triton.cdiv(K, rows)
    y = torch.empty((parts, M, N), dtype=x.dtype if parts == 1 else torch.float32, device=x.device)
    _kernel()[triton.cdiv(M, tile_m), triton.cdiv(N, tile_n), parts](
        x, qweight, qzeros, scales, y, M, N, K, rows,
        GROUP=group, BITS=bits, PER_WORD=WORD_BITS // bits, AWQ=awq, TILE_M=tile_m, TILE_N=tile_n, TILE_K=along_k,
        num_stages=STAGES,
    )
    return y[0] if parts == 1 else y.sum(0).to(x.dtype)


def programs(M: int, N: int, awq: bool) -> int:
    """Programs that one part of K takes."""
    tile_m, tile_n = _tile(M, awq)
    return -(-M // tile_m) * -(-N // tile_n)


def _tile(M: int, awq: bool) -> tuple[int, int]:
    """Rows and columns of a program: wide where rows of words are short."""
    return min(64, max(16, 1 << (M - 1).bit_length())), 128 if awq else 64


@cache
def _kernel() -> Any:
    """The compiled kernel; triton is imported here, when it is first needed."""
    global tl
    import triton
    import triton.language

    tl = triton.language

    @triton.jit(do_not_specialize=("M",))  # type: ignore[untyped-decorator]  # triton ships no types, and its compiler
    def weight_only(  # type: ignore[no-untyped-def]  # reads these as pointers and constants
        x, qweight, qzeros, scales, y, M, N, K, rows,
        GROUP: tl.constexpr, BITS: tl.constexpr, PER_WORD: tl.constexpr, AWQ: tl.constexpr,
        TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr,
    ):
        m = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
        n = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
        along_n = tl.program_id(1) * (TILE_N // PER_WORD) + tl.arange(0, TILE_N // PER_WORD)     # words
        words = N // PER_WORD
        in_m, in_n, in_words = m < M, n < N, along_n < words
        mask: tl.constexpr = (1 << BITS) - 1
        place = tl.arange(0, PER_WORD)
        if AWQ:
            place = place // 2 + (place % 2) * 4        # columns 0 2 4 6 1 3 5 7 in nibbles 0..7
        shift = place * BITS
        total = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
        first = tl.program_id(2) * rows
        for start in range(first, tl.minimum(first + rows, K), TILE_K):
            k = start + tl.arange(0, TILE_K)
            row = start // GROUP                        # a tile never straddles two groups
            a = tl.load(x + m[:, None] * K + k[None, :], mask=in_m[:, None] & (k < K)[None, :], other=0.0)
            scale = tl.load(scales + row * N + n, mask=in_n, other=0.0)
            word = tl.load(qzeros + row * words + along_n, mask=in_words, other=0)
            zero = tl.reshape((word[:, None] >> shift[None, :]) & mask, (TILE_N,))
            if AWQ:
                word = tl.load(
                    qweight + k[:, None] * words + along_n[None, :], mask=(k < K)[:, None] & in_words[None, :], other=0
                )
                quantised = (word[:, :, None] >> shift[None, None, :]) & mask
            else:
                zero = (zero + 1) & mask                # stored one too small
                along_k = start // PER_WORD + tl.arange(0, TILE_K // PER_WORD)
                inside = (along_k < K // PER_WORD)[:, None] & in_n[None, :]
                word = tl.load(qweight + along_k[:, None] * N + n[None, :], mask=inside, other=0)
                quantised = (word[:, None, :] >> shift[None, :, None]) & mask
            weight = tl.reshape(quantised, (TILE_K, TILE_N)) - zero[None, :]        # exact in 16 bits
            total += tl.dot(a, weight.to(a.dtype)) * scale[None, :].to(tl.float32)
        place_of = (tl.program_id(2) * M + m[:, None]) * N + n[None, :]
        tl.store(y + place_of, total.to(y.dtype.element_ty), mask=in_m[:, None] & in_n[None, :])

    return weight_only
