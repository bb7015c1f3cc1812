"""A launch without a checkpoint: the planned shapes and format with weights that the engine draws at random.

Speed and memory of a server do not depend on what its weights say. Engines have a loader for that; it reads a
config.json, and a tokenizer of as many words as the model has tokens, so that benchmarks can count prompts.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import yaml

from core.basics.errors import InputError
from core.delivery.export.launch import Launch
from core.delivery.export.order import Order, is_as_shipped, own_checkpoint
from core.products.options import names
from core.reading.configs.read import TEXT_KEYS

DUMMY: Final = "dummy"
_QUANTISED: Final = ("quantization_config", "compression_config")
_UNKNOWN_WORD: Final = "t0"


def with_random_weights(ordered: Order, launch: Launch, folder: str) -> Launch:
    """The launch of a deployment reading `folder` in place of its checkpoint. Raises InputError where none can."""
    option = names(ordered.engine).get("load_format")
    if option is None:
        raise InputError(f"{ordered.engine} has no loader of random weights: name a checkpoint.")
    at = launch.command.index(launch.model)
    command = (*launch.command[:at], folder, *launch.command[at + 1:])
    if option.startswith("-"):
        return replace(launch, command=(*command, option, DUMMY), model=folder, notes=())
    files = {name: yaml.safe_dump({**yaml.safe_load(text), option: DUMMY}, sort_keys=False)
             for name, text in launch.files.items()}
    return replace(launch, command=command, files=files, model=folder, notes=())


def declared(ordered: Order, config: Mapping[str, Any]) -> dict[str, Any]:
    """config.json of a checkpoint in the planned format. Raises InputError for one that nobody can declare so."""
    if is_as_shipped(ordered):
        return dict(config)
    plain = {key: value for key, value in config.items() if key not in _QUANTISED}
    if not own_checkpoint(ordered):
        return plain                        # 16 bits, or made of them while loading
    return plain | {"quantization_config": _declaration(ordered)}


def _declaration(ordered: Order) -> dict[str, Any]:
    """What quantisers write into config.json: AutoAWQ 0.2, GPTQModel 5, compressed-tensors 0.19."""
    fmt = ordered.deployment.weights
    kind = fmt.name.partition("-g")[0]
    if kind == "awq-int4":
        return {"quant_method": "awq", "bits": 4, "group_size": fmt.group_size, "zero_point": True, "version": "gemm"}
    if kind in ("gptq-int4", "gptq-int8"):
        return {"quant_method": "gptq", "bits": int(kind[-1]), "group_size": fmt.group_size, "desc_act": False,
                "sym": True}
    if kind in ("fp8", "w8a8-int8"):
        of = "float" if kind == "fp8" else "int"
        return {
            "quant_method": "compressed-tensors", "format": f"{of}-quantized", "ignore": ["lm_head"],
            "config_groups": {"group_0": {
                "targets": ["Linear"],
                "weights": {"num_bits": 8, "type": of, "symmetric": True, "strategy": "channel", "dynamic": False},
                "input_activations": {"num_bits": 8, "type": of, "symmetric": True, "strategy": "token",
                                      "dynamic": True},
            }},
        }
    raise InputError(f"Random weights are not drawn in {fmt.label}: measure its checkpoint itself with --real.")


def write_folder(folder: Path, config: Mapping[str, Any]) -> None:
    """config.json, and a tokenizer that takes every word "t17" for the token 17."""
    size = next((part["vocab_size"] for part in (config, *(config.get(key) or {} for key in TEXT_KEYS))
                 if isinstance(part.get("vocab_size"), int)), None)
    if size is None:
        raise InputError("The model's config.json does not say how many tokens it has (vocab_size).")
    folder.mkdir()
    words = {f"t{token}": token for token in range(size)}
    files: Mapping[str, Mapping[str, Any]] = {
        "config.json": config,
        "tokenizer.json": {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": {"type": "WhitespaceSplit"}, "post_processor": None, "decoder": None,
            "model": {"type": "WordLevel", "vocab": words, "unk_token": _UNKNOWN_WORD},
        },
        "tokenizer_config.json": {"tokenizer_class": "PreTrainedTokenizerFast", "unk_token": _UNKNOWN_WORD},
    }
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
