"""What each quantiser writes into config.json, read as a scheme of storage; one reader a tool.

transformers, AutoAWQ, GPTQModel, compressed-tensors, NVIDIA ModelOpt, bitsandbytes, torchao, AMD Quark,
HQQ, Quanto, AutoRound, MLX, ExLlama, and those whose code books only the tensor headers size.
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

from core.products.families import stored_bits
from core.products.formats import FORMATS
from core.reading.checkpoints.storage import PLAIN, ROUTED_EXPERTS, Rule, Scheme, Storage, storage, unknown

Json: TypeAlias = Mapping[str, object]
Reader: TypeAlias = Callable[[Json], Scheme]

_USUAL_GROUP: Final = 128
_MOST_RULES: Final = 4096       # one a layer and projection of the deepest models; more are no declaration


def mapping(value: object) -> Json:
    """The value if it is a JSON object, else an empty one."""
    return value if isinstance(value, Mapping) else {}


def number(found: Json, *keys: str, default: float = 0) -> float:
    """The first of the keys that holds a number."""
    for key in keys:
        value = found.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e6:
            return value
    return default


def _whole(found: Json, *keys: str, default: int = 0) -> int:
    return int(number(found, *keys, default=default))


def _integers(family: str, bits: int, group: int, *, scales: float, packed: bool = False, usual: int = _USUAL_GROUP,
              what: str = "") -> Storage:
    """Integers of `bits` in groups that share `scales` bits; a group of 0 or -1 is an output channel."""
    grouped = group > 0 and group != usual
    name = f"{family}{bits}" + (f"-g{group}" if grouped else "")
    if name not in FORMATS:
        raise unknown(f"{what or family.rstrip('int').rstrip('-')} bits", bits)
    return Storage(name, stored_bits("packed" if packed else "b", bits), scales, max(0, group))


def _scheme(stored: Storage) -> Scheme:
    return Scheme(stored)


def _always(name: str) -> Reader:
    return lambda _: Scheme(storage(name))


def _awq_storage(found: Json) -> Storage:
    bits = _whole(found, "bits", "w_bit", default=4)
    return _integers("awq-int", bits, _whole(found, "group_size", "q_group_size", default=128), scales=16 + bits)


def _gptq_storage(found: Json) -> Storage:
    bits = _whole(found, "bits")
    return _integers("gptq-int", bits, _whole(found, "group_size", default=128), scales=16 + bits)


def _awq(found: Json) -> Scheme:
    return _scheme(_awq_storage(found))


def _gptq(found: Json) -> Scheme:
    """GPTQModel's `dynamic` gives modules their own bits, or none where the expression begins with '-:'."""
    rules = []
    for expression, own in list(mapping(found.get("dynamic")).items())[:_MOST_RULES]:
        pattern = "re:" + expression.removeprefix("-:").removeprefix("+:")
        kept = expression.startswith("-:")
        rules.append(Rule((pattern,), PLAIN if kept else _gptq_storage({**found, **mapping(own)})))
    return Scheme(_gptq_storage(found), tuple(rules), head=found.get("lm_head") is True)


def _marlin(found: Json) -> Scheme:
    """IST-DASLab's first Marlin layout: symmetric, so without zero points."""
    return _scheme(_integers("gptq-int", _whole(found, "bits", default=4), _whole(found, "group_size", default=128),
                             scales=16))


def _fp8(found: Json) -> Scheme:
    block = found.get("weight_block_size")
    if not (isinstance(block, list | tuple) and len(block) == 2 and all(isinstance(n, int) and n > 0 for n in block)):
        return _scheme(storage("fp8"))
    if list(block) == [1, 32]:
        return _scheme(storage("mxfp8"))
    return _scheme(Storage("fp8", 8.0, 32.0, block[0] * block[1]))


def _bitsandbytes(found: Json) -> Scheme:
    if found.get("load_in_8bit") or found.get("_load_in_8bit"):
        return _scheme(Storage("bnb-int8", 8.0, 32.0))
    return _scheme(storage("bnb-nf4-dq" if found.get("bnb_4bit_use_double_quant") else "bnb-nf4"))


