"""Checkpoints: what a repository stores, read from its declarations and its tensor headers."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from core.models import ModelSpec, Shipped
from core.products.formats import FORMATS
from core.reading.checkpoints.declaration import Declaration, Json, declaration, fp8_block
from core.reading.checkpoints.gguf import Gguf
from core.reading.checkpoints.gguf_config import config_of, format_of
from core.reading.checkpoints.resident import bits_per_weight, kept_rows, parameters, resident_bytes
from core.reading.checkpoints.roles import role_formats
from core.reading.checkpoints.tensors import Tensors

__all__ = ["Gguf", "Tensors", "config_of", "described", "shipped", "shipped_gguf"]

_PLAIN: Final = {"BF16": "bf16", "F16": "fp16", "F32": "bf16", "F64": "bf16"}   # vLLM serves FP32 in bf16
_DISAGREEMENT: Final = 0.01   # of the parameters: below it, buffers and projector biases


def shipped(
    config: Json, quant_config: Json | None = None, headers: Sequence[Tensors] | None = None,
    *, layers: int | None = None, tied: bool = False,
) -> Shipped | None:
    """How the repository stores its weights; None when it declares no quantisation and no header was read.

    `headers` are the rows of all its safetensors files; `layers` is the depth of the decoder stack and
    `tied` whether lm_head is the embedding: what lies beyond and what is stored twice is not resident.
    Raises: ArchitectureUnknown naming a quantisation that no format stands for.
    """
    declared = declaration(config, quant_config)
    found = None
    if declared is not None:
        declared = _corrected(declared, headers or ())
        found = Shipped(declared.format, kv_format=declared.kv_format, unquantised=declared.unquantised,
                        role_formats=role_formats(declared), block=fp8_block(config), source=declared.source)
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
    )


def _corrected(declared: Declaration, headers: Sequence[Tensors]) -> Declaration:
    """DeepSeek-V4 without `expert_dtype`: declared fp8, yet experts packed two FP4 values to an I8."""
    packed = any(row.dtype in ("I8", "U8") and re.search(r"experts.*\.weight$", row.name) for row in headers)
    if declared.format == "fp8" and packed:
        return replace(declared, format="mxfp4", elsewhere="fp8")
    return declared


def _plain_format(rows: Sequence[Tensors]) -> str:
    """16-bit format of most weights."""
    sizes: dict[str, int] = {}
    for row in rows:
        sizes[row.dtype] = sizes.get(row.dtype, 0) + row.bytes
    return _PLAIN.get(max(sizes, key=lambda dtype: sizes[dtype]), "bf16") if sizes else "bf16"


def _value_bits(name: str) -> int:
    """Bits of one value, scales left out."""
    return 8 if FORMATS[name].bits_per_weight >= 8 else 4


def described(spec: ModelSpec, config: Json, quant_config: Json | None, headers: Sequence[Tensors]) -> ModelSpec:
    """The spec with its weights as the headers show them, and a note when they contradict config.json."""
    found = shipped(config, quant_config, headers, layers=spec.n_layers, tied=spec.tied_embeddings)
    if found is None:
        return spec
    kept = kept_rows(headers, spec.n_layers, spec.tied_embeddings)
    stored = parameters(kept, _value_bits(found.format))
    spec = replace(spec, shipped=found)
    return _noted(spec, stored)


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
