"""Which files of a model hold its weights, and how its JSON files are read."""

import json
import re
from collections.abc import Iterable
from typing import Final

from core.basics.errors import ConfigInvalid, ModelNotFound
from core.basics.fields import json_value

CONFIG_MAX_BYTES: Final = 4_000_000   # the largest seen is 3.1 MB: nvidia/MiniMax-M3-NVFP4, 22,422 named layers
_SHARD: Final = re.compile(r"(model|consolidated)[^/]*?-?(\d{5})-of-(\d{5})\.safetensors")
_GGUF_PART: Final = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
_USUAL_GGUF: Final = ("Q4_K_M", "Q4_K_S", "Q4_0", "Q8_0")   # llama.cpp takes Q4_K_M when nothing is said


def json_object(body: bytes, subject: str) -> dict[str, object]:
    """The JSON object in a file. Raises: ConfigInvalid when it is none."""
    try:
        content = json_value(body, infinities=True)      # Mamba-2: "time_step_limit": [0.0, Infinity]
    except ValueError as error:
        readable = not isinstance(error, json.JSONDecodeError | UnicodeDecodeError)
        why = f"cannot be used: {error}" if readable else "is not valid JSON"
        raise ConfigInvalid(f"{subject} {why}. Fix the file, or pick another model.") from None
    if not isinstance(content, dict):
        raise ConfigInvalid(f"{subject} holds no JSON object. Fix the file, or pick another model.")
    return content


def safetensors_files(files: Iterable[str]) -> tuple[str, ...]:
    """The files an engine loads: `model.safetensors`, else a complete set of shards; empty when in doubt."""
    names = set(files)
    if "model.safetensors" in names:
        return ("model.safetensors",)
    sets: dict[tuple[str, str], list[str]] = {}
    for name in sorted(names):
        if shard := _SHARD.fullmatch(name):
            sets.setdefault((shard[1], shard[3]), []).append(name)
    complete = {kind: shards for (kind, total), shards in sets.items() if len(shards) == int(total)}
    if found := complete.get("model") or complete.get("consolidated"):
        return tuple(found)
    return ("consolidated.safetensors",) if "consolidated.safetensors" in names else ()


def gguf_files(files: Iterable[str], wanted: str) -> tuple[str, ...]:
    """The parts of one GGUF model: the file or quantisation wanted, else the usual one; empty when there is none.

    Raises: ModelNotFound naming what there is, when what is wanted is not among them.
    """
    models = sorted(name for name in files if name.lower().endswith(".gguf") and "mmproj" not in name.lower())
    if not models:
        return ()
    for choice in (wanted,) if wanted else _USUAL_GGUF:
        pattern = re.compile(rf"(?:^|[-_./]){re.escape(choice)}(?:[-./].*)?$", re.IGNORECASE)
        if found := [name for name in models if name == choice or pattern.search(name)]:
            return _parts(found[0], models)
    if wanted:
        known = ", ".join(name.rpartition("/")[2][:60] for name in models[:12])
        raise ModelNotFound(f"No '{wanted[:60]}' among the GGUF files of the repository. There are: {known}.")
    return _parts(models[0], models)


def _parts(name: str, models: list[str]) -> tuple[str, ...]:
    part = _GGUF_PART.search(name)
    if part is None:
        return (name,)
    stem = name[: part.start()]
    return tuple(other for other in models if _GGUF_PART.search(other) and other.startswith(stem + "-"))
