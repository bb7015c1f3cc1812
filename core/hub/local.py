"""A model on this machine: a folder, a config.json or a GGUF file."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from core.checkpoints import shipped
from core.configs import read_config
from core.errors import ConfigInvalid, ModelNotFound
from core.models import ModelSpec

CONFIG_MAX_BYTES: Final = 8_000_000   # the largest seen is 3.1 MB (nvidia/MiniMax-M3-NVFP4, 22,422 named layers)


def names_a_path(name: str) -> bool:
    """Whether a name can only be meant as a path."""
    return name.startswith(("/", "./", "../", "~", ".\\")) or name.endswith((".gguf", ".json")) or "\\" in name


def load(name: str) -> ModelSpec:
    """The model in a folder with config.json, or in a config.json file."""
    path = Path(name).expanduser()
    folder = path if path.is_dir() else path.parent
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file():
        raise ModelNotFound(f"'{name}' holds no config.json. Give a model folder, a config.json or a .gguf file.")
    config = _json(file)
    quant_file = folder / "hf_quant_config.json"
    quant_config = _json(quant_file) if quant_file.is_file() else None
    spec = read_config(config, name=name, quant_config=quant_config)
    return spec


def _json(file: Path) -> Mapping[str, object]:
    if file.stat().st_size > CONFIG_MAX_BYTES:
        raise ConfigInvalid(f"{file.name} is larger than {CONFIG_MAX_BYTES // 10**6} MB, which no model configuration is.")
    try:
        content = json.loads(file.read_bytes())
    except (ValueError, RecursionError):
        raise ConfigInvalid(f"{file.name} is not valid JSON.") from None
    if not isinstance(content, dict):
        raise ConfigInvalid(f"{file.name} does not hold a JSON object.")
    return content
