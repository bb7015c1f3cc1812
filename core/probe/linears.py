"""A linear layer in each weight format on random weights, by every kernel that may be there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from core.probe.kernel import COLUMNS, Candidate, Kernel, Refused, ends, product
from core.probe.kernels import bitsandbytes, humming, programs_at_once
from core.probe.kernels.random import Packed, packed
from core.probe.measurement import FALLBACK
from core.probe.order import GROUP

if TYPE_CHECKING:
    import torch

INT_MM_ROWS: Final = 32         # torch._int_mm on CUDA wants more than 16 rows
SCALED_MM_ROWS: Final = 16
INNER_K_TILES: Final = 8        # tinygemm's packing: K is a multiple of 16 times this
LAYOUTS: Final = {"int8": ("gptq", 8), "awq-int4": ("awq", 4), "gptq-int4": ("gptq", 4)}    # of weights; bits
Maker = Callable[["torch.Tensor", int, int], Kernel]    # x [M, K], K, N -> one copy on fresh weights


@dataclass(frozen=True, slots=True)
class _Way:
    """A kernel for a format."""

    package: str
    make: Maker
    compiles: bool = False
    is_spare: bool = False


def candidates(fmt: str, M: int, K: int, N: int, device: torch.device) -> tuple[Candidate, ...]:
    """Every kernel that multiplies x [M, K] by weights [K, N] of a format. Raises Refused where there is none."""
    import torch

    found = (_ON_GPU if device.type == "cuda" else _ON_PROCESSOR).get(fmt)
    if found is None:
        raise Refused(f"there is no kernel for {fmt} on {'GPUs' if device.type == 'cuda' else 'processors'}")

    def made(make: Maker) -> Kernel:
        return make(torch.randn((M, K), device=device, dtype=torch.bfloat16), K, N)

    compiled = compiled_for(fmt, M, K, N)
    return tuple(
        Candidate(way.package, partial(made, way.make), compiled if way.compiles else None, way.is_spare)
        for way in found
    )


def compiled_for(fmt: str, M: int, K: int, N: int, experts: int | None = None) -> humming.Product | None:
    """What is compiled for the product of x [M, K] and weights [K, N], of so many `experts` where that is given.

    None in a format for which nothing is.
    """
    return humming.Product(*LAYOUTS[fmt], K, N, M, experts) if fmt in LAYOUTS else None


def _sixteen(x: torch.Tensor, K: int, N: int) -> Kernel:
    import torch

    weights = torch.randn((N, K), device=x.device, dtype=torch.bfloat16)
    return Kernel(
        lambda: torch.nn.functional.linear(x, weights), f"torch {torch.__version__} linear",
        lambda: product(x, ends(weights, COLUMNS, 0).t()),
    )


def _fp8(x: torch.Tensor, K: int, N: int) -> Kernel:
    """Both operands in e4m3 with one scale each; rows are padded to the 16 that the kernel asks for."""
    import torch

    _multiples(K, N, 16)
    a = _padded(x, SCALED_MM_ROWS).to(torch.float8_e4m3fn)
    b = torch.randn((N, K), device=x.device, dtype=torch.bfloat16).to(torch.float8_e4m3fn).t()
    one = torch.ones((), device=x.device)

    def run() -> torch.Tensor:
        return torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

    return Kernel(
        run, f"torch {torch.__version__} _scaled_mm", lambda: product(_wide(a), ends(_wide(b), COLUMNS, 1))
    )


def _wide(narrow: torch.Tensor) -> torch.Tensor:
    """8-bit floats in 16 bits, for operators that take no narrower ones."""
    import torch

    return narrow.to(torch.bfloat16)


def _int8_activations(x: torch.Tensor, K: int, N: int) -> Kernel:
    import torch

    _multiples(K, N, 8)
    a = torch.randint(-127, 128, (max(len(x), INT_MM_ROWS), K), device=x.device, dtype=torch.int8)
    b = torch.randint(-127, 128, (N, K), device=x.device, dtype=torch.int8).t()
    return Kernel(
        lambda: torch._int_mm(a, b), f"torch {torch.__version__} _int_mm", lambda: product(a, ends(b, COLUMNS, 1))
    )


def _int8_weights(x: torch.Tensor, K: int, N: int) -> Kernel:
    """torch's own; on CUDA it works one thread an output, so it is a processor's only."""
    import torch

    weights = torch.randint(-127, 128, (N, K), device=x.device, dtype=torch.int8)
    scales = torch.rand(N, device=x.device, dtype=torch.bfloat16)
    return Kernel(
        lambda: torch._weight_int8pack_mm(x, weights, scales), f"torch {torch.__version__} _weight_int8pack_mm",
        lambda: product(x, (ends(weights, COLUMNS, 0).float() * ends(scales, COLUMNS, 0)[:, None]).t()),
    )


def _int4_tinygemm(x: torch.Tensor, K: int, N: int) -> Kernel:
    """torch's tinygemm layout, group 128: (q - 8) * scale + zero."""
    import torch

    _multiples(K, N, GROUP, 8)
    values = torch.randint(0, 16, (N, K), device=x.device, dtype=torch.int32)
    scales_zeros = torch.rand((K // GROUP, N, 2), device=x.device, dtype=torch.bfloat16)
    if x.device.type == "cuda":
        nibbles = ((values[:, ::2] << 4) | values[:, 1::2]).to(torch.uint8)      # even columns in the high half
        packed_values = torch._convert_weight_to_int4pack(nibbles, INNER_K_TILES)
        multiply = torch._weight_int4pack_mm
    else:
        packed_values = torch._convert_weight_to_int4pack_for_cpu(values, 1)
        multiply = torch._weight_int4pack_mm_for_cpu
    some, by_group = ends(values, COLUMNS, 0), ends(scales_zeros, COLUMNS, 1).float()

    def expected() -> torch.Tensor:
        scale, zero = (by_group[..., i].repeat_interleave(GROUP, 0) for i in range(2))
        return product(x, (some.t() - 8) * scale + zero)

    return Kernel(
        lambda: multiply(x, packed_values, GROUP, scales_zeros), f"torch {torch.__version__} tinygemm", expected
    )


def _packed_by(run: Callable[[torch.Tensor, Packed], Kernel], layout: str, bits: int) -> Maker:
    """A maker of kernels over weights in a published layout."""
    def make(x: torch.Tensor, K: int, N: int) -> Kernel:
        _multiples(K, N, GROUP, 8)
        return run(x, packed(layout, bits, K, N, GROUP, x.device))

    return make


def _triton(x: torch.Tensor, weights: Packed) -> Kernel:
    """Our own kernel."""
    import triton

    from core.probe.kernels.weight_only import programs, weight_only_matmul

    awq = weights.layout == "awq"
    parts = max(1, programs_at_once(x.device) // programs(len(x), weights.shape[1], awq))

    def run() -> torch.Tensor:
        return weight_only_matmul(
            x, weights.qweight, weights.qzeros, weights.scales, bits=weights.bits, group=weights.group, awq=awq,
            parts=parts,
        )

    name = f"sweetspot weight_only, triton {triton.__version__}{FALLBACK}"
    return Kernel(run, name, lambda: product(x, weights.columns()))


def _both(layout: str, bits: int) -> tuple[_Way, ...]:
    """The library's kernel, and ours on the same layout where it is missing."""
    return (
        _Way(humming.PACKAGE, _packed_by(humming.dense, layout, bits), compiles=True),
        _Way("triton", _packed_by(_triton, layout, bits), is_spare=True),
    )


_TORCH_BF16: Final = (_Way("torch", _sixteen),)
_TORCH_W8A8: Final = (_Way("torch", _int8_activations),)
_TINYGEMM: Final = (_Way("torch", _int4_tinygemm),)
_BITSANDBYTES: Final = {
    "bnb-int8": (_Way(bitsandbytes.PACKAGE, bitsandbytes.int8),),
    "bnb-nf4": (_Way(bitsandbytes.PACKAGE, bitsandbytes.nf4),),
}
_ON_GPU: Final[dict[str, tuple[_Way, ...]]] = {
    "bf16": _TORCH_BF16, "w8a8-int8": _TORCH_W8A8, "int4": _TINYGEMM,
    "fp8": (_Way("torch", _fp8),), **{fmt: _both(*layout) for fmt, layout in LAYOUTS.items()}, **_BITSANDBYTES,
}
_ON_PROCESSOR: Final[dict[str, tuple[_Way, ...]]] = {
    "bf16": _TORCH_BF16, "w8a8-int8": _TORCH_W8A8, "int4": _TINYGEMM, "int8": (_Way("torch", _int8_weights),),
    **_BITSANDBYTES,
}


def _padded(x: torch.Tensor, rows: int) -> torch.Tensor:
    import torch

    return torch.nn.functional.pad(x, (0, 0, 0, -len(x) % rows))


def _multiples(K: int, N: int, of_k: int, of_n: int | None = None) -> None:
    if K % of_k or N % (of_n or of_k):
        raise Refused(f"K = {K} and N = {N} are no multiples of {of_k} and {of_n or of_k}")
