"""Pages as scripts, without a browser: what they ask, what they show, how they fail."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from core.basics.errors import HubUnreachable
from core.basics.places import ROOT
from core.products import gpus
from core.reading import catalogue
from core.terms import Basis, Estimate
from pages.shared import figures
from tests.conftest import PATIENCE_S

ROUTER = str(ROOT / "pages" / "router.py")


@pytest.fixture
def app(monkeypatch):
    """The router with its default page, and no Hub to ask."""
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    return AppTest.from_file(ROUTER, default_timeout=PATIENCE_S)


def verdict(app):
    assert not app.exception
    return app.header[0].value


def test_defaults_answer_without_a_click(app):
    app.run()
    assert "Llama-3.1-8B" in verdict(app)
    assert gpus.DEFAULT_GPU in verdict(app)
    assert [metric.label.split()[0] for metric in app.metric] == ["TPOT", "TTFT", "Output", "Memory", "Cost"]
    assert len(app.get("vega_lite_chart")) == 8


def test_every_figure_says_what_it_rests_on(app):
    app.run()
    for metric in app.metric:
        assert any(f"badge[{basis}]" in metric.label for basis in Basis), metric.label
        assert metric.delta


def test_the_memory_bar_carries_every_term_and_the_line(app):
    app.run()
    spec = json.loads(app.get("vega_lite_chart")[0].proto.spec)
    text = json.dumps(spec)
    assert "weights" in text and "KV cache in use" in text and "GiB of memory" in text


def test_a_plan_follows_its_inputs(app):
    app.run()
    before = verdict(app)
    app.selectbox(key="gpu").set_value("L4").run()
    after = verdict(app)
    assert "L4" in after and after != before
    app.number_input(key="users").set_value(64).run()
    assert not app.exception


def test_half_the_model_list_can_be_picked(app):
    app.run()
    names = app.selectbox(key="model").options
    assert len(names) == len(set(names)) == len(catalogue.models())
    assert catalogue.DEFAULT_MODEL in names


@pytest.mark.parametrize("gib", [0.0, -1.0, 1e30])
def test_a_gpu_without_a_sound_memory_figure_is_refused_in_one_sentence(app, gib):
    app.run()
    app.selectbox(key="gpu").set_value("Custom GPU").run()
    assert "Custom GPU" in verdict(app)
    app.number_input(key="gpu_gib").set_value(gib).run()
    assert not app.exception
    assert len(app.error) == 1
    assert "memory" in app.error[0].value


def test_a_model_that_is_not_bundled_needs_the_hub(app):
    app.session_state["model"] = "nobody/nothing"
    app.run()
    assert not app.exception
    assert len(app.error) == 1
    assert "Hub" in app.error[0].value
    assert [button.label for button in app.button if "instead" in button.label]


def test_an_unexpected_error_is_one_sentence_without_its_text(app, monkeypatch):
    def broken(*_args, **_options):
        raise ValueError("secret detail")

    monkeypatch.setattr("core.answers.advice.recommend", broken)
    app.run()
    app.number_input(key="users").set_value(4321).run()
    assert not app.exception
    assert len(app.error) == 1
    assert "secret" not in app.error[0].value


def test_a_search_that_fails_leaves_the_page_alone(app, monkeypatch):
    def unreachable(*_args, **_options):
        raise HubUnreachable("The Hub cannot be reached.")

    monkeypatch.setattr("core.reading.hub.search", unreachable)
    app.run()
    app.text_input(key="hub_query").set_value("qwen").run()
    assert "Llama-3.1-8B" in verdict(app)
    assert any("cannot be reached" in caption.value for caption in app.caption)


def test_a_token_stays_out_of_the_link_and_the_page(app):
    app.run()
    app.text_input(key="hub_token").set_value("hf_planted_secret").run()
    assert "hf_planted_secret" not in json.dumps(dict(app.query_params))
    shown = [element.value for kind in ("markdown", "caption", "code", "header") for element in app.get(kind)]
    assert not any("hf_planted_secret" in str(value) for value in shown)


# -- figures ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "written"),
    [(0.1244, "0.124"), (7.406, "7.41"), (13.94, "13.9"), (148.4, "148"), (1930.4, "1,930"), (float("inf"), "–")],
)
def test_three_figures(value, written):
    assert figures.three(value) == written


def test_a_range_writes_its_unit_once():
    estimate = Estimate(0.0139, 0.0121, 0.016, Basis.ESTIMATED, "")
    assert figures.span(estimate, figures.ms) == "12.1 – 16.0 ms"
    assert figures.span(Estimate(0.38, 0.3, 0.47, Basis.ESTIMATED, ""), figures.dollars) == "$0.30 – $0.47"


def test_names_from_strangers_cannot_format():
    assert figures.plain("**a** ![x](y) :red[z] $m$") == r"\*\*a\*\* \!\[x\]\(y\) \:red\[z\] \$m\$"
