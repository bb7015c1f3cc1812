"""What of a checkpoint an engine keeps in memory, and how many parameters the stored tensors stand for."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from core.reading.checkpoints.tensors import Tensors

_STACK: Final = re.compile(
    r"(?:model\.|language_model\.|language_model\.model\.|model\.language_model\.|backbone\.|transformer\.)?"
    r"(?:layers|h|blk)\.(\d+)\."
)
_MTP: Final = re.compile(r"(?:^|\.)(?:mtp|mtp_layers|model_mtp|nextn)\.")   # heads of speculative decoding
_BUFFERS: Final = re.compile(   # saved by old transformers releases, skipped by every loader
    r"(?:rotary_emb\.(?:inv_freq|cos_cached|sin_cached)|\.attn\.(?:masked_)?bias|attention\.(?:masked_)?bias"
    r"|position_ids)$"
)
_EMBEDDING: Final = re.compile(
    r"(?:^|\.)(?:embed_tokens|wte|embeddings?|word_embeddings|shared|tok_embeddings)\.weight$"
)
# Of a quantised matrix, everything but the values: scales, zero points, orders, shapes, code books.
_SCALE: Final = re.compile(
    r"(?:[._](?:weight_)?(?:scale|scales|scale_inv|scale_2|global_scale|zero_point|g_idx|shape|format)"
    r"|[._](?:input|output|k|v|q)_(?:scale|global_scale|zero_point)|\.qzeros|\.SCB"
    r"|\.weight\.(?:absmax|nested_absmax|quant_map|nested_quant_map|quant_state\..*|quantized_stats.*))$"
)
_VALUES: Final = re.compile(r"(?:\.(?:qweight|weight_packed|weight)|_blocks)$")
_NO_PARAMETER: Final = re.compile(   # buffers of the router; scales of a quantised KV cache
    r"(?:e_score_correction_bias|tid2eid|[._][kv]_scale)$"
)


def dropped(name: str, layers: int, tied: bool) -> bool:
    """Whether the loader leaves a tensor out: MTP heads, a second copy of a tied head, saved buffers.

    `layers` is the depth of the decoder stack: what lies beyond it is an MTP layer (DeepSeek, GLM).
    """
    in_stack = _STACK.match(name)
    return bool(
        (in_stack and int(in_stack[1]) >= layers)
        or _MTP.search(name)
        or (tied and name.endswith("lm_head.weight"))
        or _BUFFERS.search(name)
    )


def kept_rows(rows: Iterable[Tensors], layers: int, tied: bool) -> tuple[Tensors, ...]:
    """The rows an engine loads; a tied head is dropped only where the embedding is stored too."""
    rows = tuple(rows)
    twice = tied and any(_EMBEDDING.search(row.name) for row in rows)
    return tuple(row for row in rows if not dropped(row.name, layers, twice))


def resident_bytes(rows: Sequence[Tensors]) -> int:
    """Bytes of loaded rows [B]; a checkpoint in FP32 is served in 16 bits (vLLM 0.33 `--dtype auto`).

    FP32 norms, decays and scales beside narrower weights stay as they are.
    """
    stored = sum(row.bytes for row in rows)
    fp32 = sum(row.bytes for row in rows if row.dtype == "F32")
    return stored - fp32 // 2 if 2 * fp32 > stored else stored


def _matrix(name: str) -> str:
    """The matrix a tensor belongs to: its name without what marks values and scales."""
    return _VALUES.sub("", _SCALE.sub("", name))


def _scaled(rows: Iterable[Tensors]) -> frozenset[str]:
    """Matrices with both values and scales, so quantised ones; a lone `router.scale` is a parameter."""
    values: set[str] = set()
    scales: set[str] = set()
    for row in rows:
        (scales if _SCALE.search(row.name) else values).add(_matrix(row.name))
    return frozenset(values & scales)


def _values_per_element(row: Tensors, bits: int) -> int:
    """How many weights one stored element of a quantised matrix packs."""
    if row.dtype in ("I32", "U32"):
        return 32 // bits
    return 8 // bits if row.dtype in ("U8", "I8") else 1


def parameters(rows: Sequence[Tensors], bits: int) -> int:
    """Parameters the tensors stand for, with quantised values unpacked at `bits` each."""
    scaled, total = _scaled(rows), 0
    for row in rows:
        quantised = _matrix(row.name) in scaled
        if not (_NO_PARAMETER.search(row.name) or (quantised and _SCALE.search(row.name))):
            total += row.elements * (_values_per_element(row, bits) if quantised else 1)
    return total


def bits_per_weight(rows: Sequence[Tensors], bits: int) -> float | None:
    """Bits each weight of the quantised matrices takes, scales and zero points included."""
    scaled = _scaled(rows)
    matrices = [row for row in rows if _matrix(row.name) in scaled]
    weights = parameters(matrices, bits)
    return 8 * sum(row.bytes for row in matrices) / weights if weights else None
