"""Keys and values stored in 8 bits, as a cache would hold them: rounded on their way into attention.

One scale for a layer's keys and one for its values over the whole prompt, as engines keep them a tensor.
A check runs each prompt at once without a cache; what a later token reads of an earlier one is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from core.basics.errors import QualityError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

INT8_LARGEST: Final = 127.0
FP8_LARGEST: Final = 448.0          # of float8_e4m3fn


def quantise(model: PreTrainedModel, kv_cache: str) -> str:
    """Sets the model's attention to one that reads rounded keys and values.

    Raises QualityError where the model's attention is not one that can be set.
    """
    import torch
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.integrations.sdpa_attention import sdpa_attention_forward
    from transformers.masking_utils import sdpa_mask

    name, calls = f"kv-{kv_cache}", []
    store = {"int8": _int8, "fp8": _fp8}[kv_cache]

    def attention(
        module: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, *rest: Any, **more: Any
    ) -> Any:
        calls.append(1)
        return sdpa_attention_forward(module, query, store(key), store(value), *rest, **more)

    AttentionInterface.register(name, attention)
    AttentionMaskInterface.register(name, sdpa_mask)
    model.to(torch.bfloat16)
    model.set_attn_implementation(name)
    with torch.inference_mode():
        model(input_ids=torch.zeros((1, 2), dtype=torch.long, device=model.device), use_cache=False)
    if not calls:
        raise QualityError("this model's attention keeps its cache in a way of its own")
    return f"torch {torch.__version__}, one scale a tensor"


def _int8(x: torch.Tensor) -> torch.Tensor:
    scale = (x.abs().amax() / INT8_LARGEST).clamp(min=1e-12)
    return (x / scale).round().clamp(-INT8_LARGEST, INT8_LARGEST) * scale


def _fp8(x: torch.Tensor) -> torch.Tensor:
    import torch

    scale = (x.abs().amax() / FP8_LARGEST).clamp(min=1e-12)
    return (x / scale).to(torch.float8_e4m3fn).to(x.dtype) * scale
