"""The Hub client against a loopback stand-in: what it reads, what it asks for, and what it says when refused."""

import hashlib
import json
import os
import socket
import tracemalloc

import pytest
from huggingface_hub import constants
from hypothesis import given, settings
from hypothesis import strategies as st

from core.basics.errors import (
    CheckpointInvalid,
    ConfigInvalid,
    HubError,
    HubRateLimited,
    HubUnreachable,
    InputError,
    ModelError,
    ModelGated,
    ModelNotFound,
    SweetspotError,
)
from core.reading import hub
from core.reading.catalogue import DEFAULT_MODEL
from core.reading.hub.cache import Shelf, make_room
from tests.hub_server import (
    HubServer,
    Repo,
    Trouble,
    data_bytes,
    header_of,
    llama,
    llama_tensors,
    safetensors_file,
    sharded,
)

CONFIG = llama()
TENSORS = llama_tensors(CONFIG)
TOKEN = "hf_secret_0123456789"


@pytest.fixture(autouse=True)
def kept(tmp_path, monkeypatch):
    """A fresh cache for every test."""
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_the_catalogue_answers_without_any_request():
    with HubServer() as server:
        assert hub.resolve(DEFAULT_MODEL, endpoint=server.url).name == DEFAULT_MODEL
        assert server.requests == []


def test_a_repository_is_read_by_its_commit_and_its_header():
    with HubServer({"org/model": Repo(CONFIG, {"model.safetensors": TENSORS})}) as server:
        spec = hub.resolve("org/model", endpoint=server.url)
        assert spec.shipped.weight_bytes == spec.shipped.stored_bytes == 2 * spec.total_params
        assert spec.shipped.format == "bf16"
        assert spec.notes == ()
        assert server.repos["org/model"].sha[:12] in spec.source
        info, *files = [path for _, path, _ in server.requests]
        assert info.startswith("/api/models/org/model?")
        assert all(f"/resolve/{server.repos['org/model'].sha}/" in path for path in files)
        assert [headers.get("range", "whole") for _, _, headers in server.requests[1:]] == ["whole", "bytes=0-99999"]


def test_a_second_read_makes_no_request_and_works_offline():
    with HubServer({"org/model": Repo(CONFIG, {"model.safetensors": TENSORS})}) as server:
        first = hub.resolve("org/model", endpoint=server.url)
        asked = len(server.requests)
        assert hub.resolve("org/model", endpoint=server.url) == first
        assert hub.resolve("org/model", endpoint=server.url, offline=True) == first
        assert len(server.requests) == asked
    assert hub.resolve("org/model", endpoint=server.url) == first   # the server is gone


@pytest.mark.parametrize("one_answer", [True, False])
def test_sixty_shards_take_one_request_each_at_most_and_none_a_second_time(one_answer):
    with HubServer({"org/moe": sharded(one_answer=one_answer)}) as server:
        spec = hub.resolve("org/moe", endpoint=server.url)
        assert spec.shipped.stored_bytes == 60 * (64 * 3 * 64 * 64 + 64) * 2
        asked = len(server.requests)
        assert asked == (3 if one_answer else 63)   # without the one answer: it is tried, then every shard
        assert hub.resolve("org/moe", endpoint=server.url) == spec
        assert len(server.requests) == asked


@pytest.mark.parametrize("one_answer", [True, False])
def test_sixty_shards_in_megabytes(one_answer):
    with HubServer({"org/moe": sharded(one_answer=one_answer)}) as server:
        tracemalloc.start()
        hub.resolve("org/moe", endpoint=server.url)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 64e6


def test_shards_under_unusual_names_come_from_the_index():
    names = ("weights_a.safetensors", "weights_b.safetensors")
    halves = dict(list(TENSORS.items())[:5]), dict(list(TENSORS.items())[5:])
    repo = Repo(CONFIG, dict(zip(names, halves, strict=True)), one_answer=False)
    with HubServer({"org/model": repo}) as server:
        spec = hub.resolve("org/model", endpoint=server.url)
        assert spec.shipped.stored_bytes == 2 * spec.total_params


