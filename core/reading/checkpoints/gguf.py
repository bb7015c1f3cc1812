"""The header of a GGUF file: its metadata and where its tensors lie, read without the data.

Format: github.com/ggml-org/ggml docs/gguf.md (versions 2 and 3, little-endian). Nothing in a header
is believed before it is checked against what is left of `MAX_HEADER_BYTES` or of the file.
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Final, TypeAlias

from core.basics.errors import CheckpointInvalid
from core.products import ggml
from core.reading.checkpoints.tensors import MAX_TENSORS, Span, Tensors, refuse_overlaps, summed

ReadAt: TypeAlias = Callable[[int, int], bytes]   # (offset, length) -> that many bytes, fewer at the end
Value: TypeAlias = int | float | bool | str | tuple[int | float, ...]

MAX_HEADER_BYTES: Final = 32_000_000   # a vocabulary of 262,144 with merges takes about 16 MB
_WINDOW: Final = 4_000_000
_MAX_KEYS: Final = 2_000
_MAX_STRING: Final = 1_000_000         # chat templates are the longest strings that matter
_KEPT_ITEMS: Final = 1_024             # longer arrays are vocabularies: their length is kept
_MAX_DIMENSIONS: Final = 8
_STRING, _ARRAY, _BOOL = 8, 9, 7
_LENGTH: Final = struct.Struct("<Q")
_SCALARS: Final = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "B", 10: "Q", 11: "q", 12: "d"}


@dataclass(frozen=True, slots=True)
class Gguf:
    """What a GGUF header says."""

    metadata: dict[str, Value]      # of arrays, the short ones of numbers
    lengths: dict[str, int]         # of every array
    tensors: tuple[Tensors, ...]


class _Cursor:
    """Reads forward through windows of the header; skips without fetching what it jumps over."""

    def __init__(self, read_at: ReadAt, file: str) -> None:
        self._read_at, self._file = read_at, file
        self._window, self._start, self._at = b"", 0, 0

    @property
    def position(self) -> int:
        return self._start + self._at

    def left(self) -> int:
        """Bytes a header may still have."""
        return MAX_HEADER_BYTES - self.position

    def skip(self, length: int) -> None:
        if length > self.left():
            raise self.broken("claims more metadata than a GGUF header can hold")
        self._at += length

    def skip_strings(self, count: int) -> None:
        for _ in range(count):
            if self._at + 8 > len(self._window):
                self._fetch(8)
            length = _LENGTH.unpack_from(self._window, self._at)[0]
            self.skip(8 + length)

    def take(self, length: int) -> bytes:
        if self._at + length > len(self._window):
            self._fetch(length)
        taken = self._window[self._at : self._at + length]
        self._at += length
        return taken

    def _fetch(self, length: int) -> None:
        """Moves the window to the position, with at least `length` bytes in it."""
        if length > self.left():
            raise self.broken("claims more metadata than a GGUF header can hold")
        self._start, self._at = self.position, 0
        self._window = self._read_at(self._start, max(_WINDOW, length))
        if len(self._window) < length:
            raise self.broken("ends inside its header")

    def scalar(self, code: str) -> int | float:
        value: int | float = struct.unpack("<" + code, self.take(struct.calcsize(code)))[0]
        return value

    def size(self) -> int:
        return int(self.scalar("Q"))

    def string(self) -> str:
        length = self.size()
        if length > _MAX_STRING:
            raise self.broken(f"has a string of {length:,} bytes")
        return self.take(length).decode("utf-8", errors="replace")

    def broken(self, what: str) -> CheckpointInvalid:
        return CheckpointInvalid(f"{self._file} {what}; it is damaged or no GGUF file.")


def read_header(read_at: ReadAt, file: str, file_bytes: int | None = None) -> Gguf:
    """Metadata and tensor rows of a GGUF file, fetched through `read_at`.

    Raises: CheckpointInvalid naming what in the header cannot be true.
    """
    cursor = _Cursor(read_at, file)
    if cursor.take(4) != b"GGUF":
        raise cursor.broken("does not begin with 'GGUF'")
    version = int(cursor.scalar("I"))
    if version not in (2, 3):
        raise cursor.broken(f"has GGUF version {version}, not 2 or 3")
    tensors, keys = cursor.size(), cursor.size()
    if tensors > MAX_TENSORS or keys > _MAX_KEYS:
        raise cursor.broken(f"claims {tensors:,} tensors and {keys:,} keys")
    metadata: dict[str, Value] = {}
    lengths: dict[str, int] = {}
    for _ in range(keys):
        key = cursor.string()
        if key in metadata or key in lengths:
            raise cursor.broken(f"names '{key[:80]}' twice")
        kind = int(cursor.scalar("I"))
        if kind == _ARRAY:
            value, lengths[key] = _array(cursor)
            if value is not None:
                metadata[key] = value
        else:
            metadata[key] = _value(cursor, kind)
    return Gguf(metadata, lengths, _tensors(cursor, tensors, metadata, file, file_bytes))


def _value(cursor: _Cursor, kind: int) -> Value:
    if kind == _STRING:
        return cursor.string()
    if kind not in _SCALARS:
        raise cursor.broken(f"has a value of unknown type {kind}")
    value = cursor.scalar(_SCALARS[kind])
    return bool(value) if kind == _BOOL else value


def _array(cursor: _Cursor) -> tuple[tuple[int | float, ...] | None, int]:
    """Items of a short array of numbers, else None, and the length of any."""
    kind, length = int(cursor.scalar("I")), cursor.size()
    if kind not in _SCALARS and kind != _STRING:
        raise cursor.broken("nests arrays, which no model does")
    smallest = struct.calcsize("<" + _SCALARS.get(kind, "Q"))
    if length * smallest > cursor.left():
        raise cursor.broken(f"claims an array of {length:,} items")
    if kind == _STRING:
        cursor.skip_strings(length)
    elif length > _KEPT_ITEMS:
        cursor.skip(length * smallest)
    else:
        return struct.unpack(f"<{length}{_SCALARS[kind]}", cursor.take(length * smallest)), length
    return None, length


def _tensors(cursor: _Cursor, count: int, metadata: dict[str, Value], file: str,
             file_bytes: int | None) -> tuple[Tensors, ...]:
    spans = [_tensor(cursor) for _ in range(count)]
    if len({span.name for span in spans}) != len(spans):
        raise cursor.broken("names a tensor twice")
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20:
        raise cursor.broken("has an absurd alignment")
    data_start = -(-cursor.position // alignment) * alignment
    if file_bytes is not None and any(data_start + span.end > file_bytes for span in spans):
        raise cursor.broken("has tensors beyond its end")
    refuse_overlaps(spans, file)
    return summed(spans)


def _tensor(cursor: _Cursor) -> Span:
    name, dimensions = cursor.string(), int(cursor.scalar("I"))
    if dimensions > _MAX_DIMENSIONS:
        raise cursor.broken(f"has a tensor of {dimensions:,} dimensions")
    shape = tuple(cursor.size() for _ in range(dimensions))
    kind, offset = int(cursor.scalar("I")), cursor.size()
    packed = ggml.by_code().get(kind)
    if packed is None:
        raise cursor.broken(f"has a tensor of unknown type {kind}")
    elements = prod(shape)
    if elements % packed.block_weights or elements >= 2**63:
        raise cursor.broken(f"has a tensor '{name[:80]}' of impossible shape")
    size = packed.tensor_bytes(elements, shape[0] if shape else 1)
    return Span(name, packed.name, shape, elements, offset, offset + size)
