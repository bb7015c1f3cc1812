"""Families of formats: one row stands for every width and group size a quantiser can write.

`gptq-int{b}` is gptq-int2 to gptq-int8, each with `-g32`, `-g64`, ...; GGUF names are mixtures of ggml types.
"""

import re
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

from core.basics import tables
from core.basics.tables import Note, Within
from core.products import ggml

_BITS: Final = r"([1-9](?:\.\d{1,2})?)"
_LARGEST_GROUP: Final = 65_536
# Unsloth's dynamic files choose types tensor by tensor: whole files over the plain mixture's size, from
# Qwen3-Coder-30B-A3B, Qwen3.8-27B and gemma-4-26B-A4B (UD-Q4_K_XL 4.63-5.42, UD-Q6_K 6.54, UD-IQ2_XXS 3.13 bits).
_DYNAMIC: Final = (0.94, 1.12)
_DYNAMIC_BELOW_4_BITS: Final = (0.95, 1.35)
_FORKS: Final = (0.97, 1.08)              # mixtures of ik_llama.cpp: attention and output in wider types


Compute: TypeAlias = Literal["fp32", "fp16", "bf16", "fp8", "int8", "fp4"]
Scope: TypeAlias = Literal["all", "linears", "experts", "file"]
# Where kernels exist: the rules of core.products.kernels.
Kernels: TypeAlias = Literal["any", "bf16", "fp8", "mxfp8", "w8a8", "w4a8", "nvfp4", "mxfp4", "bitsandbytes", "packed",
                             "cuda", "awq", "gptq"]


class Member(NamedTuple):
    """One format of a family, field for field what a row of the table of formats says."""

    name: str
    label: str
    bits_per_weight: float
    compute: Compute
    weight_only: bool
    group_size: int | None
    source: str
    kernels: Kernels
    scope: Scope
    runtime: str             # what alone runs it; empty: the engines that list its name
    lightest: float
    heaviest: float


@dataclass(frozen=True, slots=True)
class Family:
    """A row of assets/format_families.csv."""

    name: str                # with {b} for the bits of a value
    label: str
    bits: str                # b: as the name says; packed: whole values to 32 bits; or a number
    per_group: Note          # bits a group shares: 16, 32, 16+b
    group: Annotated[int, Within(1, 65_536)] | None      # the usual one, left out of names
    compute: Literal["fp16", "bf16", "fp8", "int8", "fp4"]
    weight_only: bool
    scope: Literal["all", "linears"]
    runtime: Note
    lightest: Annotated[float, Within(0.5, 2)]
    heaviest: Annotated[float, Within(1, 2)]
    kernels: Kernels
    source: str


@dataclass(frozen=True, slots=True)
class OtherName:
    """A row of assets/format_names.csv, in lower case with hyphens."""

    name: str
    format: str


@cache
def _families() -> tuple[tuple[re.Pattern[str], Family], ...]:
    return tuple((re.compile(_expression(row)), row) for row in tables.read("format_families.csv", Family, ("name",)))


def _expression(row: Family) -> str:
    named = re.escape(row.name).replace(r"\{b\}", _BITS).replace("bpw", "(?:bpw)?").replace("bit", "-?bits?")
    return named + (r"(?:-g(\d{1,5}))?" if row.group else "")


_NAMES: Final = tables.Table("format_names.csv", OtherName)


def plain(name: str) -> str:
    """The name a format is known by: 'W4A16' is int4, 'GPTQ_3bit' gptq-int3, 'i1-IQ2_M' gguf-IQ2_M."""
    said = name.strip().lower().replace("_", "-")
    said = re.sub(r"^(gptq|awq|hqq|sinq|quanto|torchao|auto-?round)-([2-8])-?bits?", r"\1-int\2", said)
    return _NAMES[said].format if said in _NAMES else said.replace("auto-round", "autoround")


@lru_cache(maxsize=4096)
def member(name: str) -> Member | None:
    """The format of that name, in any case and spelling; None when no family has it."""
    if len(name) > 60:
        return None
    return _gguf(name.strip()) or _spelled(plain(name))


def _spelled(name: str) -> Member | None:
    for pattern, row in _families():
        if found := pattern.fullmatch(name):
            return _of(row, *found.groups())
    return None


def _of(row: Family, *said: str | None) -> Member | None:
    """A member of a family from the width and the group its name gives."""
    bits = float(said[0] or 0) if "{b}" in row.name else float(row.bits)
    group = int((said[-1] if row.group else None) or row.group or 0)
    if group > _LARGEST_GROUP or (row.group and not group) or ("int{b}" in row.name and bits not in range(2, 9)):
        return None
    apart = f"-g{group}" if group != (row.group or 0) else ""
    return Member(
        name=row.name.replace("{b}", f"{bits:g}") + apart,
        label=row.label.replace("{b}", f"{bits:g}") + apart.replace("-", " "),
        bits_per_weight=stored_bits(row.bits, bits) + (scale_bits(row.per_group, bits) / group if group else 0.0),
        compute=row.compute, weight_only=row.weight_only, group_size=group or None, source=row.source,
        kernels=row.kernels, scope=row.scope, runtime=row.runtime, lightest=row.lightest, heaviest=row.heaviest,
    )


def stored_bits(rule: str, bits: float) -> float:
    """Bits a value takes: as many as it has, or its share of the 32 that hold whole values only (three bits: 3.2)."""
    return 32 / (32 // bits) if rule == "packed" else bits


def scale_bits(rule: str, bits: float) -> float:
    """Bits of scale and zero point that a group shares: '16+b' is a 16-bit scale and a zero as wide as a value."""
    fixed, plus, _ = rule.partition("+b")
    return float(fixed or 0) + (bits if plus else 0.0)


def _gguf(name: str) -> Member | None:
    """A mixture of GGUF types: with or without 'gguf-', 'i1-' (made with an importance matrix), 'UD-' (dynamic)."""
    found = re.fullmatch(r"(gguf[-_])?(i1-)?(ud-)?(i?q\d.*|t?q\d.*|mxfp4_moe|(?:mx|nv)fp4)", name, re.IGNORECASE)
    if found is None or (found[4].upper() in ("MXFP4", "NVFP4") and not found[1]):
        return None
    mixture = {"Q3_K": "Q3_K_M", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}.get(found[4].upper(), found[4].upper())
    base = ggml.base_type(mixture)
    if base is None:
        return None
    kind = ggml.TYPES[base]
    dynamic = "UD-" if found[3] else ""
    spread = (0.99, 1.02) if "ik_llama" not in kind.source else _FORKS
    if dynamic:
        spread = _DYNAMIC if kind.bits >= 4 else _DYNAMIC_BELOW_4_BITS
    source = "llama.cpp ggml-common.h block layouts; mixture by llama-quant.cpp llama_tensor_get_type"
    return Member(f"gguf-{dynamic}{mixture}", f"GGUF {dynamic}{mixture}", kind.bits, "fp16", True, kind.block_weights,
                  source if not dynamic else f"{source}; types vary by tensor, read the file to be exact",
                  "packed", "file", "", *spread)