@pytest.mark.parametrize("value", [["weights_a.safetensors"], {"a": 1}, None, 7])
def test_an_index_of_something_else_lists_no_shards(value):
    index = json.dumps({"weight_map": {"model.embed_tokens.weight": value}}).encode()
    repo = Repo(CONFIG, {"weights_a.safetensors": TENSORS}, files={"model.safetensors.index.json": index})
    with HubServer({"org/model": repo}) as server:
        assert hub.resolve("org/model", endpoint=server.url).shipped is None


@pytest.mark.parametrize("sharded_names", [("model.safetensors",), ("model-00001-of-00002.safetensors",
                                                                    "model-00002-of-00002.safetensors")])
def test_headers_are_used_where_nothing_can_be_kept(monkeypatch, sharded_names):
    monkeypatch.setenv("SWEETSPOT_DATA", "/dev/null/x")
    names = list(TENSORS)
    parts = {file: {name: TENSORS[name] for name in names[i::len(sharded_names)]}
             for i, file in enumerate(sharded_names)}
    with HubServer({"org/model": Repo(CONFIG, parts)}) as server:
        spec = hub.resolve("org/model", endpoint=server.url)
        assert spec.shipped.stored_bytes == 2 * spec.total_params


def test_the_shelf_is_bounded(tmp_path):
    shelf = Shelf(tmp_path / "repository")
    for n in range(10):
        shelf.keep(b"x" * 1000, f"file {n}")
        os.utime(shelf.folder / f"file%20{n}_", (n, n))
    make_room(tmp_path, max_bytes=8_000)
    assert [n for n in range(10) if shelf.read(f"file {n}")] == [4, 5, 6, 7, 8, 9]      # a quarter of 8,000 is free
    make_room(tmp_path, max_bytes=8_000)
    assert shelf.read("file 4")


def test_half_a_character_in_a_config_is_refused():
    repo = Repo(CONFIG | {"model_type": "\ud800x"})
    with HubServer({"org/model": repo}) as server, pytest.raises(ConfigInvalid, match="cannot be written"):
        hub.resolve("org/model", endpoint=server.url)


def test_a_long_header_takes_a_second_range():
    tensors = TENSORS | {f"model.layers.5.mlp.experts.{i}.up_proj.weight": ("BF16", [2, 2]) for i in range(2000)}
    with HubServer({"org/model": Repo(CONFIG, {"model.safetensors": tensors})}) as server:
        hub.resolve("org/model", endpoint=server.url)
        ranges = [headers["range"] for _, _, headers in server.requests if "range" in headers]
        assert len(ranges) == 2
        assert ranges[1].startswith("bytes=100000-")


def test_a_server_that_ignores_ranges_is_read_all_the_same():
    trouble = Trouble(ignores_ranges=True, times=0)
    with HubServer({"org/model": Repo(CONFIG, {"model.safetensors": TENSORS})}, trouble) as server:
        found = hub.resolve("org/model", endpoint=server.url).shipped
        assert found.stored_bytes == data_bytes(header_of(TENSORS))


def test_quantisation_declared_in_its_own_file_is_found():
    said = b'{"quantization": {"quant_algo": "FP8", "kv_cache_quant_algo": "FP8"}}'
    repo = Repo(CONFIG, files={"hf_quant_config.json": said})
    with HubServer({"org/model": repo}) as server:
        found = hub.resolve("org/model", endpoint=server.url).shipped
        assert (found.format, found.kv_format) == ("fp8", "fp8")


def test_unreadable_headers_leave_computed_weights_and_a_note():
    repo = Repo(CONFIG | {"quantization_config": {"quant_method": "fp8"}}, {"model.safetensors": TENSORS})
    with HubServer({"org/model": repo}, Trouble(status=500, on="model.safetensors")) as server:
        spec = hub.resolve("org/model", endpoint=server.url)
        assert (spec.shipped.format, spec.shipped.weight_bytes) == ("fp8", None)
        assert "Weights are computed, not read" in spec.notes[-1]
        server.trouble = Trouble(times=0)
        assert hub.resolve("org/model", endpoint=server.url).shipped.weight_bytes   # nothing false was kept


