"""Weights rounded to the nearest of a few levels, a scale and a zero point for each group of inputs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.errors import QualityError

if TYPE_CHECKING:
    import torch
    from torch.nn import Linear
    from transformers import PreTrainedModel

LEAST_COVERED: Final = 0.5          # of the weights outside the embeddings, else the figure would flatter


def linears(model: PreTrainedModel) -> dict[str, Linear]:
    """The matrices that formats quantise: every linear layer but the one that makes the logits.

    Raises QualityError where most weights lie elsewhere, as in experts that are stored fused.
    """
    from torch.nn import Embedding, Linear

    head = model.get_output_embeddings()
    found = {name: one for name, one in model.named_modules() if isinstance(one, Linear) and one is not head}
    embedded = {id(m.weight) for m in model.modules() if isinstance(m, Embedding) or m is head}
    rest = sum(p.numel() for p in model.parameters() if id(p) not in embedded)
    covered = sum(module.weight.numel() for module in found.values())
    if covered < LEAST_COVERED * rest:
        raise QualityError(f"only {covered / rest:.0%} of the weights are plain matrices, the rest is stored otherwise")
    return found


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
