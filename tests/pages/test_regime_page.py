"""The Bottleneck page: its answers without a click, and how they follow the inputs."""

import re

import pytest
from streamlit.testing.v1 import AppTest

from tests.conftest import PATIENCE_S, ROOT


@pytest.fixture
def page(monkeypatch):
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    app = AppTest.from_file(str(ROOT / "pages" / "router.py"), default_timeout=PATIENCE_S).run()
    return app.switch_page("regime/regime.py").run()


def test_the_page_answers_without_a_click(page):
    assert not page.exception and not page.error
    assert re.fullmatch(r"A decode step of 16 requests is \d+ % memory traffic and \d+ % launch overhead; "
                        r"prefill is \d+ % arithmetic.*", page.header[0].value)
    assert any("80 % of published runs" in markdown.value for markdown in page.markdown)
    said = " ".join(markdown.value for markdown in page.markdown)
    for question in ("Will INT4 help?", "Up to which batch", "From which batch is INT4", "From which context"):
        assert question in said
    assert len(page.get("vega_lite_chart")) == 6


def test_the_page_follows_the_gpu(page):
    before = [markdown.value for markdown in page.markdown]
    page.selectbox(key="gpu").set_value("L4").run()
    assert not page.exception
    assert [markdown.value for markdown in page.markdown] != before
    assert "L4" in page.caption[0].value


def test_what_does_not_fit_is_shown_as_if_it_did(page):
    page.selectbox(key="model").set_value("deepseek-ai/DeepSeek-V3").run()
    page.selectbox(key="gpu").set_value("T4").run()
    assert not page.exception
    assert any("does not fit" in markdown.value for markdown in page.markdown)


def test_both_phases_of_the_operator_table(page):
    assert list(page.dataframe[0].value["Limited by"]).count("memory bandwidth") > 4
    page.session_state["regime_phase"] = "prefill"
    page.run()
    assert list(page.dataframe[0].value["Limited by"]).count("compute") > 4
