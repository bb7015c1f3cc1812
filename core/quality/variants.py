"""What can be tried on a model: every variant with the format it stands for and the packages that make it."""

from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from core.basics.errors import InputError

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerBase

GROUPS: Final = (32, 64, 128)
COMPRESSOR: Final = "llmcompressor"
BITSANDBYTES: Final = "bitsandbytes"
LOADERS: Final = ("transformers", "accelerate", "gguf")     # without which no model is read


class Maker(StrEnum):
    """What makes a variant."""

    CAST = "cast"                   # to BF16 and no more: the noise floor
    ROUND = "round"                 # round to nearest
    COMPRESSOR = "compressor"       # llm-compressor
    BITSANDBYTES = "bitsandbytes"
    CACHE = "cache"                 # keys and values alone


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to store a model."""

    name: str                       # of the command line: "int4-rtn-g128"
    label: str                      # for people
    maker: Maker
    weights: str = ""               # the name in core.products.formats that it stands for; empty: 16 bits
    kv_cache: str = ""              # the KV format's name; empty: 16 bits
    bits: int = 16
    group: int | None = None        # weights that share a scale
    calibrated: bool = False        # looks at text before it rounds
    passes: float = 0.0             # what making it costs, in forward passes over the calibration text

    @property
    def packages(self) -> tuple[str, ...]:
        """What has to be installed besides the loaders."""
        return {Maker.COMPRESSOR: (COMPRESSOR,), Maker.BITSANDBYTES: (BITSANDBYTES,)}.get(self.maker, ())

    @property
    def can_be_saved(self) -> bool:
        """Whether it makes a compressed-tensors checkpoint."""
        return self.maker in {Maker.ROUND, Maker.COMPRESSOR}


@dataclass(frozen=True, slots=True)
class Means:
    """What it takes to make a variant besides the model."""

    texts: "list[torch.Tensor]"     # [1, tokens] each, to calibrate on
    tokenizer: "PreTrainedTokenizerBase"
    folder: Path                    # for what libraries want to read again


FLOOR: Final = Variant("bf16", "BF16, the noise floor", Maker.CAST)
_AWQ_FORMATS: Final = {32: "int4-g32", 64: "int4-g64", 128: "awq-int4"}
_GPTQ_FORMATS: Final = {32: "gptq-int4-g32", 64: "int4-g64", 128: "gptq-int4"}
_INT4_FORMATS: Final = {32: "int4-g32", 64: "int4-g64", 128: "int4"}
_AWQ_PASSES: Final = 16.0           # a forward of each block over half the text for every point of its grid of 20
_GPTQ_PASSES: Final = 7.0           # a forward, the Hessians, and the columns one after the other

VARIANTS: Final = {variant.name: variant for variant in (
    FLOOR,
    *(Variant(f"int8-rtn-g{g}", f"INT8 round to nearest, groups of {g}", Maker.ROUND, "int8", bits=8, group=g)
      for g in GROUPS),
    *(Variant(f"int4-rtn-g{g}", f"INT4 round to nearest, groups of {g}", Maker.ROUND, _INT4_FORMATS[g], bits=4, group=g)
      for g in GROUPS),
    Variant("w8a8-smooth", "INT8 W8A8 with SmoothQuant", Maker.COMPRESSOR, "w8a8-int8", bits=8, calibrated=True,
            passes=3.0),
    Variant("fp8", "FP8 weights and activations", Maker.COMPRESSOR, "fp8", bits=8),
    *(Variant(f"awq-g{g}", f"AWQ INT4, groups of {g}", Maker.COMPRESSOR, _AWQ_FORMATS[g], bits=4, group=g,
              calibrated=True, passes=_AWQ_PASSES) for g in GROUPS),
    *(Variant(f"gptq-g{g}", f"GPTQ INT4 act-order, groups of {g}", Maker.COMPRESSOR, _GPTQ_FORMATS[g], bits=4,
              group=g, calibrated=True, passes=_GPTQ_PASSES) for g in GROUPS),
    Variant("bnb-int8", "LLM.int8() of bitsandbytes", Maker.BITSANDBYTES, "bnb-int8", bits=8),
    Variant("bnb-nf4", "NF4 of bitsandbytes", Maker.BITSANDBYTES, "bnb-nf4", bits=4, group=64),
    Variant("kv-int8", "INT8 KV cache", Maker.CACHE, kv_cache="int8", bits=8),
    Variant("kv-fp8", "FP8 KV cache", Maker.CACHE, kv_cache="fp8", bits=8),
)}
DEFAULT: Final = ("int8-rtn-g128", "int4-rtn-g128", "awq-g128", "gptq-g128")


def chosen(names: tuple[str, ...]) -> tuple[Variant, ...]:
    """The variants of those names, the noise floor first. Raises InputError naming those there are."""
    unknown = next((name for name in names if name not in VARIANTS), None)
    if unknown is not None:
        raise InputError(f"'{unknown[:40]}' is no variant. Use some of: {', '.join(VARIANTS)}.")
    return (FLOOR, *(VARIANTS[name] for name in dict.fromkeys(names) if name != FLOOR.name))


def missing(variants: tuple[Variant, ...] = (), *, save: bool = False) -> tuple[str, ...]:
    """Packages that are not installed here, of those that loading a model, these variants and saving them need."""
    made = (package for variant in variants for package in variant.packages)
    needed = dict.fromkeys((*LOADERS, *made, *([COMPRESSOR] if save else [])))
    return tuple(package for package in needed if find_spec(package) is None)
