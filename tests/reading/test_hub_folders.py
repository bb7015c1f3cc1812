"""Models of this machine: a folder, a file, and the paths that are refused."""

import json

import pytest

from core.basics.errors import CheckpointInvalid, ConfigInvalid, ModelNotFound
from core.reading import hub
from tests.hub_server import data_bytes, header_of, llama, llama_tensors, safetensors_file

CONFIG = llama()
TENSORS = llama_tensors(CONFIG)


def sparse(path, tensors):
    """A checkpoint of the full length whose data is a hole."""
    header = header_of(tensors)
    body = safetensors_file(header)
    with path.open("wb") as file:
        file.write(body)
        file.truncate(len(body) + data_bytes(header))


def folder(tmp_path, config=CONFIG, tensors=TENSORS):
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text(json.dumps(config))
    sparse(place / "model.safetensors", tensors)
    return place


def test_a_local_folder_and_its_config(tmp_path):
    place = folder(tmp_path)
    spec = hub.resolve(str(place))
    assert spec.shipped.weight_bytes == 2 * spec.total_params
    assert hub.resolve(str(place / "config.json")).shipped is None


@pytest.mark.parametrize("name", ["/" + "x" * 5000, "~nobody-of-that-name/model", "/nul\0byte", "x" * 5000, "a\0b"])
def test_impossible_paths(name):
    with pytest.raises(ModelNotFound) as error:
        hub.resolve(name, offline=True)
    assert len(str(error.value)) < 350


def test_local_paths_are_refused_unseen(tmp_path):
    place = folder(tmp_path)
    for name in (str(place), str(place / "config.json"), "./model", "~/model", "model.gguf"):
        with pytest.raises(ModelNotFound, match="Paths are not read here"):
            hub.resolve(name, allow_local=False)


def test_local_folders_that_hold_no_model(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelNotFound, match=r"neither config\.json nor a \.gguf file"):
        hub.resolve(str(tmp_path / "empty"))
    with pytest.raises(ModelNotFound, match="There is no"):
        hub.resolve(str(tmp_path / "absent"))
    (tmp_path / "big.json").write_bytes(b" " * 5_000_000)
    with pytest.raises(ConfigInvalid, match="larger than 4 MB"):
        hub.resolve(str(tmp_path / "big.json"))


def test_a_local_checkpoint_cut_short(tmp_path):
    place = folder(tmp_path)
    with (place / "model.safetensors").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(CheckpointInvalid, match="outside the file"):
        hub.resolve(str(place))


def test_local_shards(tmp_path):
    place = folder(tmp_path)
    (place / "model.safetensors").unlink()
    items = list(TENSORS.items())
    for number, part in enumerate((items[:8], items[8:]), start=1):
        sparse(place / f"model-{number:05d}-of-00002.safetensors", dict(part))
    spec = hub.resolve(str(place))
    assert spec.shipped.stored_bytes == 2 * spec.total_params
