"""Which number formats a repository says its weights are in, wherever and however it says so."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from core.basics.errors import ArchitectureUnknown
from core.reading.checkpoints.quantisers import ALGORITHMS, READERS, Json, mapping, mlx, number, open_sized
from core.reading.checkpoints.storage import PLAIN, ROUTED_EXPERTS, Rule, Scheme, storage, unknown

TEXT_CONFIGS: Final = ("text_config", "language_config", "llm_config", "thinker_config")
_DECLARATIONS: Final = ("quantization_config", "compression_config", "quantization")
_KEPT_LISTS: Final = ("modules_to_not_convert", "ignore", "exclude_modules", "ignored_layers",
                      "llm_int8_skip_modules", "exclude", "skip_modules")


@dataclass(frozen=True, slots=True)
class Declaration:
    """What a repository declares about its quantisation."""

    scheme: Scheme
    kv_format: str | None               # the KV cache it was calibrated for
    unquantised: tuple[str, ...]        # modules kept in 16 bits, as declared
    layers: tuple[tuple[str, str], ...]  # (module, format) of a map that names them one by one
    source: str


def declaration(config: Json, quant_config: Json | None = None) -> Declaration | None:
    """What config.json, else hf_quant_config.json, declares; None when neither says anything.

    `quant_method` may be absent (ModelOpt exports) or wrong (FP4 experts under `fp8`), so the
    algorithm named for the experts wins over it.
    Raises: ArchitectureUnknown naming a quantisation that no format stands for.
    """
    found, source = _declared(config), "config.json"
    if not found and quant_config:
        found, source = mapping(quant_config.get("quantization")) or quant_config, "hf_quant_config.json"
    if not found:
        return None
    layers = tuple(
        (module, _algorithm(str(entry.get("quant_algo", ""))))
        for module, entry in mapping(found.get("quantized_layers")).items()
        if isinstance(entry, Mapping)
    )
    scheme = _scheme(found, layers)
    if scheme is None:
        return None
    if _fp4_experts(found, config):
        scheme = with_fp4_experts(scheme)
    unquantised = _unquantised(found)
    if unquantised:
        scheme = replace(scheme, rules=(Rule(unquantised, PLAIN), *scheme.rules))
    kv_format = _kv_format(found) or _kv_format(mapping(mapping(quant_config).get("quantization")))
    return Declaration(scheme, kv_format, unquantised, layers, f"quantisation declared in {source}")


def method_of(config: Json) -> str:
    """The quantiser config.json names, as it would be spelt; empty when it names none."""
    method = str(_declared(config).get("quant_method") or "").lower().replace("_", "-")[:40]
    return open_sized(method) or method


def with_fp4_experts(scheme: Scheme) -> Scheme:
    """DeepSeek-V4: `fp8` is true of all but the experts, which are FP4 with one E8M0 scale per 32."""
    return replace(scheme, rules=(Rule((ROUTED_EXPERTS,), storage("mxfp4")), *scheme.rules))


def _fp4_experts(found: Json, config: Json) -> bool:
    return (
        str(found.get("quant_method")) == "fp8" and not found.get("moe_quant_algo") and not found.get("quant_algo")
        and str(config.get("expert_dtype", "")).lower() == "fp4"
    )


def _declared(config: Json) -> Json:
    """The declaration in config.json: at the top, or inside the text part."""
    for part in (config, *(mapping(config.get(key)) for key in TEXT_CONFIGS)):
        for key in _DECLARATIONS:
            if found := mapping(part.get(key)):
                return found
    return {}


def _scheme(found: Json, layers: tuple[tuple[str, str], ...]) -> Scheme | None:
    method = str(found.get("quant_method") or "").lower().replace("_", "-")
    experts = str(found.get("moe_quant_algo") or "").upper()
    algorithm = str(found.get("quant_algo") or "").upper()
    if experts:
        own = storage(_algorithm(experts))
        return Scheme(storage("fp8"), (Rule((ROUTED_EXPERTS,), own),)) if method == "fp8" else Scheme(own)
    if algorithm == "MIXED_PRECISION":
        return _mapped(layers)
    if algorithm:
        return Scheme(storage(_algorithm(algorithm)))
    if not method and number(found, "bits") and number(found, "group_size"):
        return mlx(found)                # MLX names no method
    reader = READERS.get(method)
    if reader is not None:
        return reader(found)
    if name := open_sized(method):
        raise ArchitectureUnknown(
            f"The repository is quantised with {name}, whose code books config.json does not size; its tensor headers"
            " do: give the Hub id or the whole folder."
        )
    raise ArchitectureUnknown(
        f"The repository is quantised with '{method[:40] or 'an unnamed method'}', which this planner does not"
        " know; plan the model it was made from instead."
    )


def _mapped(layers: tuple[tuple[str, str], ...]) -> Scheme:
    """A map names what is quantised, module by module; what it does not name stays in 16 bits."""
    modules: dict[str, list[str]] = {}
    for module, name in layers:
        modules.setdefault(name, []).append(module)
    if not modules:
        raise unknown("quant_algo", "MIXED_PRECISION without quantized_layers")
    return Scheme(PLAIN, tuple(Rule(tuple(named), storage(name)) for name, named in modules.items()))


def _algorithm(name: str) -> str:
    try:
        return ALGORITHMS[name.upper()]
    except KeyError:
        raise unknown("quant_algo", name) from None


def _kv_format(found: Json) -> str | None:
    """ModelOpt names an algorithm; compressed-tensors gives bits and type."""
    algorithm = str(found.get("kv_cache_quant_algo") or "").upper()
    if algorithm:
        return {"FP8": "fp8", "INT8": "int8", "NVFP4": "nvfp4"}.get(algorithm)
    scheme = mapping(found.get("kv_cache_scheme"))
    if number(scheme, "num_bits") == 8:
        return "fp8" if str(scheme.get("type", "float")) == "float" else "int8"
    return None


def _unquantised(found: Json) -> tuple[str, ...]:
    """The first list of modules to keep that there is; bitsandbytes and HQQ may nest it."""
    for part in (found, mapping(found.get("quant_config"))):
        for key in _KEPT_LISTS:
            names = part.get(key)
            if isinstance(names, list | tuple):
                return tuple(name for name in names if isinstance(name, str))
    return ()


def fp8_block(config: Json) -> int | None:
    """Rows and columns under one FP8 scale, as DeepSeek-V3 and its followers declare; None for other scales."""
    found = mapping(config.get("quantization_config"))
    sides = found.get("weight_block_size")
    if not isinstance(sides, list) or len(sides) != 2 or sides[0] != sides[1]:
        return None
    side: object = sides[0]
    return side if isinstance(side, int) and side > 1 else None
