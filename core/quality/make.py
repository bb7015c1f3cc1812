"""One variant of a model: made in place on a copy, in 16 bits where an engine would run it so."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from core.quality.variants import Maker, Variant

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

    Calibration = Sequence[torch.Tensor]


def make(variant: Variant, model: PreTrainedModel, texts: Calibration) -> str:
    """Turns the model into the variant; what made it, with its version.

    Raises QualityError, ValueError, RuntimeError and the like where the model cannot be made so.
    """
    return _MAKERS[variant.maker](variant, model, texts)


def _cast(variant: Variant, model: PreTrainedModel, texts: Calibration) -> str:
    import torch

    model.to(torch.bfloat16)
    return f"torch {torch.__version__}"


def _round(variant: Variant, model: PreTrainedModel, texts: Calibration) -> str:
    from core.quality.rtn import round_weights

    assert variant.group is not None
    round_weights(model, variant.bits, variant.group)
    return _cast(variant, model, texts)


_MAKERS: Final[dict[Maker, Callable[[Variant, PreTrainedModel, Calibration], str]]] = {
    Maker.CAST: _cast, Maker.ROUND: _round,
}
