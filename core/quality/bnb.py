"""LLM.int8() and NF4 as bitsandbytes runs them, on any device it has kernels for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from core.quality.matrices import linears

if TYPE_CHECKING:
    from torch.nn import Linear, Module
    from transformers import PreTrainedModel

OUTLIERS: Final = 6.0               # activations beyond it stay in 16 bits (arXiv 2208.07339; transformers' default)
BLOCK: Final = 64                   # weights that share an absmax: transformers' default


def quantise(model: PreTrainedModel, bits: int) -> str:
    """Puts bitsandbytes' layers in the place of every matrix; what made it, with its version."""
    import bitsandbytes
    import torch

    model.to(torch.bfloat16)
    for name, module in linears(model).items():
        parent, _, leaf = name.rpartition(".")
        made = _int8(module) if bits == 8 else _nf4(module)
        setattr(model.get_submodule(parent), leaf, made.to(model.device))
    return f"bitsandbytes {bitsandbytes.__version__} {'LLM.int8()' if bits == 8 else 'NF4'}"


def _int8(linear: Linear) -> Module:
    import bitsandbytes as bnb

    made: Module = bnb.nn.Linear8bitLt(
        linear.in_features, linear.out_features, linear.bias is not None, has_fp16_weights=False, threshold=OUTLIERS
    )
    made.weight = bnb.nn.Int8Params(linear.weight.data.cpu(), requires_grad=False, has_fp16_weights=False)
    made.bias = linear.bias
    return made


def _nf4(linear: Linear) -> Module:
    """The matrix with its weights as NF4 holds them: bitsandbytes' layer, too, multiplies by them dequantised."""
    from bitsandbytes import functional

    packed, state = functional.quantize_4bit(linear.weight.data, blocksize=BLOCK, quant_type="nf4")
    linear.weight.data = functional.dequantize_4bit(packed, state)
    return linear
