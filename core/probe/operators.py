"""Every operator of a probe but the linears: streams, attention, experts, whole layers, head and sampling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final

from core.probe.linears import Kernel, linear
from core.probe.measurement import FALLBACK, Quantity
from core.probe.order import Task

if TYPE_CHECKING:
    import torch

MATMUL_FORMATS: Final = {"bf16": "bf16", "fp8": "fp8", "int8": "w8a8-int8"}   # dtype -> linear that multiplies in it


def kernel(task: Task, device: torch.device) -> Kernel:
    """One copy of a task's operator on fresh random data. Raises ValueError where there is none for the shape."""
    return _MAKERS[task.quantity](task, device)


def _copy(task: Task, device: torch.device) -> Kernel:
    import torch

    source = torch.randint(-128, 127, (task.shape["size"],), device=device, dtype=torch.int8)
    target = torch.empty_like(source)
    return Kernel(lambda: target.copy_(source), f"torch {torch.__version__} copy_")


def _read(task: Task, device: torch.device) -> Kernel:
    """A reduction reads everything and writes one number."""
    import torch

    source = torch.randn(task.shape["size"] // 4, device=device)
    return Kernel(lambda: torch.amax(source), f"torch {torch.__version__} amax")


def _matmul(task: Task, device: torch.device) -> Kernel:
    return linear(MATMUL_FORMATS[task.format], task.shape["M"], task.shape["K"], task.shape["N"], device)


def _linear(task: Task, device: torch.device) -> Kernel:
    return linear(task.format, task.shape["M"], task.shape["K"], task.shape["N"], device)


def _attention(task: Task, device: torch.device) -> Kernel:
    """Decode attention with the query heads of a group as rows, so that the cache is read once."""
    return _decode_attention(task.shape, task.format, device)


def _decode_attention(shape: Mapping[str, int], kv: str, device: torch.device) -> Kernel:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    batch, context, heads, kv_heads, size = (shape[n] for n in ("batch", "context", "heads", "kv_heads", "head_dim"))
    q = torch.randn((batch, kv_heads, heads // kv_heads, size), device=device, dtype=torch.bfloat16)
    k, v = (torch.randn((batch, kv_heads, context, size), device=device, dtype=torch.bfloat16) for _ in range(2))
    name = f"torch {torch.__version__} scaled_dot_product_attention"
    if kv != "fp8":
        return Kernel(lambda: scaled_dot_product_attention(q, k, v), name)
    narrow_k, narrow_v = k.to(torch.float8_e4m3fn), v.to(torch.float8_e4m3fn)
    return Kernel(
        lambda: scaled_dot_product_attention(q, narrow_k.to(q.dtype), narrow_v.to(q.dtype)),
        f"{name} after widening{FALLBACK}",
    )


def _experts(task: Task, device: torch.device) -> Kernel:
    s = task.shape
    return _grouped(s["M"], s["K"], s["N"], s["experts"], s["experts_per_token"], device)


def _grouped(M: int, K: int, N: int, experts: int, per_token: int, device: torch.device) -> Kernel:
    """Tokens sorted by expert, each sent to `per_token` random ones."""
    import torch
    from torch.nn.functional import grouped_mm

    rows = M * per_token
    x = torch.randn((rows, K), device=device, dtype=torch.bfloat16)
    weights = torch.randn((experts, K, N), device=device, dtype=torch.bfloat16)
    chosen = torch.rand((M, experts)).argsort(dim=1)[:, :per_token].flatten()
    ends = torch.bincount(chosen, minlength=experts).cumsum(0).to(device=device, dtype=torch.int32)
    return Kernel(lambda: grouped_mm(x, weights, offs=ends), f"torch {torch.__version__} grouped_mm")


def _block(task: Task, device: torch.device) -> Kernel:
    """Layers one after the other, each with weights and a cache of its own."""
    layers = [_layer(task, task.shape["batch"], device) for _ in range(task.shape["layers"])]
    return _in_turn(layers)


def _layer(task: Task, batch: int, device: torch.device) -> Kernel:
    """One layer's operators in order: two norms, every matrix, attention over the cache, a gate."""
    import torch

    parts = [_norm(batch, task.matrices[0][0], device), _norm(batch, task.matrices[0][0], device)]
    for K, N, experts, per_token in task.matrices:
        parts.append(
            _grouped(batch, K, N, experts, per_token, device) if experts else linear(task.format, batch, K, N, device)
        )
    if "heads" in task.shape:
        parts.append(_decode_attention(task.shape, "bf16", device))
    gate = torch.randn((batch, task.matrices[-1][0]), device=device, dtype=torch.bfloat16)
    parts.append(Kernel(lambda: torch.nn.functional.silu(gate) * gate, ""))
    return _in_turn(parts)


def _prefill(task: Task, device: torch.device) -> Kernel:
    """One layer over a whole prompt, its attention causal."""
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    tokens = task.shape["tokens"]
    parts = [_norm(tokens, task.matrices[0][0], device)]
    for K, N, experts, per_token in task.matrices:
        parts.append(
            _grouped(tokens, K, N, experts, per_token, device) if experts
            else linear(task.format, tokens, K, N, device)
        )
    if "heads" in task.shape:
        heads, kv_heads, size = (task.shape[name] for name in ("heads", "kv_heads", "head_dim"))
        q = torch.randn((1, heads, tokens, size), device=device, dtype=torch.bfloat16)
        k, v = (torch.randn((1, kv_heads, tokens, size), device=device, dtype=torch.bfloat16) for _ in range(2))
        parts.append(Kernel(lambda: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True), ""))
    return _in_turn(parts)


def _head(task: Task, device: torch.device) -> Kernel:
    """lm_head, softmax and a draw for every sequence."""
    import torch

    product = linear("bf16", task.shape["batch"], task.shape["K"], task.shape["N"], device)
    noise = torch.empty((task.shape["batch"], task.shape["N"]), device=device).exponential_()

    def run() -> torch.Tensor:
        chances = torch.softmax(product.run().float(), dim=-1)
        return torch.argmax(chances / noise, dim=-1)      # a draw without a copy to the host

    return Kernel(run, f"{product.name}, softmax, draw")


def _norm(rows: int, size: int, device: torch.device) -> Kernel:
    import torch

    x, weight = (torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in ((rows, size), (size,)))
    return Kernel(lambda: torch.nn.functional.rms_norm(x, (size,), weight), "")


def _in_turn(parts: list[Kernel]) -> Kernel:
    """Runs them one after the other; named for the matrices' kernel."""
    def run() -> torch.Tensor:
        for part in parts:
            last = part.run()
        return last

    return Kernel(run, next(part.name for part in parts if part.name))


_MAKERS: Final[dict[Quantity, Callable[[Task, torch.device], Kernel]]] = {
    Quantity.COPY: _copy, Quantity.READ: _read, Quantity.MATMUL: _matmul, Quantity.LINEAR: _linear,
    Quantity.ATTENTION: _attention, Quantity.EXPERTS: _experts, Quantity.BLOCK: _block, Quantity.PREFILL: _prefill,
    Quantity.HEAD: _head,
}
