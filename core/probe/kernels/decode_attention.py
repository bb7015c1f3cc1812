"""Decode attention of our own in Triton: every query head of a group reads the cache once, parts of it in parallel.

The cache may hold 8-bit floats, which are widened in registers, so that half the bytes are moved; torch's
attention takes no narrower cache than its queries. The idea is Flash-Decoding's (Dao et al., 2023).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import torch

TILE: Final = 64                # tokens read together
SMALLEST_ROWS: Final = 16       # tl.dot multiplies no fewer
tl: Any = None                  # triton.language once a kernel is asked for: the jit looks it up here


def attention_in_parts(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, parts: int) -> torch.Tensor:
    """Attention of q [batch, kv_heads, group, size] over k and v [batch, kv_heads, context, size] -> as q.

    The context is read in up to `parts` parts by programs of their own, whose results are then merged.
    """
    import torch
    import triton

    batch, kv_heads, group, size = q.shape
    context, pairs = k.shape[2], batch * kv_heads
    tokens = triton.cdiv(context, parts * TILE) * TILE
    parts = triton.cdiv(context, tokens)
    wide = triton.next_power_of_2(size)
    part = torch.empty((pairs, parts, group, size), dtype=torch.float32, device=q.device)
    weight = torch.empty((pairs, parts, group), dtype=torch.float32, device=q.device)
    out = torch.empty_like(q)
    read, merge = _kernels()
    log2_scale = 1.4426950408889634 * size**-0.5        # exponents of two are quicker than of e
    read[(pairs, parts)](
        q, k, v, part, weight, context, tokens, log2_scale, parts,
        GROUP=group, ROWS=max(SMALLEST_ROWS, triton.next_power_of_2(group)), SIZE=size, WIDE=wide, TILE=TILE,
    )
    merge[(pairs * group,)](
        part, weight, out, parts, GROUP=group, SIZE=size, WIDE=wide, PARTS=triton.next_power_of_2(parts),
    )
    return out


@cache
def _kernels() -> tuple[Any, Any]:
    """The compiled kernels; triton is imported here, when they are first needed."""
    global tl
    import triton
    import triton.language

    tl = triton.language

    @triton.jit(do_not_specialize=("parts",))  # type: ignore[untyped-decorator]  # triton ships no types, and its
    def read(  # type: ignore[no-untyped-def]  # compiler reads these as pointers and constants
        q, k, v, part, weight, context, tokens, log2_scale, parts,
        GROUP: tl.constexpr, ROWS: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, TILE: tl.constexpr,
    ):
        pair = tl.program_id(0).to(tl.int64)
        row, d = tl.arange(0, ROWS), tl.arange(0, WIDE)
        in_row, in_d = row < GROUP, d < SIZE
        query = tl.load(
            q + (pair * GROUP + row[:, None]) * SIZE + d[None, :], mask=in_row[:, None] & in_d[None, :], other=0.0
        )
        if k.dtype.element_ty.primitive_bitwidth == 8:
            query = query.to(tl.float16)        # one instruction widens two 8-bit floats to this, to bf16 it takes six
        top = tl.full((ROWS,), float("-inf"), tl.float32)
        total = tl.zeros((ROWS,), tl.float32)
        sums = tl.zeros((ROWS, WIDE), tl.float32)
        first = tl.program_id(1) * tokens
        last = tl.minimum(first + tokens, context)
        for start in range(first, last, TILE):
            n = start + tl.arange(0, TILE)
            inside = (n < last)[:, None] & in_d[None, :]
            place = (pair * context + n[:, None]) * SIZE + d[None, :]
            key = tl.where(inside, tl.load(k + place, mask=inside).to(query.dtype), 0.0).to(query.dtype)
            score = tl.where((n < last)[None, :], tl.dot(query, tl.trans(key)) * log2_scale, float("-inf"))
            highest = tl.maximum(top, tl.max(score, 1))
            share = tl.exp2(score - highest[:, None])
            before = tl.exp2(top - highest)
            total = total * before + tl.sum(share, 1)
            value = tl.where(inside, tl.load(v + place, mask=inside).to(query.dtype), 0.0).to(query.dtype)
            sums = sums * before[:, None] + tl.dot(share.to(query.dtype), value)
            top = highest
        at = (pair * parts + tl.program_id(1)) * GROUP + row
        tl.store(part + at[:, None] * SIZE + d[None, :], sums / total[:, None], mask=in_row[:, None] & in_d[None, :])
        tl.store(weight + at, top + tl.log2(total), mask=in_row)

    @triton.jit(do_not_specialize=("parts",))  # type: ignore[untyped-decorator]  # as above
    def merge(  # type: ignore[no-untyped-def]  # as above
        part, weight, out, parts,
        GROUP: tl.constexpr, SIZE: tl.constexpr, WIDE: tl.constexpr, PARTS: tl.constexpr,
    ):
        head = tl.program_id(0).to(tl.int64)
        one, d = tl.arange(0, PARTS), tl.arange(0, WIDE)
        at = (head // GROUP * parts + one) * GROUP + head % GROUP
        share = tl.load(weight + at, mask=one < parts, other=float("-inf"))
        share = tl.exp2(share - tl.max(share, 0))
        rows = tl.load(
            part + at[:, None] * SIZE + d[None, :], mask=(one < parts)[:, None] & (d < SIZE)[None, :], other=0.0
        )
        merged = tl.sum(rows * share[:, None], 0) / tl.sum(share, 0)
        tl.store(out + head * SIZE + d, merged.to(out.dtype.element_ty), mask=d < SIZE)

    return read, merge
