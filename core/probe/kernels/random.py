"""Random weights in the layouts that AWQ and GPTQ checkpoints store; any word is a valid set of weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from core.probe.kernel import COLUMNS, ends
from core.probe.kernels.packing import WORD_BITS, dequantised, unpack_awq, unpack_gptq

if TYPE_CHECKING:
    import torch

SMALLEST_SCALE: Final = 0.005       # scales from here to three times it are exact in bf16 and in fp16


@dataclass(frozen=True, slots=True)
class Packed:
    """Weights of one matrix [K, N], or of several experts with a dimension in front."""

    layout: str                     # "awq": zero points at random; "gptq": all in the middle, as symmetric ones are
    bits: int
    group: int
    qweight: torch.Tensor
    qzeros: torch.Tensor
    scales: torch.Tensor            # fp16

    @property
    def shape(self) -> tuple[int, int]:
        """(K, N)."""
        words, columns = self.qweight.shape[-2:]
        per_word = WORD_BITS // self.bits
        return (words, columns * per_word) if self.layout == "awq" else (words * per_word, columns)

    def columns(self, expert: int | None = None) -> torch.Tensor:
        """The first and last columns of a matrix as real numbers [K, 2 x COLUMNS], on the host."""
        import torch

        per_word = WORD_BITS // self.bits
        qweight, qzeros, scales = (
            (t if expert is None else t[expert]).cpu() for t in (self.qweight, self.qzeros, self.scales)
        )
        of_weights = COLUMNS // per_word if self.layout == "awq" else COLUMNS
        weight_words = ends(qweight, of_weights, 1).numpy()
        zero_words = ends(qzeros, COLUMNS // per_word, 1).numpy()
        unpacked = unpack_awq(weight_words, zero_words) if self.layout == "awq" \
            else unpack_gptq(weight_words, zero_words, self.bits)
        return torch.from_numpy(dequantised(*unpacked, ends(scales, COLUMNS, 1).double().numpy()))


def packed(
    layout: str, bits: int, K: int, N: int, group: int, device: torch.device, experts: int | None = None,
) -> Packed:
    """Fresh random weights [K, N], of `experts` matrices where that is given."""
    import torch

    per_word, lead = WORD_BITS // bits, () if experts is None else (experts,)
    shape = (K, N // per_word) if layout == "awq" else (K // per_word, N)
    of_zeros = (*lead, K // group, N // per_word)

    def words(*size: int) -> torch.Tensor:
        return torch.randint(-(2**31), 2**31 - 1, size, device=device, dtype=torch.int32)

    middle = int(f"{(2 ** (bits - 1) - 1):0{bits // 4}x}" * per_word, 16)       # GPTQ stores zero points less one
    qzeros = words(*of_zeros) if layout == "awq" else torch.full(of_zeros, middle, device=device, dtype=torch.int32)
    scales = SMALLEST_SCALE * (1 + 2 * torch.rand((*lead, K // group, N), device=device))
    return Packed(layout, bits, group, words(*lead, *shape), qzeros, scales.to(torch.bfloat16).to(torch.float16))
