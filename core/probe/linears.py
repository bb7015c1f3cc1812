"""A linear layer in each weight format, with the fastest kernel that is there, on random weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.probe.measurement import FALLBACK
from core.probe.order import GROUP

if TYPE_CHECKING:
    import torch

INT_MM_ROWS: Final = 32         # torch._int_mm on CUDA wants more than 16 rows
SCALED_MM_ROWS: Final = 16
INNER_K_TILES: Final = 8        # tinygemm's packing: K is a multiple of 16 times this


@dataclass(frozen=True, slots=True)
class Kernel:
    """Something to run, and what it is called with its version."""

    run: Callable[[], torch.Tensor]
    name: str


def linear(fmt: str, M: int, K: int, N: int, device: torch.device) -> Kernel:
    """x [M, K] times fresh random weights [K, N] in format `fmt`. Raises ValueError where no kernel takes the shape."""
    import torch

    make = _MAKERS.get(fmt)
    if make is None:
        raise ValueError(f"no kernel for {fmt}")
    x = torch.randn((M, K), device=device, dtype=torch.bfloat16)
    return make(x, K, N)


def _sixteen(x: torch.Tensor, K: int, N: int) -> Kernel:
    import torch

    weights = torch.randn((N, K), device=x.device, dtype=torch.bfloat16)
    return Kernel(lambda: torch.nn.functional.linear(x, weights), f"torch {torch.__version__} linear")


def _fp8(x: torch.Tensor, K: int, N: int) -> Kernel:
    """Both operands in e4m3 with one scale each; rows are padded to the 16 that the kernel asks for."""
    import torch

    _multiples(K, N, 16)
    a = _padded(x, SCALED_MM_ROWS).to(torch.float8_e4m3fn)
    b = torch.randn((N, K), device=x.device, dtype=torch.bfloat16).to(torch.float8_e4m3fn).t()
    one = torch.ones((), device=x.device)

    def run() -> torch.Tensor:
        return torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.bfloat16)

    return Kernel(run, f"torch {torch.__version__} _scaled_mm")


def _int8_activations(x: torch.Tensor, K: int, N: int) -> Kernel:
    import torch

    _multiples(K, N, 8)
    a = torch.randint(-127, 128, (max(len(x), INT_MM_ROWS), K), device=x.device, dtype=torch.int8)
    b = torch.randint(-127, 128, (N, K), device=x.device, dtype=torch.int8).t()
    return Kernel(lambda: torch._int_mm(a, b), f"torch {torch.__version__} _int_mm")


def _int8_weights(x: torch.Tensor, K: int, N: int) -> Kernel:
    import torch

    if x.device.type == "cuda":     # torch's own kernel works one thread an output there
        return _triton(x, K, N, bits=8, awq=False)
    weights = torch.randint(-127, 128, (N, K), device=x.device, dtype=torch.int8)
    scales = torch.rand(N, device=x.device, dtype=torch.bfloat16)
    return Kernel(
        lambda: torch._weight_int8pack_mm(x, weights, scales), f"torch {torch.__version__} _weight_int8pack_mm"
    )


def _int4_tinygemm(x: torch.Tensor, K: int, N: int) -> Kernel:
    """torch's tinygemm layout, group 128."""
    import torch

    _multiples(K, N, GROUP, 8)
    scales_zeros = torch.rand((K // GROUP, N, 2), device=x.device, dtype=torch.bfloat16)
    if x.device.type == "cuda":
        nibbles = torch.randint(0, 256, (N, K // 2), device=x.device, dtype=torch.uint8)
        packed = torch._convert_weight_to_int4pack(nibbles, INNER_K_TILES)
        multiply = torch._weight_int4pack_mm
    else:
        values = torch.randint(0, 16, (N, K), dtype=torch.int32)
        packed = torch._convert_weight_to_int4pack_for_cpu(values, 1)
        multiply = torch._weight_int4pack_mm_for_cpu
    return Kernel(lambda: multiply(x, packed, GROUP, scales_zeros), f"torch {torch.__version__} tinygemm")


def _int4_awq(x: torch.Tensor, K: int, N: int) -> Kernel:
    return _triton(x, K, N, bits=4, awq=True)


def _int4_gptq(x: torch.Tensor, K: int, N: int) -> Kernel:
    return _triton(x, K, N, bits=4, awq=False)


def _triton(x: torch.Tensor, K: int, N: int, *, bits: int, awq: bool) -> Kernel:
    """Our own kernel on random words: any word is a valid set of weights."""
    import torch

    if x.device.type != "cuda":
        raise ValueError("the AWQ and GPTQ layouts have a kernel on GPUs only")
    import triton

    from core.probe.kernels.weight_only import weight_only_matmul

    _multiples(K, N, GROUP, 8)
    per_word = 32 // bits
    shape = (K, N // per_word) if awq else (K // per_word, N)

    def words(*size: int) -> torch.Tensor:
        return torch.randint(-(2**31), 2**31 - 1, size, device=x.device, dtype=torch.int32)

    qweight, qzeros = words(*shape), words(K // GROUP, N // per_word)
    scales = torch.rand((K // GROUP, N), device=x.device, dtype=torch.float16) * 0.01

    def run() -> torch.Tensor:
        return weight_only_matmul(x, qweight, qzeros, scales, bits=bits, group=GROUP, awq=awq)

    return Kernel(run, f"sweetspot weight_only, triton {triton.__version__}{FALLBACK}")


_MAKERS: Final[dict[str, Callable[[torch.Tensor, int, int], Kernel]]] = {
    "bf16": _sixteen, "fp8": _fp8, "int8": _int8_weights, "w8a8-int8": _int8_activations,
    "int4": _int4_tinygemm, "awq-int4": _int4_awq, "gptq-int4": _int4_gptq,
}


def _padded(x: torch.Tensor, rows: int) -> torch.Tensor:
    import torch

    return torch.nn.functional.pad(x, (0, 0, 0, -len(x) % rows))


def _multiples(K: int, N: int, of_k: int, of_n: int | None = None) -> None:
    if K % of_k or N % (of_n or of_k):
        raise ValueError(f"K = {K} and N = {N} are no multiples of {of_k} and {of_n or of_k}")
