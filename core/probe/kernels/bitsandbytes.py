"""Kernels of bitsandbytes: NF4 in blocks of 64 and LLM.int8, on GPUs and processors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.probe.kernel import COLUMNS, Absent, Kernel, ends, product

if TYPE_CHECKING:
    import torch

PACKAGE: Final = "bitsandbytes"
BLOCK: Final = 64


def _library() -> Any:
    try:
        import bitsandbytes
    except ImportError:
        raise Absent(f"{PACKAGE} is not installed") from None
    return bitsandbytes


def nf4(x: torch.Tensor, K: int, N: int) -> Kernel:
    """x [M, K] times 4-bit weights whose levels follow a normal distribution."""
    import torch

    library = _library()
    packed, state = library.functional.quantize_4bit(
        torch.randn((N, K), device=x.device, dtype=torch.bfloat16), blocksize=BLOCK, quant_type="nf4"
    )

    def expected() -> torch.Tensor:
        return product(x, ends(library.functional.dequantize_4bit(packed, state), COLUMNS, 0).t())

    return Kernel(
        lambda: library.matmul_4bit(x, packed.t(), quant_state=state), f"{PACKAGE} {library.__version__} NF4", expected
    )


def int8(x: torch.Tensor, K: int, N: int) -> Kernel:
    """x [M, K], quantised in the clock, times 8-bit weights.

    Without the outlier columns of LLM.int8: looking for them waits for the host, which no CUDA graph allows.
    """
    import torch

    library = _library()
    state = library.MatmulLtState()
    weights = torch.randn((N, K), device=x.device, dtype=torch.float16)
    state.CB, state.SCB, _ = library.functional.int8_vectorwise_quant(weights)
    state.has_fp16_weights = False
    half = x.to(torch.float16)
    stand_in = state.CB                 # the weights are read from the state

    def expected() -> torch.Tensor:
        return product(x, (ends(state.CB, COLUMNS, 0).float() * ends(state.SCB, COLUMNS, 0)[:, None] / 127).t())

    return Kernel(
        lambda: library.matmul(half, stand_in, state=state, threshold=0.0), f"{PACKAGE} {library.__version__} int8",
        expected,
    )
