"""The mixtures of GGUF files: which block type llama.cpp gives each tensor.

Source: llama.cpp src/llama-quant.cpp `llama_tensor_get_type` and ggml-common.h; the file averages of
Llama-3.1-8B come out to four decimals (Q4_K_M 4.8944, Q4_K_S 4.6672, Q5_K_M 5.7036, Q6_K 6.5633, Q8_0 8.5008).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from core.products import ggml

# What takes the place of a type where a row is no whole number of its blocks; IQ4_NL for all others.
_FALLBACK: Final = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0", "Q8_0": "F16"}
_LOWEST: Final = ("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M")
_TABLES: Final = {   # the untied embedding, where it is not of the type most tensors get
    "IQ1_S": "Q2_K", "IQ1_M": "Q2_K", "IQ2_XXS": "Q2_K", "IQ2_XS": "Q2_K", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S",
    "IQ3_XXS": "IQ3_S", "TQ1_0": "Q4_K", "TQ2_0": "Q4_K", "MXFP4_MOE": "Q8_0",
}


@dataclass(frozen=True, slots=True)
class Stack:
    """What the rules look at."""

    layers: int
    queries_per_kv_head: float
    experts: int


def _base(mixture: str) -> str:
    """The type most tensors get: Q4_K of Q4_K_M."""
    return ggml.base_type(mixture) or mixture


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _lifted(mixture: str) -> str:
    """The type the lowest mixtures give the tensors that matter most."""
    return "IQ3_S" if mixture in ("IQ2_S", "IQ2_M") else "Q2_K"


def _attn_v(mixture: str, layer: int, stack: Stack) -> str:
    grouped = stack.queries_per_kv_head >= 4
    chosen = _base(mixture)
    if mixture in _LOWEST:
        return "Q4_K" if grouped or stack.experts >= 4 else _lifted(mixture)
    if mixture == "Q2_K":
        chosen = "Q4_K" if grouped else "Q3_K"
    elif mixture == "IQ3_M" or (grouped and mixture in ("Q2_K_S", "IQ3_XXS", "IQ3_XS", "IQ3_S")):
        chosen = "Q4_K"
    elif mixture == "Q3_K_M":
        chosen = "Q5_K" if layer < 2 else "Q4_K"
    elif mixture == "Q3_K_L" or (mixture in ("IQ4_NL", "IQ4_XS") and grouped):
        chosen = "Q5_K"
    elif mixture in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, stack.layers):
        chosen = "Q6_K"
    elif mixture == "Q4_K_S" and layer < 4:
        chosen = "Q5_K"
    if stack.layers == 80 and stack.queries_per_kv_head > 1 and chosen in ("Q3_K", "Q4_K"):
        chosen = "Q5_K"                  # Llama 70B: eight queries share one value
    return "Q8_0" if stack.experts == 8 else chosen


def _ffn_down(mixture: str, layer: int, stack: Stack) -> str:
    first_eighth = layer < stack.layers // 8
    chosen = _base(mixture)
    if mixture in _LOWEST:
        chosen = _lifted(mixture) if first_eighth else chosen
    elif mixture == "Q2_K":
        chosen = "Q3_K"
    elif mixture == "Q3_K_M":
        chosen = "Q5_K" if layer < stack.layers // 16 else "Q4_K"
    elif first_eighth and mixture in ("Q2_K_S", "IQ3_M"):
        chosen = "Q4_K"
    elif mixture == "Q3_K_L" or (mixture in ("Q4_K_S", "IQ4_NL", "IQ4_XS") and first_eighth):
        chosen = "Q5_K"
    elif mixture in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, stack.layers):
        chosen = "Q6_K"
    return chosen


def _ffn_gate_up(mixture: str, layer: int, stack: Stack) -> str:
    middle = stack.layers // 8 <= layer < 7 * stack.layers // 8
    return "IQ3_XXS" if mixture == "IQ3_XS" and middle else _base(mixture)


def _attn_output(mixture: str, _: int, stack: Stack) -> str:
    if stack.experts == 8 and mixture in (*_LOWEST, "Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ3_XXS", "IQ3_XS",
                                          "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS"):
        return "Q5_K"
    if mixture in _LOWEST:
        return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(mixture, _base(mixture))
    wider = {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "IQ3_M": "Q4_K", "Q3_K_L": "Q5_K"}
    return wider.get(mixture, _base(mixture))


def _attn_k(mixture: str, _: int, stack: Stack) -> str:
    if stack.experts == 8:
        return "Q4_K" if mixture in _LOWEST else "Q8_0"
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mixture, _base(mixture))


def _attn_q(mixture: str, *_: object) -> str:
    return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mixture, _base(mixture))


_RULES: Final[Mapping[str, Callable[[str, int, Stack], str]]] = {
    "attn_q": _attn_q, "attn_k": _attn_k, "attn_v": _attn_v, "attn_output": _attn_output,
    "ffn_down": _ffn_down, "ffn_gate_up": _ffn_gate_up,
}


@lru_cache(maxsize=4096)
def tensor_bits(mixture: str, tensor: str, row: int, stack: Stack) -> float:
    """Bits per weight of a kind of tensor, mean over the layers.

    `tensor`: a key of `_RULES`, 'experts' of MXFP4_MOE, or anything else; `row`: inputs, its contiguous axis.
    """
    ruled, _ = ggml.ruled_as(mixture)
    if ruled == "MXFP4_MOE":
        return _row_bits("MXFP4" if tensor == "experts" else "Q8_0", row)
    rule = _RULES.get(tensor)
    types = [rule(ruled, i, stack) if rule else _base(ruled) for i in range(max(1, stack.layers))]
    return sum(_row_bits(chosen, row) for chosen in types) / len(types)


def head_bits(mixture: str, row: int) -> float:
    """Bits per weight of the output matrix; a tied embedding is stored as the output."""
    ruled, wide = ggml.ruled_as(mixture)
    if wide or ruled in ("Q8_0", "MXFP4_MOE"):
        return _row_bits("Q8_0", row)
    return _row_bits("Q5_K" if ruled in (*_LOWEST, "IQ3_XXS") else "Q6_K", row)


def embedding_bits(mixture: str, row: int) -> float:
    """Bits per weight of an untied token embedding."""
    ruled, wide = ggml.ruled_as(mixture)
    return _row_bits("Q8_0" if wide else _TABLES.get(ruled, _base(ruled)), row)


def _row_bits(chosen: str, row: int) -> float:
    if row % ggml.TYPES[chosen].block_weights:
        chosen = _FALLBACK.get(chosen, "IQ4_NL")
    kind = ggml.TYPES[chosen]
    return kind.bits + 8 * kind.row_bytes / row
