"""The catalogue page and what stands behind it: facts of layers, where formats run, addresses of sources."""

import csv
import json

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.basics.places import ROOT
from core.basics.sources import address
from core.delivery import charts
from core.models import kinds_of_layers, layer_by_layer
from core.products.formats import FORMATS, find, find_kv
from core.products.gpus import find as find_gpu
from core.products.support import by_engine, by_generation, generations, runs_on
from core.reading import catalogue
from pages.shared import keeping
from tests.conftest import PATIENCE_S

LLAMA = {
    "model_type": "llama", "hidden_size": 4096, "num_hidden_layers": 32, "num_attention_heads": 32,
    "num_key_value_heads": 8, "intermediate_size": 14336, "vocab_size": 128256, "max_position_embeddings": 131072,
}


@pytest.fixture
def app(monkeypatch, tmp_path):
    """The router at the catalogue, with an empty store and no Hub."""
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    st.cache_resource.clear()
    app = AppTest.from_file(str(ROOT / "pages" / "router.py"), default_timeout=PATIENCE_S)
    app.run()
    app.switch_page("catalogue/catalogue.py").run()
    yield app
    st.cache_resource.clear()


def show(app, view):
    app.button_group(key="show").set_value(view)
    app.run()
    assert not app.exception and not app.error


def form(app, label):
    return next(widget for widget in app.number_input if widget.label == label)


def press(app, label, number=0):
    [button for button in app.button if button.label == label][number].click()
    app.run()
    assert not app.exception


# -- facts ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "kinds"), [
    # Own arithmetic from the public configurations: 2 x kv_heads x head_dim x 2 bytes a layer.
    ("meta-llama/Llama-3.1-8B", {"full": (32, 32 * 2 * 8 * 128 * 2)}),
    ("openai/gpt-oss-120b", {"full": (18, 18 * 2 * 8 * 64 * 2), "sliding": (18, 0)}),
    ("google/gemma-3-12b-it", {"full": (8, 8 * 2 * 8 * 256 * 2), "sliding": (40, 0)}),
    ("deepseek-ai/DeepSeek-V3", {"latent": (61, 61 * (512 + 64) * 2)}),     # kv_lora_rank + rope, arXiv 2412.19437
])
def test_cache_per_token_by_kind_of_layer(name, kinds):
    spec = catalogue.load(name)
    found = {kind.kind: (kind.layers, kind.kv_bytes_per_token) for kind in kinds_of_layers(spec, find_kv("bf16"), 8192)}
    assert found == kinds


@pytest.mark.parametrize("card", catalogue.models(), ids=lambda card: card.name)
def test_kinds_and_layers_add_up_to_the_model(card):
    spec, kv = catalogue.load(card.name), find_kv("bf16")
    kinds = kinds_of_layers(spec, kv, 4096)
    assert sum(kind.layers for kind in kinds) == spec.n_layers
    assert sum(kind.kv_bytes_per_token for kind in kinds) == pytest.approx(spec.kv_bytes_per_token(kv))
    assert sum(kind.kv_bytes for kind in kinds) == pytest.approx(float(spec.kv_bytes(4096, kv)))
    assert sum(kind.state_bytes for kind in kinds) == pytest.approx(spec.state_bytes())
    strip = layer_by_layer(spec)
    assert len(strip) == len(spec.layer_order)
    assert len(charts.layer_strip(strip)["layer"][0]["data"]["values"]) == len(strip)


def test_deepseek_v3_begins_with_three_dense_layers():
    """DeepSeek-V3 report, arXiv 2412.19437, section 4.2: all but the first three feed-forwards are experts."""
    after = [after for _, after in layer_by_layer(catalogue.load("deepseek-ai/DeepSeek-V3"))]
    assert after == ["dense"] * 3 + ["experts"] * 58


# -- where formats run ------------------------------------------------------------------------------


def test_every_generation_is_there_once_and_announced_ones_are_not():
    names = [(each.vendor, each.name) for each in generations()]
    assert len(names) == len(set(names))
    assert {"Ampere 8.0", "Hopper 9.0", "Blackwell 10.0"} <= {name for _, name in names}
    assert not any(each.example.announced for each in generations())


@pytest.mark.parametrize(("fmt", "runs", "does_not"), [
    ("fp8", "Hopper 9.0", "Ampere 8.0"),        # FP8 tensor cores from 8.9: CUDA programming guide
    ("nvfp4", "Blackwell 10.0", "Hopper 9.0"),  # FP4 from Blackwell: PTX ISA, tcgen05.mma
])
def test_a_format_runs_where_it_has_kernels_and_says_why_not_elsewhere(fmt, runs, does_not):
    verdicts = {verdict.where: verdict.reason for verdict in by_generation(find(fmt), "vllm")}
    assert verdicts[runs] is None
    assert verdicts[does_not].endswith(".")
    assert "Hopper" in runs_on(find("fp8"), "vllm") and "Ampere" not in runs_on(find("fp8"), "vllm")


