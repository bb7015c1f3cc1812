"""A model on this machine: a folder, a config.json or a GGUF file. Headers are read, data never."""

import json
from pathlib import Path

from core.basics.errors import CheckpointInvalid, ConfigInvalid, ModelNotFound
from core.models import ModelSpec
from core.reading.checkpoints import Gguf, Tensors
from core.reading.checkpoints.gguf import read_header as read_gguf
from core.reading.checkpoints.safetensors import LENGTH_BYTES, header_bytes, read_header
from core.reading.checkpoints.tensors import merged
from core.reading.configs import read_config
from core.reading.gguf_models import read_gguf_model
from core.reading.hub.files import CONFIG_MAX_BYTES, gguf_files, json_object, safetensors_files


def names_a_path(name: str) -> bool:
    """Whether a name can only be meant as a path."""
    return name.startswith(("/", ".", "~")) or "\\" in name or (
        name.lower().endswith((".gguf", ".json")) and name.count("/") < 2)


def exists(name: str) -> bool:
    """Whether something on this machine has that name; never raises."""
    try:
        return Path(name).exists()
    except (OSError, ValueError):   # too long, or a NUL in it
        return False


def load(name: str) -> ModelSpec:
    """The model in a folder, a config.json or a .gguf file.

    Raises: ModelNotFound when there is none; ConfigInvalid, ArchitectureUnknown, CheckpointInvalid.
    """
    try:
        path = Path(name).expanduser()
        if path.is_dir():
            return _folder(path, name)
        if path.suffix.lower() == ".gguf" and path.is_file():
            return _gguf(path, name)
        if path.is_file():
            return _config(path, name, ())
    except OSError as error:
        raise ModelNotFound(f"'{name[:200]}' cannot be read ({error.strerror}). Check the path.") from None
    except RuntimeError:            # '~somebody' without such a user
        raise ModelNotFound(f"There is no home folder for '{name[:200]}'. Write the path in full.") from None
    raise ModelNotFound(f"There is no '{name}'. Give a model folder, a config.json or a .gguf file.")


def config_json(name: str) -> dict[str, object]:
    """config.json of a folder, or a file of that kind. Raises: ModelNotFound, ConfigInvalid."""
    path = Path(name).expanduser()
    file = path / "config.json" if path.is_dir() else path
    if not file.is_file() or file.suffix != ".json":
        raise ModelNotFound(f"'{name[:200]}' holds no config.json.")
    return _json(file)


def _folder(path: Path, name: str) -> ModelSpec:
    files = [file.name for file in path.iterdir() if file.is_file()]
    if "config.json" in files:
        return _config(path / "config.json", name, safetensors_files(files) or _indexed(path))
    if parts := gguf_files(files, ""):
        return _gguf(path / parts[0], name)
    raise ModelNotFound(f"The folder '{name}' holds neither config.json nor a .gguf file.")


def _config(file: Path, name: str, weights: tuple[str, ...]) -> ModelSpec:
    config = _json(file)
    beside = file.with_name("hf_quant_config.json")
    quant_config = _json(beside) if beside.is_file() else None
    headers = merged(_header(file.with_name(weight)) for weight in weights)
    return read_config(config, name=name, quant_config=quant_config, headers=headers)


def _json(file: Path) -> dict[str, object]:
    size = file.stat().st_size
    if size > CONFIG_MAX_BYTES:
        raise ConfigInvalid(f"{file.name} is larger than {CONFIG_MAX_BYTES / 1e6:.0f} MB; no model configuration is.")
    if size == 0:           # a file of /proc or /sys says so too, and reading one may wait for ever
        raise ConfigInvalid(f"{file.name} is empty. Download it again.")
    return json_object(file.read_bytes(), file.name)


def _indexed(folder: Path) -> tuple[str, ...]:
    """Shards under unusual names, as the index lists them; names that leave the folder are refused."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return ()
    try:
        named = json.loads(index.read_bytes())["weight_map"].values()
        files = {Path(file).name for file in named}
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError):
        raise CheckpointInvalid(f"{index.name} lists no files. Download it again.") from None
    return tuple(sorted(file for file in files if (folder / file).is_file()))


def _header(file: Path) -> tuple[Tensors, ...]:
    file_bytes = file.stat().st_size
    with file.open("rb") as opened:
        length = header_bytes(opened.read(LENGTH_BYTES), file.name, file_bytes)
        return read_header(opened.read(length), file.name, file_bytes - LENGTH_BYTES - length)


def _gguf(path: Path, name: str) -> ModelSpec:
    parts = gguf_files((file.name for file in path.parent.iterdir()), path.name) or (path.name,)
    headers = [_gguf_header(path.with_name(part)) for part in parts]
    return read_gguf_model(headers[0], merged(header.tensors for header in headers), name)


def _gguf_header(file: Path) -> Gguf:
    with file.open("rb") as opened:
        def read_at(offset: int, length: int) -> bytes:
            opened.seek(offset)
            return opened.read(length)

        return read_gguf(read_at, file.name, file.stat().st_size)
