"""One operator ready to run, and the check that it computes what it should before it is timed."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.machinery.worker import ran_out_of_memory

if TYPE_CHECKING:
    import torch

ROWS: Final = 2                 # compared at each end of a result
COLUMNS: Final = 32
TOLERANCE: Final = 0.02         # relative norm of the difference; bf16 rounds to 0.4 %
_LIBRARY: Final = ("CUBLAS_STATUS", "CUDNN_STATUS")    # refuses a shape; the device lives on
FAULT: Final = "CUDA fault"


class Refused(ValueError):
    """A kernel that does not take the shape or computes something else; one phrase says which."""


class Absent(Refused):
    """A kernel whose library is not installed."""


@dataclass(frozen=True, slots=True)
class Kernel:
    """Something to run, and what it is called with its version."""

    run: Callable[[], torch.Tensor]
    name: str
    expected: Callable[[], torch.Tensor] | None = None      # the `corners` of what it returns, in 32 bits


@dataclass(frozen=True, slots=True)
class Candidate:
    """A way to compute something that may be the fastest."""

    package: str
    make: Callable[[], Kernel]      # one copy on fresh random data
    compiles: Hashable = None       # for seconds, when it is first used: what for, where it compiles at all
    is_spare: bool = False          # only where no other works


def ends(tensor: torch.Tensor, count: int, dim: int) -> torch.Tensor:
    """The first and the last `count` slices along `dim`; all of them where there are fewer."""
    import torch

    size = tensor.shape[dim]
    if size <= 2 * count:
        return tensor
    return torch.cat([tensor.narrow(dim, 0, count), tensor.narrow(dim, size - count, count)], dim)


def corners(result: torch.Tensor) -> torch.Tensor:
    """The corners of a result [..., rows, columns]: where tiles that are cut short go wrong.

    Of several matrices the first and the last count.
    """
    if result.ndim > 2:
        result = ends(result, 1, 0)
    return ends(ends(result, ROWS, -2), COLUMNS, -1)


def product(x: torch.Tensor, columns: torch.Tensor) -> torch.Tensor:
    """Corners of x [M, K] times weights of which `columns` [K, 2 x COLUMNS] are the ends, in 32 bits."""
    return ends(x, ROWS, 0).float() @ columns.to(x.device).float()


def grouped_product(
    x: torch.Tensor, running_sum: torch.Tensor, columns_of: Callable[[int], torch.Tensor],
) -> torch.Tensor:
    """Corners of rows [M, K] sorted by expert, each times the weights of its own; `running_sum` [experts] of rows."""
    import torch

    rows = ends(torch.arange(len(x), device=x.device), ROWS, 0)
    experts = torch.searchsorted(running_sum.long(), rows, right=True).tolist()
    parts = [product(x[row : row + 1], columns_of(one)) for row, one in zip(rows.tolist(), experts, strict=True)]
    return torch.cat(parts)


def checked(kernel: Kernel) -> Kernel:
    """The kernel itself. Raises Refused where what it computes is not what is expected."""
    if kernel.expected is None:
        return kernel
    expected = kernel.expected()
    found = corners(kernel.run()).float()
    error = float((found - expected).norm() / expected.norm())
    if not error < TOLERANCE:       # so that NaN is refused too
        raise Refused(f"its result is off by {error:.1%}")
    return kernel


def why(error: Exception) -> str:
    """The reason something could not be measured, in words; begins with FAULT where the device is lost."""
    text = str(error).strip().split("\n")[0]
    if ran_out_of_memory(error):
        return "not enough memory"
    if "captur" in text:
        return "it cannot be part of a CUDA graph on this GPU"
    if "CUDA error" in text and not any(words in text for words in _LIBRARY):
        return f"{FAULT} ({text[:120]})"
    return text[:160] or type(error).__name__
