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
    bits: int, group: int, awq: bool,
) -> torch.Tensor:
    """x [M, K] times the packed weights -> [M, N] in the type of x; accumulated in 32 bits.

    `group` rows of K share a scale; the last group may be short. N is a multiple of 32/bits.
    """
    import torch
    import triton

    M, K = x.shape
    N = scales.shape[1]
    tile_m = 16 if M <= 16 else 32 if M <= 32 else 64
    tile_n = 32 if M <= 16 else 64
    y = torch.empty((M, N), dtype=x.dtype, device=x.device)
    grid = (triton.cdiv(M, tile_m), triton.cdiv(N, tile_n))
    _kernel()[grid](
        x, qweight, qzeros, scales, y, M, N, K,
        GROUP=group, BITS=bits, PER_WORD=WORD_BITS // bits, AWQ=awq,
        TILE_M=tile_m, TILE_N=tile_n, TILE_K=tile_k(group),
    )
    return y


@cache
def _kernel() -> Any:
    """The compiled kernel; triton is imported here, when it is first needed."""
    global tl
    import triton
    import triton.language

    tl = triton.language

    @triton.jit(do_not_specialize=("M",))  # type: ignore[untyped-decorator]  # triton ships no types, and its compiler
    def weight_only(  # type: ignore[no-untyped-def]  # reads these as pointers and constants
        x, qweight, qzeros, scales, y, M, N, K,
        GROUP: tl.constexpr, BITS: tl.constexpr, PER_WORD: tl.constexpr, AWQ: tl.constexpr,
        TILE_M: tl.constexpr, TILE_N: tl.constexpr, TILE_K: tl.constexpr,
    ):
        m = tl.program_id(0) * TILE_M + tl.arange(0, TILE_M)
        n = tl.program_id(1) * TILE_N + tl.arange(0, TILE_N)
        in_m, in_n = m < M, n < N
        mask: tl.constexpr = (1 << BITS) - 1
        place = n % PER_WORD
        if AWQ:
            place = place // 2 + (place % 2) * 4        # columns 0 2 4 6 1 3 5 7 in nibbles 0..7
        total = tl.zeros((TILE_M, TILE_N), dtype=tl.float32)
        for start in range(0, K, TILE_K):
            k = start + tl.arange(0, TILE_K)
            in_k = k < K
            row = start // GROUP                        # a tile never straddles two groups
            scale = tl.load(scales + row * N + n, mask=in_n, other=0.0)
            zero = tl.load(qzeros + row * (N // PER_WORD) + n // PER_WORD, mask=in_n, other=0)
            zero = (zero >> (place * BITS)) & mask
            if AWQ:
                words = qweight + k[:, None] * (N // PER_WORD) + n[None, :] // PER_WORD
                shift = place[None, :] * BITS
            else:
                zero = (zero + 1) & mask                # stored one too small
                words = qweight + (k[:, None] // PER_WORD) * N + n[None, :]
                shift = (k[:, None] % PER_WORD) * BITS
            word = tl.load(words, mask=in_k[:, None] & in_n[None, :], other=0)
            quantised = (word >> shift) & mask
            weight = ((quantised - zero[None, :]).to(tl.float32) * scale[None, :].to(tl.float32)).to(x.dtype.element_ty)
            a = tl.load(x + m[:, None] * K + k[None, :], mask=in_m[:, None] & in_k[None, :], other=0.0)
            total = tl.dot(a, weight, total)
        tl.store(y + m[:, None] * N + n[None, :], total.to(y.dtype.element_ty), mask=in_m[:, None] & in_n[None, :])

    return weight_only
