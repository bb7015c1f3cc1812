"""Weights rounded to the nearest of a few levels, a scale and a zero point for each group of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from core.quality.matrices import linears

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


def round_weights(model: PreTrainedModel, bits: int, group: int) -> None:
    """Rounds every matrix in place."""
    for module in linears(model).values():
        module.weight.data = rounded(module.weight.data, bits, group)


def rounded(weight: torch.Tensor, bits: int, group: int) -> torch.Tensor:
    """weight [N, K] with each run of `group` inputs on 2^bits even levels from its least to its largest value.

    Zero is a level, as in AWQ and GPTQ checkpoints. Where K is no multiple of the group, the last one is short.
    """
    import torch

    K = weight.shape[1]
    levels = 2**bits - 1
    padded = torch.nn.functional.pad(weight.float(), (0, -K % group))   # zeros change no range that holds zero
    grouped = padded.view(len(weight), -1, group)
    low = grouped.amin(-1, keepdim=True).clamp(max=0)
    high = grouped.amax(-1, keepdim=True).clamp(min=0)
    scale = ((high - low) / levels).clamp(min=torch.finfo(torch.float32).tiny)
    zero = (-low / scale).round()
    steps = ((grouped / scale).round() + zero).clamp(0, levels)
    back: torch.Tensor = ((steps - zero) * scale).view(padded.shape)[:, :K]
    return back.to(weight.dtype)
