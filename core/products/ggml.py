"""The block types of GGML tensors: llama.cpp's and ik_llama.cpp's, exact to the byte."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Annotated, Final

from core.basics.tables import Table, Within


@dataclass(frozen=True, slots=True)
class GgmlType:
    """How a type packs the weights of a row."""

    name: str               # Q4_K, IQ2_XXS, ...
    code: Annotated[int, Within(0, 1023)]               # in the tensor table of a GGUF file
    block_weights: Annotated[int, Within(1, 256)]      # weights that share scales; a row is a whole number of blocks
    block_bytes: Annotated[int, Within(1, 1024)]        # of one block, scales included
    row_bytes: Annotated[int, Within(0, 64)]          # beside the blocks: ik_llama.cpp's scale of a row
    source: str

    @property
    def bits(self) -> float:
        """Bits of one weight, scales of its block included."""
        return 8 * self.block_bytes / self.block_weights

    def tensor_bytes(self, elements: int, row: int) -> int:
        """Size of a tensor of so many weights whose contiguous axis has `row` of them [B]."""
        rows = elements // row if row and self.row_bytes else 0
        return elements // self.block_weights * self.block_bytes + rows * self.row_bytes


TYPES: Final[Mapping[str, GgmlType]] = Table("ggml_types.csv", GgmlType)


@cache
def by_code() -> Mapping[int, GgmlType]:
    """The types by their number in the tensor table of a GGUF file."""
    return {each.code: each for each in TYPES.values()}


# Mixtures not named after the type most tensors get: llama.cpp llama-quant.cpp `llama_ftype_get_default_type`.
_DEFAULT_TYPES: Final[Mapping[str, str]] = {"IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S", "IQ3_M": "IQ3_S",
                                            "MXFP4_MOE": "MXFP4"}
_SIZES: Final = ("_S", "_M", "_L", "_XL", "_XXL")
_WIDE: Final = ("_L", "_XL", "_XXL")      # embedding and output in Q8_0: bartowski's names, Q3_K_L alone excepted
_RULED_AS: Final[Mapping[str, str]] = {"Q2_K": "Q2_K", "Q3_K": "Q3_K_L", "Q4_K": "Q4_K_M", "Q5_K": "Q5_K_M"}


@lru_cache(maxsize=512)
def base_type(mixture: str) -> str | None:
    """The type most tensors of a mixture get (Q4_K of Q4_K_M); None when there is no such mixture."""
    if mixture in _DEFAULT_TYPES:
        return _DEFAULT_TYPES[mixture]
    stem = next((mixture.removesuffix(size) for size in _SIZES if mixture.removesuffix(size) in TYPES), mixture)
    stem = "Q8_0" if stem == "Q8_K" else stem
    return stem if stem in TYPES and not stem.startswith(("I8", "I16", "I32", "I64", "F64")) else None


def ruled_as(mixture: str) -> tuple[str, bool]:
    """The mixture of llama.cpp whose rules a repository's own one follows, and whether its tables are in Q8_0."""
    wide = mixture.endswith(_WIDE) and mixture not in ("Q3_K_L", "MXFP4_MOE")
    if not wide:
        return mixture, False
    base = base_type(mixture) or mixture
    return _RULED_AS.get(base, base), True
