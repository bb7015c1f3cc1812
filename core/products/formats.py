"""Number formats: what a weight or a cached value costs, and what it is multiplied in."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Final, Literal

from core.basics.errors import InputError
from core.basics.tables import Note, Table, Within
from core.products import families


@dataclass(frozen=True, slots=True)
class Format:
    """How the matrices are stored and multiplied."""

    name: str                  # the name of the command line: bf16, fp8, awq-int4, gguf-Q4_K_M, ...
    label: str                 # for people
    bits_per_weight: Annotated[float, Within(1, 32)]     # scales and zero points included
    compute: Literal["fp32", "fp16", "bf16", "fp8", "int8", "fp4"]     # dtype the tensor cores multiply in
    weight_only: bool          # dequantised in the kernel, multiplied in 16 bits
    group_size: Annotated[int, Within(1, 65_536)] | None     # weights that share a scale
    source: str
    kernels: families.Kernels  # where it runs: a rule of core.products.kernels
    # What it stores. experts: those of a mixture alone (MXFP4 of gpt-oss); file: embeddings too, as GGUF.
    scope: Literal["all", "linears", "experts", "file"] = "linears"
    runtime: Note = ""         # what alone runs it (MLX, ExLlamaV2, ...); empty: the engines that list its name
    lightest: Annotated[float, Within(0.5, 2)] = 0.99   # what a checkpoint may weigh, of what it is computed to
    heaviest: Annotated[float, Within(1, 2)] = 1.02
    recipes: tuple[str, ...] = ()        # what makes it, and how it says so: modelopt=int4_awq

    @property
    def bytes_per_weight(self) -> float:
        """Size of one weight, scales and zero points included [B]."""
        return self.bits_per_weight / 8

    def recipe(self, quantiser: str) -> str | None:
        """How a quantiser is told to make it; None where it cannot."""
        return next((how for tool, _, how in (said.partition("=") for said in self.recipes) if tool == quantiser), None)


@dataclass(frozen=True, slots=True)
class KvFormat:
    """How keys and values are cached."""

    name: str                  # bf16 fp16 fp8 int8 int4 fp32
    bits_per_value: Annotated[float, Within(1, 32)]      # scales included, unless the source says otherwise
    source: str
    listed: bool = False       # worth trying on a model; the others are known by name

    @property
    def bytes_per_value(self) -> float:
        """Size of one cached value, scales included [B]."""
        return self.bits_per_value / 8


_KV_TABLE: Final = Table("kv_formats.csv", KvFormat)


class _Formats(Mapping[str, Format]):
    """Looks up every format there is, a family's members too; lists those worth trying on a model."""

    def __init__(self, listed: Mapping[str, Format]) -> None:
        self._listed = listed

    def __getitem__(self, name: str) -> Format:
        if name in self._listed:
            return self._listed[name]
        found = families.member(name)
        if found is None or found.name != name:
            raise KeyError(name)
        return Format(**found._asdict())

    def __iter__(self) -> Iterator[str]:
        return iter(self._listed)

    def __len__(self) -> int:
        return len(self._listed)


class _KvFormats(Mapping[str, KvFormat]):
    """Looks up every KV cache format there is; lists those worth trying on a model."""

    def __getitem__(self, name: str) -> KvFormat:
        return _KV_TABLE[name]

    def __iter__(self) -> Iterator[str]:
        return (name for name, kv in _KV_TABLE.items() if kv.listed)

    def __len__(self) -> int:
        return sum(kv.listed for kv in _KV_TABLE.values())


FORMATS: Final[Mapping[str, Format]] = _Formats(Table("formats.csv", Format))
KV_FORMATS: Final[Mapping[str, KvFormat]] = _KvFormats()


def _named(name: str, known: Mapping[str, object], what: str) -> str:
    by_lower = {key.lower(): key for key in known}
    key = by_lower.get(name.strip().lower())
    if key is None:
        close = get_close_matches(name.strip().lower(), by_lower, n=1)
        hint = f" Did you mean {by_lower[close[0]]}?" if close else ""
        raise InputError(f"'{name}' is no {what}.{hint} Use one of: {', '.join(known)}.")
    return key


def find(name: str) -> Format:
    """The weight format of that name, in any case and spelling.

    Raises: InputError naming the formats there are.
    """
    by_lower = {key.lower(): key for key in FORMATS}
    for said in (name.strip().lower(), families.plain(name)):
        if said in by_lower:
            return FORMATS[by_lower[said]]
    if found := families.member(name):
        return FORMATS[by_lower.get(found.name.lower(), found.name)]
    return FORMATS[_named(name, FORMATS, "weight format")]


def find_kv(name: str) -> KvFormat:
    """The KV cache format of that name, in any case and spelling.

    Raises: InputError naming the formats there are.
    """
    by_plain = {key.replace("_", "-"): key for key in _KV_TABLE}
    return _KV_TABLE[by_plain.get(families.plain(name)) or _named(name, KV_FORMATS, "KV cache format")]
