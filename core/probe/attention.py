"""Attention of a probe: decoding over a cache of 16 or 8 bits, and a prompt over itself."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Final

from core.probe.bench import Bench
from core.probe.kernel import Candidate, Kernel, corners, ends
from core.probe.kernels import programs_at_once
from core.probe.measurement import FALLBACK

if TYPE_CHECKING:
    import torch

NARROW: Final = "fp8"


def decode_attention(shape: Mapping[str, int], kv: str, bench: Bench) -> Kernel:
    """One token of each sequence over its cache, the query heads of a group as rows: the cache is read once."""
    ways = [Candidate("torch", partial(_torch, shape, kv, bench.device), is_spare=kv == NARROW)]
    if bench.device.type == "cuda":
        ways.append(Candidate("triton", partial(_triton, shape, kv, bench.device)))
    values = shape["batch"] * shape["context"] * shape["kv_heads"] * shape["head_dim"] * 2
    numbers = " ".join(str(number) for number in shape.values())
    return bench.fastest(("attention", kv, numbers), ways, values * (1.0 if kv == NARROW else 2.0))


def _operands(
    shape: Mapping[str, int], kv: str, device: torch.device,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    import torch

    batch, context, heads, kv_heads, size = (shape[n] for n in ("batch", "context", "heads", "kv_heads", "head_dim"))
    q = torch.randn((batch, kv_heads, heads // kv_heads, size), device=device, dtype=torch.bfloat16)
    k, v = (torch.randn((batch, kv_heads, context, size), device=device, dtype=torch.bfloat16) for _ in range(2))
    if kv != NARROW:
        return q, k, v
    return q, k.to(torch.float8_e4m3fn), v.to(torch.float8_e4m3fn)


def _expected(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """Corners of the attention of the first sequence and the last, in 32 bits."""
    import torch

    q, k, v = (ends(operand, 1, 0).float() for operand in (q, k, v))
    return corners(torch.softmax(q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5, dim=-1) @ v)


def _torch(shape: Mapping[str, int], kv: str, device: torch.device) -> Kernel:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    q, k, v = _operands(shape, kv, device)
    name = f"torch {torch.__version__} scaled_dot_product_attention"
    if kv == NARROW:
        def widened() -> torch.Tensor:
            return scaled_dot_product_attention(q, k.to(q.dtype), v.to(q.dtype))

        return Kernel(widened, f"{name} after widening{FALLBACK}", lambda: _expected(q, k, v))
    return Kernel(lambda: scaled_dot_product_attention(q, k, v), name, lambda: _expected(q, k, v))


def _triton(shape: Mapping[str, int], kv: str, device: torch.device) -> Kernel:
    """Our own; for a cache of 8 bits it stands in for an engine's, which no library gives without its engine."""
    import triton

    from core.probe.kernels.decode_attention import attention_in_parts

    q, k, v = _operands(shape, kv, device)
    parts = max(1, programs_at_once(device) // (q.shape[0] * q.shape[1]))
    name = f"sweetspot decode_attention, triton {triton.__version__}{FALLBACK if kv == NARROW else ''}"
    return Kernel(lambda: attention_in_parts(q, k, v, parts), name, lambda: _expected(q, k, v))


def causal_attention(shape: Mapping[str, int], bench: Bench) -> Kernel:
    """A whole prompt over itself, by torch."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    tokens, heads, kv_heads, size = (shape[name] for name in ("tokens", "heads", "kv_heads", "head_dim"))
    q = torch.randn((1, heads, tokens, size), device=bench.device, dtype=torch.bfloat16)
    k, v = (torch.randn((1, kv_heads, tokens, size), device=bench.device, dtype=torch.bfloat16) for _ in range(2))
    return Kernel(
        lambda: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True),
        f"torch {torch.__version__} scaled_dot_product_attention",
    )