def test_search_finds_most_downloaded_first():
    repos = {"a/llama-x": Repo(CONFIG, downloads=3), "b/llama-y": Repo(CONFIG, downloads=9, gated="auto"),
             "c/other": Repo(CONFIG)}
    with HubServer(repos) as server:
        hits = hub.search("LLaMA", endpoint=server.url, limit=5)
        assert [(hit.name, hit.downloads, hit.gated, hit.params) for hit in hits] == [
            ("b/llama-y", 9, True, 7), ("a/llama-x", 3, False, 7)]
        assert hub.search("  ", endpoint=server.url) == ()
        assert len(server.requests) == 1


def test_gated_and_private_repositories():
    repos = {"org/gated": Repo(CONFIG, gated="manual", tokens=(TOKEN,)),
             "org/private": Repo(CONFIG, private=True, tokens=(TOKEN,))}
    with HubServer(repos) as server:
        for name in repos:
            assert hub.resolve(name, endpoint=server.url, token=TOKEN).vocab_size == 256
        with pytest.raises(ModelGated, match=r"Accept its licence on its Hub page, then enter your Hub token"):
            hub.resolve("org/gated", endpoint=server.url)
        with pytest.raises(ModelGated, match="Your token has no access"):
            hub.resolve("org/gated", endpoint=server.url, token="hf_other")
        with pytest.raises(ModelGated, match="refuses your token"):
            hub.resolve("org/gated", endpoint=server.url, token="bad")
        with pytest.raises(ModelNotFound, match="enter a token if it is private"):
            hub.resolve("org/private", endpoint=server.url)
    with pytest.raises(HubUnreachable):   # what was kept for one visitor is not shown to another
        hub.resolve("org/gated", endpoint=server.url, allow_local=False)
    assert hub.resolve("org/gated", endpoint=server.url, allow_local=True).vocab_size == 256


def test_the_token_travels_in_one_header_and_stays_nowhere(kept, caplog):
    caplog.set_level("DEBUG")
    other = HubServer({"org/gated": Repo(CONFIG, gated="auto", tokens=(TOKEN,))})
    with other, HubServer({"org/gated": Repo(CONFIG, gated="auto", tokens=(TOKEN,))}) as server:
        hub.resolve("org/gated", endpoint=server.url, token=TOKEN)
        assert all(headers["authorization"] == f"Bearer {TOKEN}" for _, _, headers in server.requests)
        assert not any(TOKEN in path for _, path, _ in server.requests)
        server.trouble = Trouble(redirect_to=other.url.replace("127.0.0.1", "localhost"))
        with pytest.raises(SweetspotError) as error:
            hub.resolve("org/gated", endpoint=server.url, token=TOKEN, allow_local=False)
        assert TOKEN not in str(error.value)
        assert other.requests
        assert not any("authorization" in headers for _, _, headers in other.requests)   # another origin
    assert TOKEN not in caplog.text
    files = [path for path in kept.rglob("*") if path.is_file()]
    assert files
    assert not any(TOKEN in str(path) or TOKEN.encode() in path.read_bytes() for path in files)


