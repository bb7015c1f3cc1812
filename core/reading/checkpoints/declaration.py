"""Which number format a repository says its weights are in, wherever and however it says so.

Declarations as written by transformers, AutoAWQ, GPTQModel, compressed-tensors, NVIDIA ModelOpt,
bitsandbytes, torchao, AMD Quark, HQQ, Quanto and AutoRound; each reader below names its own.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

from core.basics.errors import ArchitectureUnknown

Json: TypeAlias = Mapping[str, object]

TEXT_CONFIGS: Final = ("text_config", "language_config", "llm_config", "thinker_config")
_DECLARATIONS: Final = ("quantization_config", "compression_config", "quantization")
_KEPT_LISTS: Final = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers",
                      "llm_int8_skip_modules", "exclude")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a repository declares about its quantisation."""

    format: str                         # a name of core.products.formats
    kv_format: str | None               # the KV cache it was calibrated for
    unquantised: tuple[str, ...]        # modules kept in 16 bits, as declared
    layers: tuple[tuple[str, str], ...]  # (module, format) of a map that names them one by one
    elsewhere: str                      # the format outside the experts when they have their own
    source: str


def declaration(config: Json, quant_config: Json | None = None) -> Declaration | None:
    """What config.json, else hf_quant_config.json, declares; None when neither says anything.

    `quant_method` may be absent (ModelOpt exports) or wrong (FP4 experts under `fp8`), so the
    algorithm named for the experts wins over it.
    Raises: ArchitectureUnknown naming a quantisation that no format stands for.
    """
    found, source = _declared(config), "config.json"
    if not found and quant_config:
        found, source = _mapping(quant_config.get("quantization")) or quant_config, "hf_quant_config.json"
    if not found:
        return None
    experts_apart = _fp4_experts(found, config)
    layers = tuple(
        (module, _algorithm(str(entry.get("quant_algo", ""))))
        for module, entry in _mapping(found.get("quantized_layers")).items()
        if isinstance(entry, Mapping)
    )
    name = "mxfp4" if experts_apart else _format(found, layers)
    if name is None:
        return None
    kv_format = _kv_format(found) or _kv_format(_mapping(_mapping(quant_config).get("quantization")))
    elsewhere = "fp8" if experts_apart else ""
    return Declaration(name, kv_format, _unquantised(found), layers, elsewhere, f"quantisation declared in {source}")


def _fp4_experts(found: Json, config: Json) -> bool:
    """DeepSeek-V4: `fp8` is true of all but the experts, which are FP4 with one E8M0 scale per 32."""
    return (
        str(found.get("quant_method")) == "fp8" and not found.get("moe_quant_algo") and not found.get("quant_algo")
        and str(config.get("expert_dtype", "")).lower() == "fp4"
    )


def _mapping(value: object) -> Json:
    return value if isinstance(value, Mapping) else {}


def _declared(config: Json) -> Json:
    """The declaration in config.json: at the top, or inside the text part."""
    for part in (config, *(_mapping(config.get(key)) for key in TEXT_CONFIGS)):
        for key in _DECLARATIONS:
            if found := _mapping(part.get(key)):
                return found
    return {}


def _format(found: Json, layers: Iterable[tuple[str, str]]) -> str | None:
    method = str(found.get("quant_method") or "").lower().replace("_", "-")
    experts = str(found.get("moe_quant_algo") or "").upper()
    algorithm = str(found.get("quant_algo") or "").upper()
    if experts:
        return _algorithm(experts)
    if algorithm == "MIXED_PRECISION":
        return _dominant(layers)
    if algorithm:
        return _algorithm(algorithm)
    reader = _READERS.get(method)
    if reader is None:
        raise ArchitectureUnknown(
            f"The repository is quantised with '{method or 'an unnamed method'}', which this planner does not"
            " know; plan the model it was made from instead."
        )
    return reader(found)


_ALGORITHMS: Final = {   # NVIDIA ModelOpt QUANT_ALGO names, TensorRT-LLM QuantAlgo
    "FP8": "fp8", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "FP8_PB_WO": "fp8", "FP8_PB_REAL": "fp8",
    "FP8_BLOCK_SCALES": "fp8", "MXFP8": "mxfp8", "NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4", "NVFP4_SVD": "nvfp4",
    "W4A16_NVFP4": "nvfp4", "W4A8_NVFP4_FP8": "nvfp4", "MXFP4": "mxfp4", "W4A16_MXFP4": "mxfp4",
    "W4A8_MXFP4_FP8": "mxfp4", "W4A8_MXFP4_MXFP8": "mxfp4", "W4A16": "int4", "W4A16_AWQ": "int4",
    "INT4_AWQ": "int4", "W4A16_GPTQ": "gptq-int4", "W4A8_AWQ": "w4a8", "W8A16": "int8", "W8A16_GPTQ": "gptq-int8",
    "INT8_SQ": "w8a8-int8", "W8A8_SQ_PER_CHANNEL": "w8a8-int8", "W8A8_SQ_PER_TENSOR_PLUGIN": "w8a8-int8",
    "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN": "w8a8-int8",
}