def test_the_reason_by_engine():
    verdicts = {verdict.where: verdict.reason for verdict in by_engine(find("fp8"), find_gpu("H100 SXM5 80GB"))}
    assert verdicts["vLLM"] is None
    assert "does not load" in verdicts["llama.cpp"]


# -- sources ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("table", ["models", "gpus", "prices", "formats"])
def test_nine_of_ten_sources_can_be_opened(table):
    with (ROOT / "assets" / f"{table}.csv").open(encoding="utf-8") as file:
        addresses = [address(row["source"]) for row in csv.DictReader(file)]
    assert sum(link is not None for link in addresses) >= 0.9 * len(addresses)
    assert all(link.startswith("https://") and " " not in link for link in addresses if link)


def test_what_was_typed_in_has_no_address():
    assert address("typed in") is None


# -- the page ---------------------------------------------------------------------------------------


def test_the_card_of_the_model_asked_for_is_shown(app):
    assert not app.exception and not app.error
    assert {metric.label: metric.value for metric in app.main.metric} == {
        "Parameters": "8.03 B", "Active per token": "8.03 B", "KV cache per token": "128 KiB",
        "Cache of a request": "160 MiB", "Context": "131,072",
    }
    assert len(app.dataframe[0].value) == len(catalogue.models())
    strip = json.loads(app.get("vega_lite_chart")[0].proto.spec)
    assert "full" in json.dumps(strip)


def test_every_model_has_a_card(app):
    """Every third of the catalogue, from towers to recurrent ones."""
    for card in catalogue.models()[::3]:
        app.selectbox(key="card").set_value(card.name).run()
        assert not app.exception and not app.error, card.name


def test_every_view_lists_its_table(app):
    show(app, "GPUs")
    assert len(app.dataframe[0].value) > 100
    show(app, "Formats")
    assert list(app.dataframe[0].value["Name"]) == list(FORMATS)
    show(app, "Prices")
    assert (app.dataframe[0].value["Price"] > 0).all()


def test_a_search_narrows_the_list(app):
    app.text_input(key="find").set_value("qwen3 32b").run()
    names = list(app.dataframe[0].value["Model"])
    assert names and len(names) < 10
    app.text_input(key="find").set_value("no such thing").run()
    assert not app.exception
    assert "Nothing matches" in app.info[0].value


def test_a_copy_shows_how_it_is_stored(app):
    app.selectbox(key="card").set_value("openai/gpt-oss-120b").run()
    told = " ".join(markdown.value for markdown in app.main.markdown)
    assert "MXFP4" in told and "Attention in BF16" in told


# -- one's own --------------------------------------------------------------------------------------


def test_a_gpu_of_ones_own_is_kept_and_can_be_picked(app):
    show(app, "Your own")
    app.text_input(key="new_gpu_name").set_value("Bench card")
    form(app, "Memory, GiB").set_value(48.0)
    press(app, "Add the GPU")
    assert "Bench card" in app.selectbox(key="gpu").options
    press(app, "Plan with it")
    assert "Bench card" in app.header[0].value


@pytest.mark.parametrize(("name", "gib", "says"), [
    ("", 48.0, "name"), ("L4", 48.0, "already"), ("Big", 1e9, "memory"), ("Negative", -1.0, "memory"),
])
def test_a_gpu_that_cannot_be_kept_is_refused_in_one_sentence(app, name, gib, says):
    show(app, "Your own")
    app.text_input(key="new_gpu_name").set_value(name)
    form(app, "Memory, GiB").set_value(gib)
    press(app, "Add the GPU")
    assert len(app.error) == 1 and says in app.error[0].value
    assert keeping.own_gpus() == {}


def test_a_model_by_its_configuration_is_kept_and_planned(app):
    show(app, "Your own")
    app.text_input(key="new_model_name").set_value("My fine-tune")
    app.text_area(key="new_config").set_value(json.dumps(LLAMA))
    press(app, "Add the model", 1)
    assert not app.error
    assert app.selectbox(key="model").options[0] == "My fine-tune"
    press(app, "Plan with it")
    assert "My fine-tune" in app.header[0].value


@pytest.mark.parametrize(("name", "config", "says"), [
    ("x", "", "Paste"), ("x", "not json", "JSON"), ("x", "[" * 100_000, "config.json"), ("x", "{}", "model_type"),
    ("", json.dumps(LLAMA), "name"), ("meta-llama/Llama-3.1-8B", json.dumps(LLAMA), "already"),
    ("x", json.dumps(LLAMA | {"num_hidden_layers": 10**12}), "num_hidden_layers"),
])
def test_a_configuration_that_cannot_be_read_is_refused_in_one_sentence(app, name, config, says):
    show(app, "Your own")
    app.text_input(key="new_model_name").set_value(name)
    app.text_area(key="new_config").set_value(config)
    press(app, "Add the model", 1)
    assert len(app.error) == 1 and says in app.error[0].value.replace("\\", "")
    assert keeping.own_models() == {}


def test_a_hub_model_needs_the_hub(app):
    show(app, "Your own")
    app.text_input(key="new_hub_id").set_value("nobody/nothing")
    press(app, "Add the model")
    assert len(app.error) == 1 and "Hub" in app.error[0].value