def test_no_token_is_taken_from_the_machine(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    with HubServer({"org/model": Repo(CONFIG)}) as server:
        hub.resolve("org/model", endpoint=server.url)
        assert not any("authorization" in headers for _, _, headers in server.requests)


def test_a_token_that_is_none_is_refused_unshown():
    with HubServer({"org/model": Repo(CONFIG)}) as server, pytest.raises(InputError) as error:
        hub.resolve("org/model", endpoint=server.url, token="hf secret\nx")
    assert "secret" not in str(error.value)


REFUSALS = [
    (Trouble(status=429, headers={"RateLimit": '"api";r=0;t=55'}), HubRateLimited, "Come back in 55 s"),
    (Trouble(status=429, headers={"Retry-After": "7"}), HubRateLimited, "Come back in 7 s"),
    (Trouble(status=429, headers={"Retry-After": "9" * 50}), HubRateLimited, "Come back in 60 s"),
    (Trouble(status=503), HubUnreachable, "overloaded"),
    (Trouble(status=500), HubUnreachable, "error"),
    (Trouble(status=418), HubUnreachable, "418"),
    (Trouble(body=b"<html>rubbish"), HubUnreachable, "not understood"),
    (Trouble(body=b"[" * 100_000), HubUnreachable, "not understood"),
    (Trouble(body=b'{"sha": "../../etc", "siblings": []}'), HubUnreachable, "not understood"),
    (Trouble(body=b"{}", headers={"Content-Encoding": "gzip"}), HubUnreachable, "not understood"),
    (Trouble(status=404, headers={"X-Error-Code": "RepoNotFound"}), ModelNotFound, "Check the spelling"),
    (Trouble(status=403, headers={"X-Error-Message": "Access to this resource is disabled."}), ModelNotFound,
     "disabled"),
]


@pytest.mark.parametrize(("trouble", "kind", "says"), REFUSALS)
def test_refusals_are_one_sentence(trouble, kind, says):
    with HubServer({"org/model": Repo(CONFIG)}, trouble) as server:
        with pytest.raises(kind, match=says) as error:
            hub.resolve("org/model", endpoint=server.url)
        assert "\n" not in str(error.value)
        assert len(server.requests) <= 2


def test_a_busy_server_is_asked_once_more():
    with HubServer({"org/model": Repo(CONFIG)}, Trouble(status=503, times=1)) as server:
        assert hub.resolve("org/model", endpoint=server.url).vocab_size == 256


def test_slowness_is_cut_off(monkeypatch):
    """Waited for, the server would answer."""
    monkeypatch.setattr("core.reading.hub.client.READ_S", 0.3)
    with HubServer({"org/model": Repo(CONFIG)}, Trouble(delay_s=30)) as server:
        with pytest.raises(HubUnreachable, match="did not answer in time"):
            hub.resolve("org/model", endpoint=server.url)
        with pytest.raises(HubUnreachable):
            hub.search("model", endpoint=server.url, timeout_s=0.2)


@pytest.mark.parametrize("slow", ["bytes", "headers", "redirects"])
def test_one_deadline_ends_a_request_wherever_it_stands(slow):
    """Every byte, or every redirect of twenty, comes in time; the answer does not."""
    with HubServer({"org/model": Repo(CONFIG)}) as server:
        server.trouble = {"bytes": Trouble(drip_s=0.3), "headers": Trouble(header_drip_s=0.1),
                          "redirects": Trouble(delay_s=0.2, redirect_to=server.url)}[slow]
        with pytest.raises(HubUnreachable, match="took longer than"):
            hub.search("model", endpoint=server.url, timeout_s=0.6)
        server.trouble = Trouble()
        assert hub.resolve("org/model", endpoint=server.url).vocab_size == 256


def test_no_network():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{unused.getsockname()[1]}"
    for ask in (lambda: hub.resolve("org/model", endpoint=nowhere), lambda: hub.search("x", endpoint=nowhere)):
        with pytest.raises(HubUnreachable, match="the bundled catalogue works without it"):
            ask()
    assert hub.resolve(DEFAULT_MODEL, endpoint=nowhere).n_layers == 32


def test_offline_mode_of_the_library(monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with HubServer({"org/model": Repo(CONFIG)}) as server:
        with pytest.raises(HubUnreachable, match="HF_HUB_OFFLINE"):
            hub.resolve("org/model", endpoint=server.url)
        assert server.requests == []


def test_an_unknown_name_gets_the_nearest_ones():
    with HubServer() as server:
        for offline in (False, True):
            with pytest.raises((ModelNotFound, HubUnreachable), match="Did you mean Qwen/Qwen3-32B, "):
                hub.resolve("Qwen/Qwen3-33B", endpoint=server.url, offline=offline)


def test_a_folder_here_comes_before_a_short_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert hub.resolve("mixtral", offline=True).name == "mistralai/Mixtral-8x7B-Instruct-v0.1"
    (tmp_path / "mixtral").mkdir()
    with pytest.raises(ModelNotFound, match="holds neither"):
        hub.resolve("mixtral", offline=True)


def test_offline_asks_nobody():
    with HubServer({"org/model": Repo(CONFIG)}) as server:
        with pytest.raises(HubUnreachable, match="offline"):
            hub.resolve("org/model", endpoint=server.url, offline=True)
        assert server.requests == []


@pytest.mark.parametrize("name", ["a/b/c/d", "org/mo del", "../../etc/passwd", "x" * 300, "org/é", "a/..",
                                  "org/m?x=1", ""])
def test_names_that_are_no_hub_id(name):
    with HubServer() as server:
        with pytest.raises(ModelError):
            hub.resolve(name, endpoint=server.url, allow_local=False)
        assert server.requests == []


@pytest.mark.parametrize(("repo", "says"), [
    (Repo(files={"adapter_config.json": b"{}"}), "adapter"),
    (Repo(files={"README.md": b"hello"}), "neither config.json nor a GGUF file"),
])
def test_repositories_without_a_model(repo, says):
    with HubServer({"org/x": repo}) as server, pytest.raises(ModelNotFound, match=says):
        hub.resolve("org/x", endpoint=server.url)


def test_a_huge_config_is_refused_before_it_is_read():
    huge = Repo(files={"config.json": b'{"a": "' + b"x" * 50_000_000 + b'"}'})
    with HubServer({"org/x": huge}) as server:
        tracemalloc.start()
        with pytest.raises(ConfigInvalid, match="larger than 4 MB"):
            hub.resolve("org/x", endpoint=server.url)
        assert tracemalloc.get_traced_memory()[1] < 30e6
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"", b"{", b"[" * 100_000, b"[]", b"3", b"\xff", b'{"a":' * 100_000, b"9" * 5000])
def test_malformed_configs(body):
    with HubServer({"org/x": Repo(files={"config.json": body})}) as server, pytest.raises(ConfigInvalid):
        hub.resolve("org/x", endpoint=server.url)


