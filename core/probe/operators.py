"""Every operator of a probe but the linears: streams, attention, experts, whole layers, head and sampling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Final

from core.probe import linears
from core.probe.attention import causal_attention, decode_attention
from core.probe.bench import Bench
from core.probe.kernel import COLUMNS, Candidate, Kernel, ends, grouped_product
from core.probe.kernels import humming
from core.probe.kernels.random import packed
from core.probe.measurement import FALLBACK, Quantity
from core.probe.order import GROUP, Task

if TYPE_CHECKING:
    import torch

MATMUL_FORMATS: Final = {"bf16": "bf16", "fp8": "fp8", "int8": "w8a8-int8"}   # dtype -> linear that multiplies in it


def kernel(task: Task, bench: Bench) -> Kernel:
    """One copy of a task's operator on fresh random data. Raises Refused where there is none for the shape."""
    return _MAKERS[task.quantity](task, bench)


def products(task: Task) -> Iterator[humming.Product]:
    """What has to be compiled before a task's kernels run."""
    s, matrices, rows = task.shape, task.matrices, task.shape.get("batch", 0)
    if task.quantity is Quantity.LINEAR:
        matrices, rows = ((s["K"], s["N"], 0, 0),), s["M"]
    elif task.quantity is Quantity.EXPERTS:
        matrices, rows = ((s["K"], s["N"], s["experts"], s["experts_per_token"]),), s["M"]
    elif task.quantity is not Quantity.BLOCK:
        return
    for K, N, experts, per_token in matrices:
        compiled = linears.compiled_for(task.format, rows * max(1, per_token), K, N, experts or None)
        if compiled:
            yield compiled