def _compressed(weights: Json, activations: Json, packing: str) -> Storage:
    """A compressed-tensors scheme: bits, type, group and symmetry of the weights, bits of the activations."""
    bits, group = _whole(weights, "num_bits"), _whole(weights, "group_size")
    kind, strategy = str(weights.get("type", "int")).lower(), str(weights.get("strategy") or "")
    if packing.startswith("nvfp4") or (kind == "float" and bits == 4 and group == 16):
        return storage("nvfp4")
    if packing.startswith("mxfp4") or (kind == "float" and bits == 4):
        return storage("mxfp4")
    if kind == "float" and bits == 8:
        if group == 32:
            return storage("mxfp8")
        return Storage("fp8", 8.0, 16.0) if strategy == "channel" else storage("fp8")
    activation_bits, scales = _whole(activations, "num_bits"), 16 + bits * (weights.get("symmetric") is False)
    if bits == 8 and activation_bits == 8:
        return Storage("w8a8-int8", 8.0, scales)
    if bits == 4 and activation_bits == 8:
        floating = str(activations.get("type", "int")).lower() == "float"
        return Storage("w4afp8" if floating else "w4a8", 4.0, scales, max(0, group))
    if kind == "float":
        raise unknown("compressed-tensors float bits", bits)
    return _integers("int", bits, group, scales=scales, packed=True, what="compressed-tensors")


def _compressed_tensors(found: Json) -> Scheme | None:
    """Groups of modules, each with its scheme; what no group targets stays in 16 bits. None when only sparse."""
    groups = [group for group in mapping(found.get("config_groups")).values()
              if isinstance(group, Mapping) and isinstance(group.get("weights"), Mapping)][:_MOST_RULES]
    if not groups:
        return None
    rules, embedding = [], PLAIN
    for group in groups:
        packing = str(group.get("format") or found.get("format") or "")
        stored = _compressed(mapping(group["weights"]), mapping(group.get("input_activations")), packing)
        targets = _texts(group.get("targets")) or ("Linear",)
        rules.append(Rule(targets, stored))
        if "Embedding" in targets:
            embedding = stored
    rules.sort(key=lambda rule: not rule.named)          # a module's own name goes before its class
    return Scheme(PLAIN, tuple(rules), head=any(not rule.named for rule in rules), embedding=embedding)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(text for text in value if isinstance(text, str)) if isinstance(value, list | tuple) else ()


def _torchao(found: Json) -> Scheme:
    """torchao: a name ('int4_weight_only') or a serialised config ({'_type': ..., '_data': ...})."""
    kind = found.get("quant_type")
    if isinstance(kind, Mapping):
        kind = kind.get("default", kind)
    text = re.sub(r"[^a-z0-9]", "", json.dumps(kind, default=str).lower())
    group = re.search(r"groupsize(\d{1,5})", text)
    tables = found.get("include_input_output_embeddings") is True
    stored, note = _torchao_storage(text, int(group[1]) if group else 0)
    return Scheme(stored, head=tables, embedding=stored if tables else PLAIN, note=note)


def _torchao_storage(text: str, group: int) -> tuple[Storage, str]:
    for pattern, name in (("nvfp4", "nvfp4"), ("mxfp4|float4", "mxfp4"), ("mxfp8", "mxfp8"), ("float8|fp8", "fp8"),
                          ("int8dynamicactivationint8|int8dynactint8", "w8a8-int8")):
        if re.search(pattern, text):
            return storage(name), ""
    width = re.search(r"(?:weightdtype|dtype)\D{0,10}?int([1-8])", text)
    if "intx" in text or "int8dynamicactivationint4" in text or "int8dynactint4" in text:
        bits, dynamic = int(width[1]) if width else 4, "dyn" in text
        note = ("torchao may keep such integers one to a byte; only the tensor headers tell, so weights are counted"
                f" as packed to {bits} bits.")
        if dynamic:
            return Storage("w4a8", bits, 24.0, group or 32), note
        return _integers("torchao-int", bits, group or 32, scales=24), note
    if "int4" in text:
        if group in (0, 128):
            return Storage("int4", 4.0, 32.0, 128), ""
        return Storage(f"int4-g{group}", 4.0, 32.0, group), ""
    if "int8" in text:
        return Storage("int8", 8.0, 16.0), ""
    raise unknown("torchao quant_type", text)


def _quark_storage(scheme: Json) -> Storage:
    weight = scheme.get("weight")
    weights = mapping(weight[0] if isinstance(weight, list) and weight else weight)
    dtype, group = str(weights.get("dtype", "")).lower(), _whole(weights, "group_size")
    for said, name in (("fp4", "mxfp4"), ("fp6", "mxfp6"), ("mxfp8", "mxfp8")):
        if dtype.startswith(said):
            return storage(name)
    if "fp8" in dtype:
        return Storage("fp8", 8.0, 32.0) if "channel" in str(weights.get("qscheme")) else storage("fp8")
    width = re.search(r"(u?)int(\d)", dtype)
    if width is None:
        raise unknown("quark dtype", dtype)
    bits = int(width[2])
    if bits == 8 and "int8" in str(mapping(scheme.get("input_tensors")).get("dtype", "")):
        return Storage("w8a8-int8", 8.0, 16.0)
    return _integers("int", bits, group, scales=16 + bits * bool(width[1]), packed=True, what="quark")