@pytest.mark.parametrize("body", [
    (2**63).to_bytes(8, "little"), b"\1",
    safetensors_file({"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}),
    safetensors_file([1]), (1000).to_bytes(8, "little") + b"{" * 10,
])
def test_hostile_checkpoints(body):
    with HubServer({"org/x": Repo(CONFIG, files={"model.safetensors": body})}) as server, \
            pytest.raises(CheckpointInvalid):
        hub.resolve("org/x", endpoint=server.url)


@pytest.fixture(scope="module")
def rubbish_hub():
    with HubServer() as server:
        yield server


@settings(max_examples=60)
@given(body=st.binary(max_size=200) | st.sampled_from([b'{"model_type": "llama"}', b'{"model_type": 7}']))
def test_any_answer_ends_in_our_own_error(rubbish_hub, body):
    """The same bytes as repository list, search, config and weights."""
    files = {"config.json": body, "model.safetensors": body, "hf_quant_config.json": body}
    sha = hashlib.sha1(body).hexdigest()
    rubbish_hub.repos, rubbish_hub.trouble = {f"org/{sha}": Repo(files=files, sha=sha)}, Trouble(times=0)
    url = rubbish_hub.url
    with pytest.raises(ModelError):
        hub.resolve(f"org/{sha}", endpoint=url)
    rubbish_hub.trouble = Trouble(body=body)
    for ask in (lambda: hub.resolve("org/y", endpoint=url), lambda: hub.search("x", endpoint=url)):
        with pytest.raises(HubError):
            ask()