def _copy(task: Task, bench: Bench) -> Kernel:
    """Reads every number and writes it negated: a lone `copy_` of 1 GiB is left to an engine slower than the memory.

    2.8 TB/s where the memory does 4.2 (H200, torch 2.11, 2026-11-26).
    """
    import torch

    source = torch.randn(task.shape["size"] // 4, device=bench.device)
    target = torch.empty_like(source)
    return Kernel(lambda: torch.neg(source, out=target), f"torch {torch.__version__} neg")


def _read(task: Task, bench: Bench) -> Kernel:
    """A reduction reads everything and writes one number."""
    import torch

    source = torch.randn(task.shape["size"] // 4, device=bench.device)
    return Kernel(lambda: torch.amax(source), f"torch {torch.__version__} amax")


def _matmul(task: Task, bench: Bench) -> Kernel:
    return bench.linear(MATMUL_FORMATS[task.format], task.shape["M"], task.shape["K"], task.shape["N"])


def _linear(task: Task, bench: Bench) -> Kernel:
    return bench.linear(task.format, task.shape["M"], task.shape["K"], task.shape["N"])


def _attention(task: Task, bench: Bench) -> Kernel:
    return decode_attention(task.shape, task.format, bench)


def _experts(task: Task, bench: Bench) -> Kernel:
    s = task.shape
    return _grouped(task.format, s["M"], s["K"], s["N"], s["experts"], s["experts_per_token"], bench)


def _grouped(fmt: str, M: int, K: int, N: int, experts: int, per_token: int, bench: Bench) -> Kernel:
    """Tokens sorted by expert, each sent to `per_token` random ones."""
    way = partial(_grouped_copy, fmt, M, K, N, experts, per_token, bench.device)
    compiled = linears.compiled_for(fmt, M * per_token, K, N, experts)
    one = Candidate(humming.PACKAGE if compiled else "torch", way, compiled)
    return bench.fastest(("experts", fmt, f"{M} {K} {N} {experts} {per_token}"), [one], 0.0)


def _grouped_copy(fmt: str, M: int, K: int, N: int, experts: int, per_token: int, device: torch.device) -> Kernel:
    import torch
    from torch.nn.functional import grouped_mm

    x = torch.randn((M * per_token, K), device=device, dtype=torch.bfloat16)
    chosen = torch.rand((M, experts)).argsort(dim=1)[:, :per_token].flatten()
    running_sum = torch.bincount(chosen, minlength=experts).cumsum(0).to(device=device, dtype=torch.int32)
    if fmt != "bf16":
        return humming.grouped(x, packed(*linears.LAYOUTS[fmt], K, N, GROUP, device, experts), running_sum)
    weights = torch.randn((experts, K, N), device=device, dtype=torch.bfloat16)
    return Kernel(
        lambda: grouped_mm(x, weights, offs=running_sum), f"torch {torch.__version__} grouped_mm",
        lambda: grouped_product(x, running_sum, lambda expert: ends(weights[expert], COLUMNS, 1)),
    )


def _block(task: Task, bench: Bench) -> Kernel:
    """Layers one after the other, each with weights and a cache of its own."""
    return _in_turn([
        _layer(task, task.shape["batch"], bench, lambda: decode_attention(task.shape, "bf16", bench))
        for _ in range(task.shape["layers"])
    ])


def _prefill(task: Task, bench: Bench) -> Kernel:
    """One layer over a whole prompt."""
    return _layer(task, task.shape["tokens"], bench, lambda: causal_attention(task.shape, bench))


def _layer(task: Task, rows: int, bench: Bench, attention: Callable[[], Kernel]) -> Kernel:
    """One layer's operators in order: two norms, every matrix, attention, a gate."""
    hidden = task.matrices[0][0]
    parts = [_norm(rows, hidden, bench.device), _norm(rows, hidden, bench.device)]
    for K, N, experts, per_token in task.matrices:
        parts.append(
            _grouped(task.format, rows, K, N, experts, per_token, bench) if experts
            else bench.linear(task.format, rows, K, N)
        )
    if "heads" in task.shape:
        parts.append(attention())
    width, _, _, per_token = task.matrices[-1]
    parts.append(_gate(rows * max(1, per_token), width, bench.device))
    return _in_turn(parts)


def _head(task: Task, bench: Bench) -> Kernel:
    """lm_head, softmax and a draw for every sequence."""
    import torch

    product = bench.linear("bf16", task.shape["batch"], task.shape["K"], task.shape["N"])
    noise = torch.empty((task.shape["batch"], task.shape["N"]), device=bench.device).exponential_()

    def run() -> torch.Tensor:
        chances = torch.softmax(product.run().float(), dim=-1)
        return torch.argmax(chances / noise, dim=-1)      # a draw without a copy to the host

    return Kernel(run, f"{product.name}, softmax, draw")


def _norm(rows: int, size: int, device: torch.device) -> Kernel:
    import torch

    x, weight = (torch.randn(shape, device=device, dtype=torch.bfloat16) for shape in ((rows, size), (size,)))
    return Kernel(lambda: torch.nn.functional.rms_norm(x, (size,), weight), "")


def _gate(rows: int, size: int, device: torch.device) -> Kernel:
    import torch

    gate = torch.randn((rows, size), device=device, dtype=torch.bfloat16)
    return Kernel(lambda: torch.nn.functional.silu(gate) * gate, "")


def _in_turn(parts: list[Kernel]) -> Kernel:
    """Runs them one after the other; named for every kernel in it, once."""
    def run() -> torch.Tensor:
        for part in parts:
            last = part.run()
        return last

    names = dict.fromkeys(part.name for part in parts if part.name)
    fallback = FALLBACK if any(name.endswith(FALLBACK) for name in names) else ""
    return Kernel(run, " + ".join(name.removesuffix(FALLBACK) for name in names) + fallback)


_MAKERS: Final[dict[Quantity, Callable[[Task, Bench], Kernel]]] = {
    Quantity.COPY: _copy, Quantity.READ: _read, Quantity.MATMUL: _matmul, Quantity.LINEAR: _linear,
    Quantity.ATTENTION: _attention, Quantity.EXPERTS: _experts, Quantity.BLOCK: _block, Quantity.PREFILL: _prefill,
    Quantity.HEAD: _head,
}
