"""`sweetspot catalogue refresh` against a loopback Hub that holds the catalogue's own configurations."""

import dataclasses
import json
import shutil

import pytest

from core.__main__ import main
from core.basics import places
from core.basics.errors import HubUnreachable
from core.reading import catalogue, hub, refresh
from tests.hub_server import HubServer, Repo, llama, llama_tensors

ROWS = {row.name: row for row in catalogue.rows()}
KNOWN, RECALLED = "Qwen/Qwen3-8B", next(name for name, row in ROWS.items() if "as recalled" in row.source)


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path / "kept"))


def found(server, *names):
    def read(name):
        return hub.declared(name, token=None, endpoint=server.url)

    return list(refresh.refreshed([ROWS[name] for name in names], read))


def test_a_repository_that_says_the_same_leaves_its_row_alone():
    with HubServer({KNOWN: Repo(ROWS[KNOWN].config)}) as server:
        assert found(server, KNOWN) == [refresh.Finding(KNOWN, "same", "", None)]


def test_a_recalled_row_is_confirmed_by_its_commit():
    with HubServer({RECALLED: Repo(ROWS[RECALLED].config, sha="a" * 40)}) as server:
        (one,) = found(server, RECALLED)
        assert one.verdict == "confirmed"
        assert one.row.source == f"config.json of Hugging Face Hub, {RECALLED}, commit {'a' * 12}"
        assert one.row == dataclasses.replace(ROWS[RECALLED], source=one.row.source)


def test_a_repository_that_changed_corrects_its_row_and_says_what():
    longer = {**ROWS[KNOWN].config, "max_position_embeddings": 131072, "transformers_version": "5.17.0"}
    with HubServer({KNOWN: Repo(longer)}) as server:
        (one,) = found(server, KNOWN)
    assert one.verdict == "corrected" and one.note == "context 40,960 -> 131,072; shapes"
    assert one.row.max_context == 131072 and "transformers_version" not in one.row.config


def test_what_cannot_be_read_is_said_and_the_rest_goes_on():
    with HubServer({KNOWN: Repo(ROWS[KNOWN].config)}) as server:
        gone, same = found(server, RECALLED, KNOWN)
    assert (gone.verdict, gone.row, same.verdict) == ("not read", None, "same")


def test_where_nobody_answers_nobody_else_is_asked():
    def read(name):
        return hub.declared(name, token=None, endpoint="http://127.0.0.1:9")     # discard: nothing listens there

    with pytest.raises(HubUnreachable):
        list(refresh.refreshed([ROWS[RECALLED], ROWS[KNOWN]], read))


def test_a_configuration_is_kept_by_the_keys_that_count():
    noisy = {**ROWS[KNOWN].config, "use_cache": True, "architectures": ["Qwen3ForCausalLM"], "bos_token_id": 1}
    assert set(refresh.pared(noisy, KNOWN)) <= set(ROWS[KNOWN].config)


def test_the_table_written_again_is_the_same_file():
    assert refresh.table([]) == (places.ASSETS / refresh.TABLE).read_text(encoding="utf-8")


def test_the_command_adds_what_is_new_and_the_catalogue_reads_it(tmp_path, monkeypatch, capsys):
    config = llama()
    table = tmp_path / refresh.TABLE
    with HubServer({"org/brand-new": Repo(config, {"model.safetensors": llama_tensors(config)}, downloads=9),
                    KNOWN: Repo(ROWS[KNOWN].config)}) as server:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", server.url)
        shutil.copytree(places.ASSETS, tmp_path, dirs_exist_ok=True)
        monkeypatch.setattr(places, "ASSETS", tmp_path)
        assert main(["catalogue", "refresh", KNOWN, "--new", "5", "--write", "--json"]) == 0
    same, new = json.loads(capsys.readouterr().out)
    assert (same["verdict"], new["name"], new["verdict"]) == ("same", "org/brand-new", "new")
    *before, last = table.read_text(encoding="utf-8").splitlines()
    assert len(before) == len(ROWS) + 1 and last.startswith("org/brand-new,llama,")
