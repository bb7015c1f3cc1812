"""The header of a safetensors file: names, types, shapes and data offsets, nothing else read.

Format: 8 bytes little-endian header length, a JSON object, then the data
(github.com/huggingface/safetensors, README "Format").
"""

import json
from math import prod
from typing import Final, TypeGuard

from core.basics.errors import CheckpointInvalid
from core.reading.checkpoints.tensors import BITS, MAX_TENSORS, Span, Tensors, refuse_overlaps, summed

LENGTH_BYTES: Final = 8
MAX_HEADER_BYTES: Final = 25_000_000   # huggingface_hub 1.33 SAFETENSORS_MAX_HEADER_LENGTH
_MAX_DIMENSIONS: Final = 16
_KEYS: Final = {"dtype", "shape", "data_offsets"}


class _Tensor(tuple[str, tuple[int, ...], int, int]):
    """(dtype, shape, begin, end) of one JSON object; a type of its own to tell it from other lists."""

    __slots__ = ()


class _Rows(tuple[Tensors, ...]):
    """The rows of one file."""

    __slots__ = ()


def header_bytes(start: bytes, file: str, file_bytes: int | None = None) -> int:
    """Length of the JSON header, from the first eight bytes of the file [B].

    Raises: CheckpointInvalid when the file is too short or the length absurd.
    """
    if len(start) < LENGTH_BYTES:
        raise CheckpointInvalid(f"{file} is shorter than a safetensors header; download it again.")
    length = int.from_bytes(start[:LENGTH_BYTES], "little")
    if not 2 <= length <= MAX_HEADER_BYTES:
        raise CheckpointInvalid(
            f"{file} claims a header of {length:,} bytes; safetensors files have 2 to {MAX_HEADER_BYTES:,}."
        )
    if file_bytes is not None and LENGTH_BYTES + length > file_bytes:
        raise CheckpointInvalid(f"{file} ends inside its header; download it again.")
    return length


class _Reader:
    """Takes JSON objects as they close, innermost first: a tensor shrinks to a tuple, a file to its rows."""

    def __init__(self, file: str, data_bytes: int | None) -> None:
        self._file, self._data_bytes, self._tensors = file, data_bytes, 0

    def __call__(self, pairs: list[tuple[str, object]]) -> object:
        if len(pairs) == 3 and {key for key, _ in pairs} == _KEYS:
            self._tensors += 1
            if self._tensors > MAX_TENSORS:
                raise CheckpointInvalid(f"{self._file} lists more than {MAX_TENSORS:,} tensors; no model does.")
            return _tensor(dict(pairs), self._file)
        if any(isinstance(value, _Tensor) for _, value in pairs):
            self._tensors = 0
            return _Rows(summed(_spans(pairs, self._file, self._data_bytes)))
        return pairs


def _loaded(body: bytes, file: str, data_bytes: int | None) -> object:
    try:
        return json.loads(body, object_pairs_hook=_Reader(file, data_bytes))
    except (ValueError, RecursionError):
        raise CheckpointInvalid(f"{file}: the safetensors header is not valid JSON; download it again.") from None


def read_header(header: bytes, file: str, data_bytes: int | None = None) -> tuple[Tensors, ...]:
    """Rows of one file from its JSON header; `data_bytes` is the size of the data section, if known.

    Raises: CheckpointInvalid when it is not JSON, names a tensor twice, or offsets lie.
    """
    rows = _loaded(header, file, data_bytes)
    if isinstance(rows, _Rows):
        return tuple(rows)
    if isinstance(rows, list) and all(_entry(pair) and pair[0] == "__metadata__" for pair in rows):
        return ()
    raise CheckpointInvalid(f"{file}: the safetensors header is not a table of tensors; download it again.")


def read_headers(body: bytes, file: str) -> dict[str, tuple[Tensors, ...]]:
    """Rows of every shard by file name, from the Hub's `safetensors-metadata` answer.

    Answer: {"index": {...}, "headers": {file: header}}. Raises: CheckpointInvalid as `read_header`.
    """
    answer = _loaded(body, file, None)
    headers = next((value for key, value in filter(_entry, answer) if key == "headers"), None) \
        if isinstance(answer, list) else None
    if not isinstance(headers, list) or not headers:
        raise CheckpointInvalid(f"{file}: the Hub's list of shards is not understood.")
    shards: dict[str, tuple[Tensors, ...]] = {}
    for pair in headers:
        if not _entry(pair) or not isinstance(pair[1], _Rows):
            raise CheckpointInvalid(f"{file}: the Hub's list of shards is not understood.")
        shards[pair[0]] = tuple(pair[1])
    return shards


def _entry(pair: object) -> bool:
    """Whether it is a key and its value, not an item of a JSON list."""
    return type(pair) is tuple and len(pair) == 2 and isinstance(pair[0], str)


def _tensor(entry: dict[str, object], file: str) -> _Tensor:
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not (isinstance(dtype, str) and len(dtype) <= 16 and _sizes(shape) and _sizes(offsets)):
        raise CheckpointInvalid(f"{file}: a tensor has no readable type, shape or offsets; download it again.")
    begin, end = offsets if len(offsets) == 2 else (1, 0)   # (1, 0): refused later as outside the file
    return _Tensor((dtype, tuple(shape), begin, end))


def _sizes(value: object) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list) and len(value) <= _MAX_DIMENSIONS
        and all(type(number) is int and 0 <= number < 2**63 for number in value)
    )


def _spans(pairs: list[tuple[str, object]], file: str, data_bytes: int | None) -> list[Span]:
    spans = []
    for name, tensor in pairs:
        if name == "__metadata__":
            continue
        if not isinstance(tensor, _Tensor):
            raise CheckpointInvalid(f"{file}: '{name[:80]}' is not described as a tensor; download it again.")
        spans.append(_checked(name, tensor, file, data_bytes))
    if len({span.name for span in spans}) != len(spans):
        raise CheckpointInvalid(f"{file} names a tensor twice; the file is damaged.")
    refuse_overlaps(spans, file)
    return spans


def _checked(name: str, tensor: _Tensor, file: str, data_bytes: int | None) -> Span:
    dtype, shape, begin, end = tensor
    elements = prod(shape)
    bits = BITS.get(dtype)
    if begin > end or (data_bytes is not None and end > data_bytes):
        raise CheckpointInvalid(f"{file}: tensor '{name[:80]}' lies outside the file; it is damaged or cut short.")
    if bits is not None and -(-elements * bits // 8) != end - begin:
        raise CheckpointInvalid(f"{file}: tensor '{name[:80]}' has {end - begin:,} bytes, which its shape denies.")
    return Span(name, dtype, shape, elements, begin, end)
