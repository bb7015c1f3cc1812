"""Matrix products in BF16 on a processor without instructions for them.

torch's own kernel reaches 7 GFLOP/s a core there, one in 32 bits 60 (Zen 3, torch 2.13). Products of two
BF16 values are exact in 32 bits, and sums are kept in 32 bits either way: only the order of adding differs.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any


def fast_products(device: str) -> AbstractContextManager[object]:
    """While it is entered, BF16 matrices are multiplied in 32 bits and rounded once where that is the faster way."""
    import torch
    from torch.overrides import TorchFunctionMode

    supported = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", None)    # torch for Macs comes without
    if device != "cpu" or (supported and supported()):
        return nullcontext()
    products = {torch.nn.functional.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.bmm}

    def wide(value: Any) -> Any:
        return value.float() if isinstance(value, torch.Tensor) else value

    class Wide(TorchFunctionMode):
        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func in products and isinstance(args[0], torch.Tensor) and args[0].dtype is torch.bfloat16:
                return func(*map(wide, args), **{name: wide(value) for name, value in (kwargs or {}).items()}
                            ).to(torch.bfloat16)
            return func(*args, **(kwargs or {}))

    return Wide()