def _algorithm(name: str) -> str:
    try:
        return _ALGORITHMS[name.upper()]
    except KeyError:
        raise _unknown("quant_algo", name) from None


def _unknown(key: str, value: object) -> ArchitectureUnknown:
    shown = str(value)[:40]
    return ArchitectureUnknown(
        f"The repository declares {key} '{shown}', which stands for no format this planner knows;"
        " plan the model it was made from instead."
    )


def _dominant(layers: Iterable[tuple[str, str]]) -> str:
    """The format of most weights in a mixed map: that of the experts, else of the MLPs, else of most."""
    named = tuple(layers)
    for part in (r"\bexperts\b", r"\b(mlp|ffn|feed_forward)\b", ""):
        if formats := Counter(name for module, name in named if re.search(part, module)):
            return formats.most_common(1)[0][0]
    raise _unknown("quant_algo", "MIXED_PRECISION without quantized_layers")


def _number(found: Json, *keys: str, default: int = 0) -> int:
    for key in keys:
        value = found.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            return int(value)
    return default


def _integer_format(bits: int, group: int, *, what: str) -> str:
    """Weight-only integers: 4 bits in groups of 32, 64 or 128 (and coarser), or 8 bits."""
    if bits == 8:
        return "int8"
    if bits == 4:
        return {32: "int4-g32", 64: "int4-g64"}.get(group, "int4")
    raise _unknown(f"{what} bits", bits)


def _awq(found: Json) -> str:
    bits = _number(found, "bits", "w_bit", default=4)
    if bits != 4:
        raise _unknown("awq bits", bits)
    return "awq-int4"


def _gptq(found: Json) -> str:
    bits = _number(found, "bits")
    if bits == 8:
        return "gptq-int8"
    if bits != 4:
        raise _unknown("gptq bits", bits)
    return "gptq-int4-g32" if _number(found, "group_size") == 32 else "gptq-int4"


def _fp8(found: Json) -> str:
    block = found.get("weight_block_size")
    return "mxfp8" if isinstance(block, list | tuple) and list(block) == [1, 32] else "fp8"


def _bitsandbytes(found: Json) -> str:
    if found.get("load_in_8bit") or found.get("_load_in_8bit"):
        return "bnb-int8"
    return "bnb-nf4-dq" if found.get("bnb_4bit_use_double_quant") else "bnb-nf4"


def _weights_format(weights: Json, activations: Json, packing: str) -> str:
    """A compressed-tensors scheme: bits, type and group of the weights, bits of the activations."""
    bits, group = _number(weights, "num_bits"), _number(weights, "group_size")
    kind = str(weights.get("type", "int")).lower()
    if packing.startswith("nvfp4") or (kind == "float" and bits == 4 and group == 16):
        return "nvfp4"
    if packing.startswith("mxfp4") or (kind == "float" and bits == 4):
        return "mxfp4"
    if kind == "float" and bits == 8:
        return "mxfp8" if group == 32 else "fp8"
    activation_bits = _number(activations, "num_bits")
    if bits == 8 and activation_bits == 8:
        return "w8a8-int8"
    if bits == 4 and activation_bits == 8:
        return "w4a8"
    return _integer_format(bits, group, what="compressed-tensors")


def _compressed_tensors(found: Json) -> str | None:
    """The scheme of the experts when groups differ, else of the first group; None when only sparse."""
    groups = [group for group in _mapping(found.get("config_groups")).values()
              if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping)]
    if not groups:
        return None
    groups.sort(key=lambda group: "expert" not in json.dumps(group.get("targets"), default=str))
    group = groups[0]
    packing = str(group.get("format") or found.get("format") or "")
    return _weights_format(_mapping(group["weights"]), _mapping(group.get("input_activations")), packing)


