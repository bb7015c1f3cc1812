"""Tensors of a checkpoint, summed over experts so that half a million of them stay a few thousand rows."""

import re
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from core.basics.errors import CheckpointInvalid

MAX_TENSORS: Final = 200_000   # in one file; the largest real one, Qwen3-Next merged, would hold 75,944

BITS: Final = {   # safetensors `Dtype`, github.com/huggingface/safetensors v0.7 tensor.rs
    "BOOL": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8,
    "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "C64": 64, "F64": 64, "I64": 64, "U64": 64,
}
_INDEX: Final = re.compile(r"\.(\d+)(?=\.|$)")


class Tensors(NamedTuple):
    """`times` tensors of one shape whose names differ in the expert number only."""

    name: str                  # experts as '*': model.layers.3.mlp.experts.*.down_proj.weight
    dtype: str                 # as the file says: BF16, F8_E4M3, I32, ... or a GGML type
    shape: tuple[int, ...]
    times: int
    elements: int              # of all of them, as stored: a packed I32 counts once
    bytes: int                 # of all of them


class Span(NamedTuple):
    """One tensor and where its data lies in its file, relative to the data section [B]."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    elements: int
    begin: int
    end: int


def kind_of(name: str) -> str:
    """The name with every index after the first (the layer) as '*'."""
    first = _INDEX.search(name)
    if first is None:
        return name
    return name[: first.end()] + _INDEX.sub(".*", name[first.end():])


def summed(spans: Iterable[Span]) -> tuple[Tensors, ...]:
    """Tensors that differ in the expert number only, counted together."""
    sums: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for span in spans:
        row = sums.setdefault((kind_of(span.name), span.dtype, span.shape), [0, 0, 0])
        row[0] += 1
        row[1] += span.elements
        row[2] += span.end - span.begin
    return tuple(Tensors(*key, *row) for key, row in sums.items())


def merged(files: Iterable[Iterable[Tensors]]) -> tuple[Tensors, ...]:
    """The rows of several files as if they were one."""
    sums: dict[tuple[str, str, tuple[int, ...]], list[int]] = {}
    for rows in files:
        for row in rows:
            into = sums.setdefault((row.name, row.dtype, row.shape), [0, 0, 0])
            into[0] += row.times
            into[1] += row.elements
            into[2] += row.bytes
    return tuple(Tensors(*key, *row) for key, row in sums.items())


def refuse_overlaps(spans: Sequence[Span], file: str) -> None:
    """Raises CheckpointInvalid when two tensors share bytes: sizes would count twice."""
    filled = 0
    for span in sorted(spans, key=lambda span: (span.begin, span.end)):
        if span.begin < filled and span.end > span.begin:
            raise CheckpointInvalid(f"{file}: tensor '{span.name[:80]}' overlaps another; the file is damaged.")
        filled = max(filled, span.end)