def _quark(found: Json) -> Scheme:
    """AMD Quark: dtype names under global_quant_config, and layer by layer where layer_quant_config says so."""
    own = mapping(found.get("layer_quant_config"))
    rules = tuple(Rule((pattern,), _quark_storage(mapping(scheme)))
                  for pattern, scheme in list(own.items())[:_MOST_RULES])
    return Scheme(_quark_storage(mapping(found.get("global_quant_config"))), rules)


def _auto_round_storage(found: Json) -> Storage:
    bits, kind = _whole(found, "bits"), str(found.get("data_type") or "int")
    packing = str(found.get("packing_format") or "")
    if bits >= 16:
        return PLAIN
    if kind.startswith("nv_fp"):
        return storage("nvfp4")
    if kind.startswith("mx_"):
        return storage(f"mxfp{bits}")
    if kind.startswith(("fp", "float")):
        return storage("fp8")
    if "awq" in packing:
        return _awq_storage(found)
    if "gptq" in packing:
        return _gptq_storage(found)
    return _integers("autoround-int", bits, _whole(found, "group_size", default=128), scales=16 + bits)


def _auto_round(found: Json) -> Scheme:
    """AutoRound: one setting, and modules or expressions with their own under extra_config."""
    own = list(mapping(found.get("extra_config")).items())[:_MOST_RULES]
    by_setting: dict[Storage, list[str]] = {}
    for module, said in own:
        stored = _auto_round_storage({**found, **mapping(said)})
        by_setting.setdefault(stored, []).append(f"re:{module}" if re.search(r"[\\*+^$|(]", module) else module)
    rules = tuple(Rule(tuple(modules), stored) for stored, modules in by_setting.items())
    return Scheme(_auto_round_storage(found), rules, head=found.get("quant_lm_head") is True)


def _hqq_storage(found: Json) -> Storage:
    said = mapping(found.get("weight_quant_params")) or found
    return _integers("hqq-int", _whole(said, "nbits", "bits"), _whole(said, "group_size", default=64), scales=32,
                     packed=True, usual=64)


def _hqq(found: Json) -> Scheme:
    """HQQ: one setting, or one a kind of layer; kinds without any stay in 16 bits."""
    settings = mapping(found.get("quant_config"))
    if "weight_quant_params" in settings or not settings:
        return _scheme(_hqq_storage(settings or found))
    rules = tuple(Rule((module,), _hqq_storage(mapping(said))) for module, said in list(settings.items())[:_MOST_RULES])
    return Scheme(PLAIN, rules)


def _quanto(found: Json) -> Scheme:
    named = re.fullmatch(r"q?(int|float)(\d)", str(found.get("weights") or ""))
    if named is None:
        raise unknown("quanto weights", found.get("weights"))
    if named[1] == "float":
        return _scheme(storage("fp8"))
    if named[2] == "8":
        return _scheme(Storage("int8", 8.0, 16.0))
    return _scheme(_integers("quanto-int", int(named[2]), 128, scales=32))


def _sinq(found: Json) -> Scheme:
    return _scheme(_integers("sinq-int", _whole(found, "nbits", "bits", default=4),
                             _whole(found, "group_size", default=64), scales=32, packed=True, usual=64))


def _mlx_storage(found: Json) -> Storage:
    mode, bits = str(found.get("mode") or "affine").lower(), _whole(found, "bits", default=4)
    if mode != "affine":
        return storage(f"mlx-{mode}")
    group = _whole(found, "group_size", default=64)
    name = f"mlx-{bits}bit" + ("" if group == 64 else f"-g{group}")
    if name not in FORMATS or group <= 0:
        raise unknown("MLX bits", bits)
    return Storage(name, bits, 32.0, group)


def mlx(found: Json) -> Scheme:
    """MLX: every matrix and the embedding; modules with their own setting stand among the keys, False keeps them."""
    rules = tuple(
        Rule((module.removeprefix("model."),), _mlx_storage({**found, **mapping(said)}) if said else PLAIN)
        for module, said in list(found.items())[:_MOST_RULES] if isinstance(said, Mapping) or said is False
    )
    everywhere = _mlx_storage(found)
    embedding = next((rule.stored for rule in rules if rule.holds("embed_tokens")), everywhere)
    return Scheme(everywhere, rules, head=True, embedding=embedding)


