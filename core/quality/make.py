"""One variant of a model: made in place on a copy, in 16 bits where an engine would run it so."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from core.quality.variants import Maker, Means, Variant

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def make(variant: Variant, model: PreTrainedModel, means: Means, *, as_checkpoint: bool = False) -> str:
    """Turns the model into the variant; what made it, with its version.

    `as_checkpoint`: in the layout that is saved, where the variant has one.
    Raises QualityError, ValueError, RuntimeError and the like where the model cannot be made so.
    """
    maker = Maker.COMPRESSOR if as_checkpoint and variant.can_be_saved else variant.maker
    return _MAKERS[maker](variant, model, means)


def _cast(variant: Variant, model: PreTrainedModel, means: Means) -> str:
    import torch

    model.to(torch.bfloat16)
    return f"torch {torch.__version__}"


def _round(variant: Variant, model: PreTrainedModel, means: Means) -> str:
    from core.quality.rtn import round_weights

    assert variant.group is not None
    round_weights(model, variant.bits, variant.group)
    return f"{_cast(variant, model, means)} round to nearest"


def _compress(variant: Variant, model: PreTrainedModel, means: Means) -> str:
    from core.quality.compressor import compress

    method = compress(variant, model, means)
    _cast(variant, model, means)
    return method


def _bitsandbytes(variant: Variant, model: PreTrainedModel, means: Means) -> str:
    from core.quality.bnb import quantise

    return quantise(model, variant.bits)


def _cache(variant: Variant, model: PreTrainedModel, means: Means) -> str:
    from core.quality.kv import quantise

    return quantise(model, variant.kv_cache)


_MAKERS: Final[dict[Maker, Callable[[Variant, PreTrainedModel, Means], str]]] = {
    Maker.CAST: _cast, Maker.ROUND: _round, Maker.COMPRESSOR: _compress, Maker.BITSANDBYTES: _bitsandbytes,
    Maker.CACHE: _cache,
}
