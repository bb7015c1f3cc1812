"""The mixtures of GGUF files: which block type llama.cpp gives each tensor.

Source: llama.cpp src/llama-quant.cpp `llama_tensor_get_type` and ggml-common.h; the file averages of
Llama-3.1-8B come out to four decimals (Q4_K_M 4.8944, Q4_K_S 4.6672, Q5_K_M 5.7036, Q6_K 6.5633, Q8_0 8.5008).
"""

from dataclasses import dataclass
from functools import lru_cache
from typing import Final

BLOCK_BITS: Final = {
    "F32": 32.0, "F16": 16.0, "Q8_0": 8.5, "Q6_K": 6.5625, "Q5_K": 5.5, "Q5_0": 5.5, "Q5_1": 6.0, "Q4_K": 4.5,
    "Q4_0": 4.5, "Q4_1": 5.0, "IQ4_NL": 4.5, "IQ4_XS": 4.25, "Q3_K": 3.4375, "Q2_K": 2.625,
}
# A row that is no multiple of 256 cannot take super-blocks.
_FALLBACK: Final = {"Q2_K": "Q4_0", "Q3_K": "Q4_0", "IQ4_XS": "IQ4_NL", "Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
_SUPER_BLOCK: Final = 256


@dataclass(frozen=True, slots=True)
class Stack:
    """What the rules look at."""

    layers: int
    queries_per_kv_head: float
    experts: int


def _base(mixture: str) -> str:
    """The type most tensors get: Q4_K of Q4_K_M."""
    return mixture.removesuffix("_S").removesuffix("_M").removesuffix("_L")


def _more_bits(layer: int, layers: int) -> bool:
    return layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2


def _attn_v(mixture: str, layer: int, stack: Stack) -> str:
    grouped = stack.queries_per_kv_head >= 4
    chosen = _base(mixture)
    if mixture == "Q2_K":
        chosen = "Q4_K" if grouped else "Q3_K"
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
    if mixture == "Q2_K":
        chosen = "Q3_K"
    elif mixture == "Q3_K_M":
        chosen = "Q5_K" if layer < stack.layers // 16 else "Q4_K"
    elif mixture == "Q3_K_L" or (mixture in ("Q4_K_S", "IQ4_NL", "IQ4_XS") and first_eighth):
        chosen = "Q5_K"
    elif mixture in ("Q4_K_M", "Q5_K_M") and _more_bits(layer, stack.layers):
        chosen = "Q6_K"
    return chosen


def _attn_output(mixture: str, _: int, stack: Stack) -> str:
    if stack.experts == 8 and mixture in ("Q2_K", "Q3_K_S", "Q3_K_M", "Q4_K_S", "Q4_K_M", "IQ4_NL", "IQ4_XS"):
        return "Q5_K"
    return {"Q2_K": "Q3_K", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K"}.get(mixture, _base(mixture))


def _attn_k(mixture: str, _: int, stack: Stack) -> str:
    return "Q8_0" if stack.experts == 8 else _base(mixture)


_RULES: Final = {"attn_v": _attn_v, "attn_k": _attn_k, "ffn_down": _ffn_down, "attn_output": _attn_output}


@lru_cache(maxsize=4096)
def tensor_bits(mixture: str, tensor: str, row: int, stack: Stack) -> float:
    """Bits per weight of a kind of tensor, mean over the layers.

    `tensor`: attn_v, attn_k, ffn_down, attn_output or anything else; `row`: inputs, its contiguous axis.
    """
    rule = _RULES.get(tensor)
    types = [rule(mixture, i, stack) if rule else _base(mixture) for i in range(max(1, stack.layers))]
    return sum(_row_bits(chosen, row) for chosen in types) / len(types)


def head_bits(mixture: str, row: int) -> float:
    """Bits per weight of the output matrix; a tied embedding is stored as the output."""
    return _row_bits("Q8_0" if mixture == "Q8_0" else "Q6_K", row)


def embedding_bits(mixture: str, row: int) -> float:
    """Bits per weight of an untied token embedding."""
    return _row_bits(_base(mixture), row)


def _row_bits(chosen: str, row: int) -> float:
    return BLOCK_BITS[_FALLBACK.get(chosen, chosen) if row % _SUPER_BLOCK else chosen]
