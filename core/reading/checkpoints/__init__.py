"""Checkpoints: what a repository stores, read from its declarations and its tensor headers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.basics.errors import ArchitectureUnknown
from core.models import ModelSpec, Shipped
from core.products.formats import FORMATS
from core.reading.checkpoints.declaration import Declaration, declaration, fp8_block, method_of, with_fp4_experts
from core.reading.checkpoints.gguf import Gguf
from core.reading.checkpoints.gguf_config import config_of, format_of
from core.reading.checkpoints.quantisers import Json
from core.reading.checkpoints.resident import bits_per_weight, kept_rows, parameters, resident_bytes
from core.reading.checkpoints.roles import placement
from core.reading.checkpoints.tensors import Tensors

__all__ = ["Gguf", "Tensors", "config_of", "described", "shipped", "shipped_gguf"]

_PLAIN: Final = {"BF16": "bf16", "F16": "fp16", "F32": "bf16", "F64": "bf16"}   # vLLM serves FP32 in bf16
_WHOLE_IN_A_BYTE: Final = (2, 4, 8)   # widths that every tool packs alike
_DISAGREEMENT: Final = 0.01   # of the parameters: below it, buffers and projector biases


def shipped(
    config: Json, quant_config: Json | None = None, headers: Sequence[Tensors] | None = None,
    *, layers: int | None = None, tied: bool = False, spec: ModelSpec | None = None,
) -> Shipped | None:
    """How the repository stores its weights; None when it declares no quantisation and no header was read.

    `headers` are the rows of all its safetensors files; `layers` is the depth of the decoder stack and
    `tied` whether lm_head is the embedding: what lies beyond and what is stored twice is not resident.
    `spec` gives the shapes a declaration is counted over. Headers settle what the declaration leaves open.
    Raises: ArchitectureUnknown naming a quantisation that no format stands for.
    """
    found = _found(config, quant_config, headers or (), spec)
    if not headers:
        return found
    kept = kept_rows(headers, 10**9 if layers is None else layers, tied)
    plain = found or Shipped(_plain_format(kept), source="types in the safetensors headers")
    return replace(
        plain,
        weight_bytes=resident_bytes(kept),
        stored_bytes=sum(row.bytes for row in headers),
        bits_per_weight=bits_per_weight(kept, _value_bits(plain.format)) if found else None,
        source=f"{plain.source}; sizes from the safetensors headers",
        note="",
    )


def _found(config: Json, quant_config: Json | None, headers: Sequence[Tensors], spec: ModelSpec | None
           ) -> Shipped | None:
    try:
        declared = declaration(config, quant_config)
    except ArchitectureUnknown:
        if not headers or spec is None:
            raise
        return _unread(method_of(config), headers, spec)
    if declared is None:
        return None
    declared = _corrected(declared, headers)
    placed = placement(declared, spec)
    hidden = spec.hidden_size if spec else 1
    return Shipped(placed.format, kv_format=declared.kv_format, unquantised=declared.unquantised,
                   role_formats=placed.roles, block=fp8_block(config), role_bits=placed.bits,
                   embedding_bits=declared.scheme.embedding.bits(hidden), source=declared.source,
                   note=declared.scheme.note)


def _unread(method: str, headers: Sequence[Tensors], spec: ModelSpec) -> Shipped:
    """A quantisation known by name at most: as many bits as its tensors take, and the nearest format's speed."""
    kept = kept_rows(headers, spec.n_layers, spec.tied_embeddings)
    matrices = sum(n * linear.matrix_params for linear, n in spec.linears())
    rest = 2.0 * (spec.total_params - matrices)
    bits = min(8.0, max(2.0, 8 * (resident_bytes(kept) - rest) / max(1, matrices)))
    family = f"{method.lower().rstrip('#')}-{round(bits)}bit"
    name = family if family in FORMATS else f"int{round(bits)}"
    return Shipped(name, source=f"quantised with {method or 'an unnamed method'}")


def _corrected(declared: Declaration, headers: Sequence[Tensors]) -> Declaration:
    """DeepSeek-V4 without `expert_dtype`: declared fp8, yet experts packed two FP4 values to an I8."""
    packed = any(row.dtype in ("I8", "U8") and re.search(r"experts.*\.weight$", row.name) for row in headers)
    if declared.scheme.default.format == "fp8" and packed:
        return replace(declared, scheme=with_fp4_experts(declared.scheme))
    return declared


def _plain_format(rows: Sequence[Tensors]) -> str:
    """16-bit format of most weights."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.dtype] = sizes.get(row.dtype, 0) + row.bytes
    return _PLAIN.get(max(sizes, key=lambda dtype: sizes[dtype]), "bf16") if sizes else "bf16"


def _value_bits(name: str) -> int:
    """Bits of one value, scales left out."""
    return min(8, int(FORMATS[name].bits_per_weight))


def described(spec: ModelSpec, config: Json, quant_config: Json | None, headers: Sequence[Tensors]) -> ModelSpec:
    """The spec with its weights as declared and as the headers show them; notes say what contradicts or stays open."""
    found = shipped(config, quant_config, headers, layers=spec.n_layers, tied=spec.tied_embeddings, spec=spec)
    if found is None:
        return spec
    spec = replace(spec, shipped=found, notes=(*spec.notes, *([found.note] if found.note else [])))
    bits = _value_bits(found.format)
    if not headers or bits not in _WHOLE_IN_A_BYTE:
        return spec
    return _noted(spec, parameters(kept_rows(headers, spec.n_layers, spec.tied_embeddings), bits))


def shipped_gguf(spec: ModelSpec, header: Gguf, rows: Sequence[Tensors]) -> ModelSpec:
    """The spec with its weights as a GGUF file (or its parts) stores them; `rows` are all tensors."""
    kept = kept_rows(rows, spec.n_layers, False)
    found = Shipped(
        format_of(header),
        weight_bytes=sum(row.bytes for row in kept),
        stored_bytes=sum(row.bytes for row in rows),
        bits_per_weight=_average_bits(kept),
        source="tensor table of the GGUF header",
    )
    return _noted(replace(spec, shipped=found), sum(row.elements for row in kept))


def _average_bits(rows: Sequence[Tensors]) -> float | None:
    elements = sum(row.elements for row in rows)
    return 8 * sum(row.bytes for row in rows) / elements if elements else None


def _noted(spec: ModelSpec, stored: int) -> ModelSpec:
    if abs(stored - spec.total_params) <= _DISAGREEMENT * spec.total_params:
        return spec
    note = (f"The checkpoint holds {stored:,} parameters where its configuration describes {spec.total_params:,};"
            " the weights are planned as stored.")
    return replace(spec, notes=(*spec.notes, note))