def _torchao(found: Json) -> str:
    """torchao: a name ('int4_weight_only') or a serialised config ({'_type': ..., '_data': ...})."""
    kind = found.get("quant_type")
    if isinstance(kind, Mapping):
        kind = kind.get("default", kind)
    text = re.sub(r"[^a-z0-9]", "", json.dumps(kind, default=str).lower())
    group = re.search(r"groupsize(\d+)", text)
    for pattern, name in (
        ("nvfp4", "nvfp4"), ("mxfp4|float4", "mxfp4"), ("mxfp8", "mxfp8"), ("float8|fp8", "fp8"),
        ("int8dynamicactivationint4|int8dynactint4", "w4a8"),
        ("int8dynamicactivationint8|int8dynactint8", "w8a8-int8"),
    ):
        if re.search(pattern, text):
            return name
    bits = 4 if "int4" in text or "uint4" in text else 8 if "int8" in text else 0
    return _integer_format(bits, int(group[1]) if group else 128, what="torchao")


def _quark(found: Json) -> str:
    """AMD Quark: dtype names under global_quant_config."""
    scheme = _mapping(found.get("global_quant_config"))
    weight = scheme.get("weight")
    weights = _mapping(weight[0] if isinstance(weight, list) and weight else weight)
    activations = _mapping(scheme.get("input_tensors"))
    dtype = str(weights.get("dtype", "")).lower()
    if "fp8" in dtype:
        return "fp8"
    if dtype == "fp4":
        return "mxfp4"
    bits = 4 if "int4" in dtype else 8 if "int8" in dtype else 0
    if bits == 8 and "int8" in str(activations.get("dtype", "")):
        return "w8a8-int8"
    return _integer_format(bits, _number(weights, "group_size"), what="quark")


def _generic_integer(found: Json) -> str:
    """AutoRound, HQQ, Quanto and others that name bits and a group."""
    nested = _mapping(_mapping(found.get("quant_config")).get("weight_quant_params"))
    if packing := str(found.get("packing_format") or ""):
        if "awq" in packing:
            return _awq(found)
        if "gptq" in packing:
            return _gptq(found)
    named = re.fullmatch(r"(?:q?int|float)(\d)", str(found.get("weights") or ""))
    if named and str(found["weights"]).startswith("float"):
        return "fp8"
    bits = _number(found, "bits", "w_bit", "weight_bits") or _number(nested, "nbits")
    group = _number(found, "group_size") or _number(nested, "group_size")
    return _integer_format(int(named[1]) if named else bits, group, what=str(found.get("quant_method")))


def _always(name: str) -> Callable[[Json], str | None]:
    """For methods that leave no choice."""
    return lambda _: name


_READERS: Final[Mapping[str, Callable[[Json], str | None]]] = {
    "awq": _awq, "awq-marlin": _awq,
    "gptq": _gptq, "gptq-marlin": _gptq, "marlin": _gptq,
    "fp8": _fp8, "fbgemm-fp8": _always("fp8"), "modelopt": _always("fp8"),
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "mxfp4": _always("mxfp4"), "mxfp8": _always("mxfp8"),
    "modelopt-fp4": _always("nvfp4"),
    "torchao": _torchao, "quark": _quark,
    "auto-round": _generic_integer, "autoround": _generic_integer, "intel/auto-round": _generic_integer,
    "hqq": _generic_integer, "quanto": _generic_integer,
    "eetq": _always("int8"), "experts-int8": _always("int8"), "qqq": _always("w4a8"),
}


def _kv_format(found: Json) -> str | None:
    """ModelOpt names an algorithm; compressed-tensors gives bits and type."""
    algorithm = str(found.get("kv_cache_quant_algo") or "").upper()
    if algorithm:
        return {"FP8": "fp8", "INT8": "int8"}.get(algorithm)
    scheme = _mapping(found.get("kv_cache_scheme"))
    if _number(scheme, "num_bits") == 8:
        return "fp8" if str(scheme.get("type", "float")) == "float" else "int8"
    return None


def _unquantised(found: Json) -> tuple[str, ...]:
    for key in _KEPT_LISTS:
        names = found.get(key)
        if isinstance(names, list | tuple):
            return tuple(name for name in names if isinstance(name, str))
    return ()


def fp8_block(config: Json) -> int | None:
    """Rows and columns under one FP8 scale, as DeepSeek-V3 and its followers declare; None for other scales."""
    found = _mapping(config.get("quantization_config"))
    sides = found.get("weight_block_size")
    if not isinstance(sides, list) or len(sides) != 2 or sides[0] != sides[1]:
        return None
    side: object = sides[0]
    return side if isinstance(side, int) and side > 1 else None