def _exllama(found: Json) -> Scheme:
    """EXL2 and EXL3: a mean over the layers, reached to a percent, and a head of its own."""
    family, bits = str(found["quant_method"]).lower(), number(found, "bits")
    name = f"{family}-{bits:g}bpw"
    if name not in FORMATS:
        raise unknown(f"{family} bits", bits)
    head = number(found, "head_bits", default=6)
    return Scheme(Storage(name, bits), (Rule(("lm_head",), Storage(name, head)),))


def _higgs(found: Json) -> Scheme:
    bits = _whole(found, "bits", default=4)
    if not 2 <= bits <= 4:
        raise unknown("higgs bits", bits)
    return _scheme(Storage(f"higgs-{bits}bit", bits, 16.0, _whole(found, "group_size", default=256)))


def _fp_quant(found: Json) -> Scheme:
    dtype = str(found.get("forward_dtype") or "mxfp4").lower()
    if dtype not in ("nvfp4", "mxfp4"):
        raise unknown("fp_quant forward_dtype", dtype)
    return _scheme(storage(dtype))


def _w4afp8(_: Json) -> Scheme:
    """SGLang's DeepSeek: experts in four bits with a 16-bit scale per 128, everything else in FP8."""
    return Scheme(storage("fp8"), (Rule((ROUTED_EXPERTS,), storage("w4afp8")),))


def _moe_wna16(found: Json) -> Scheme:
    return _awq(found) if "awq" in str(found.get("linear_quant_method", "")) else _gptq(found)


ALGORITHMS: Final = {   # NVIDIA ModelOpt QUANT_ALGO names, TensorRT-LLM QuantAlgo
    "FP8": "fp8", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "FP8_PB_WO": "fp8", "FP8_PB_REAL": "fp8",
    "FP8_BLOCK_SCALES": "fp8", "MXFP8": "mxfp8", "NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4", "NVFP4_SVD": "nvfp4",
    "W4A16_NVFP4": "nvfp4", "W4A8_NVFP4_FP8": "nvfp4", "MXFP4": "mxfp4", "W4A16_MXFP4": "mxfp4",
    "W4A8_MXFP4_FP8": "mxfp4", "W4A8_MXFP4_MXFP8": "mxfp4", "W4A16": "int4", "W4A16_AWQ": "int4",
    "INT4_AWQ": "int4", "W4A16_GPTQ": "gptq-int4", "W4A8_AWQ": "w4a8", "W8A16": "int8", "W8A16_GPTQ": "gptq-int8",
    "INT8_SQ": "w8a8-int8", "W8A8_SQ_PER_CHANNEL": "w8a8-int8", "W8A8_SQ_PER_TENSOR_PLUGIN": "w8a8-int8",
    "W8A8_SQ_PER_CHANNEL_PER_TOKEN_PLUGIN": "w8a8-int8",
}
_CODE_BOOKS: Final = {"aqlm": "AQLM", "vptq": "VPTQ", "spqr": "SpQR", "quip": "QuIP#", "quip-sharp": "QuIP#"}


def open_sized(method: str) -> str:
    """The right name of a quantiser whose bytes only the tensor headers tell; empty for the others."""
    return _CODE_BOOKS.get(method, "")


READERS: Final[Mapping[str, Callable[[Json], Scheme | None]]] = {
    "awq": _awq, "awq-marlin": _awq,
    "gptq": _gptq, "gptq-marlin": _gptq, "gptq-bitblas": _gptq, "marlin": _marlin, "moe-wna16": _moe_wna16,
    "fp8": _fp8, "fbgemm-fp8": lambda _: Scheme(Storage("fp8", 8.0, 32.0)), "ptpc-fp8": _always("fp8"),
    "modelopt": _always("fp8"), "modelopt-fp8": _always("fp8"), "modelopt-fp4": _always("nvfp4"),
    "modelopt-mxfp8": _always("mxfp8"), "petit-nvfp4": _always("nvfp4"), "nvfp4": _always("nvfp4"),
    "bitsandbytes": _bitsandbytes,
    "compressed-tensors": _compressed_tensors,
    "mxfp4": _always("mxfp4"), "mxfp8": _always("mxfp8"), "fp-quant": _fp_quant,
    "torchao": _torchao, "quark": _quark,
    "auto-round": _auto_round, "autoround": _auto_round, "intel/auto-round": _auto_round, "inc": _auto_round,
    "hqq": _hqq, "quanto": _quanto, "sinq": _sinq,
    "exl2": _exllama, "exl3": _exllama, "higgs": _higgs, "bitnet": _always("bitnet"), "mlx": mlx,
    "eetq": lambda _: Scheme(Storage("int8", 8.0, 16.0)), "experts-int8": lambda _: Scheme(Storage("int8", 8.0, 16.0)),
    "qqq": _always("w4a8"), "w4afp8": _w4afp8,
}
