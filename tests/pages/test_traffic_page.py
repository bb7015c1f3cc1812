"""The Traffic page as a script: what it asks, answers first, works out in the background and refuses."""

import re
import time

import pytest
from streamlit.testing.v1 import AppTest

from core.basics.places import ROOT
from tests.conftest import PATIENCE_S

ROUTER = str(ROOT / "pages" / "router.py")


@pytest.fixture
def app(monkeypatch):
    """The Traffic page with its defaults, and no Hub to ask."""
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    app = AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run()
    return app.switch_page("traffic/traffic.py").run()


def verdict(app):
    assert not app.exception
    assert not app.error, [error.value for error in app.error]
    return app.header[0].value


def to_run(app):
    """Replicas that the page says to run."""
    return int(re.match(r"Run ([\d,]+) replica", verdict(app))[1].replace(",", ""))


def set_to(app, kind, key, value):
    return getattr(app, kind)(key=key).set_value(value).run()


def simulated(app, limit_s=60.0):
    """Starts the whole simulation and waits for its end."""
    app.button(key="simulate").click().run()
    deadline = time.monotonic() + limit_s
    while not any("All fleets tried" in box.label for box in app.expander):
        assert time.monotonic() < deadline, "the simulation did not end"
        time.sleep(0.3)
        app.run()
    return app


def test_a_first_look_answers_without_a_click(app):
    assert verdict(app).startswith("Run ") and "replicas" in verdict(app) and "per month" in verdict(app)
    assert any("requests/s" in text.value for text in app.markdown)
    assert [metric.label for metric in app.metric] == [
        "Cost per month", "Cost per hour", "Per M output tokens", "TTFT p99", "TPOT p99", "End to end p99", "Goodput",
        "Output", "KV cache in use", "Longest queue",
    ]
    assert len(app.get("vega_lite_chart")) == 2
    assert any("preview" in text.value for text in app.markdown)


def test_the_whole_simulation_adds_the_rest(app):
    set_to(app, "number_input", "rate", 8.0)
    set_to(app, "selectbox", "minutes", 1)
    simulated(app)
    verdict(app)
    text = " ".join(element.value for element in app.markdown)
    assert "requests simulated" in text and "preview" not in text
    for card in ("What each rate costs", "Autoscaling against a fixed fleet", "Disaggregated prefill", "What each"):
        assert card in text
    assert len(app.get("vega_lite_chart")) == 4


def test_another_question_is_another_answer(app):
    before = verdict(app)
    set_to(app, "number_input", "rate", 400.0)
    assert verdict(app) != before
    few = verdict(app)
    set_to(app, "selectbox", "drafter", "eagle3")
    assert to_run(app) < int(few.split()[1].replace(",", ""))


def test_the_fleet_is_launched_with_its_options(app):
    set_to(app, "number_input", "rate", 400.0)
    set_to(app, "selectbox", "drafter", "eagle3")
    verdict(app)
    assert any("Export" in text.value for text in app.markdown)
    assert any(text.value.startswith("##### Launch it: ") and "servers of 1 × H100" in text.value
               for text in app.markdown)
    assert '"method": "eagle3"' in app.code[0].value and "--speculative-config" in app.code[0].value


def test_too_few_replicas_are_told_how_many_are_missing(app):
    set_to(app, "number_input", "rate", 400.0)
    to_run(app)
    set_to(app, "number_input", "replicas", 2)
    said = next(text.value for text in app.markdown if "more are needed" in text.value)
    needed = 2 + int(re.search(r"(\d+) more are needed", said)[1])
    assert 2 < needed < to_run(app)


def test_who_has_replicas_gets_files_and_price_for_those(app):
    set_to(app, "number_input", "replicas", 7)
    assert to_run(app) == 7
    assert any("7 servers of 1" in text.value for text in app.markdown if text.value.startswith("##### Launch it"))
    assert "7 replicas, 7 GPUs" in app.metric[0].help


def test_the_percentile_asked_is_the_one_shown(app):
    set_to(app, "selectbox", "share", 0.95)
    to_run(app)
    assert {"TTFT p95", "TPOT p95", "End to end p95"} < {metric.label for metric in app.metric}
    assert any("TTFT p95" in text.value for text in app.markdown)


def test_a_free_gpu_is_free(app):
    set_to(app, "number_input", "price", 0.0)
    verdict(app)
    assert [metric.value for metric in app.metric][:3] == ["$0", "$0", "$0"]


def test_a_gpu_without_a_price_still_plans(app):
    app.selectbox(key="gpu").set_value("Custom GPU").run()
    set_to(app, "number_input", "ttft", 3000)
    verdict(app)
    assert app.metric[0].delta == "no price listed"


@pytest.mark.parametrize(("key", "says", "way"), [
    ("tpot", "per token", "Accept a TPOT of"), ("ttft", "to its first token", "Accept a TTFT of"),
])
def test_targets_no_fleet_can_hold_are_said_so_with_those_that_can(app, key, says, way):
    set_to(app, "number_input", key, 1 if key == "tpot" else 5)
    assert verdict(app).startswith("No number of replicas")
    assert any(says in text.value and "no number of replicas helps" in text.value for text in app.markdown)
    next(button for button in app.button if button.label.startswith(way)).click().run()
    assert to_run(app) > 1


def test_a_prompt_found_whole_in_the_cache_is_no_trouble(app):
    set_to(app, "number_input", "prefix", 100)
    verdict(app)


def test_a_model_that_fits_nowhere_is_said_so(app):
    app.session_state["model"] = "meta-llama/Llama-3.1-405B"
    app.selectbox(key="gpu").set_value("L4").run()
    assert "cannot be served" in verdict(app)
    assert not app.metric


def test_a_trace_is_asked_for(app):
    set_to(app, "selectbox", "arrivals", "my trace")
    assert not app.exception
    assert "arrival_s,input_tokens,output_tokens" in app.info[0].value


def test_the_load_is_that_of_the_sidebar(app):
    """Nothing typed: its lengths, and what its requests come to at the plan's speed (Little's law)."""
    assert app.selectbox(key="lengths").value == "as in the sidebar"
    planned = float(app.number_input(key="rate").placeholder.removeprefix("as planned: "))
    # 16 requests of 256 tokens at 5 to 15 ms each, and 30 to 200 ms before the first: 16 / 1.3 s to 16 / 4 s.
    assert 4 < planned < 13
    assert any("prompts of 1,024 and answers of 256 tokens" in text.value for text in app.caption)
    set_to(app, "number_input", "in", 2048)
    assert any("prompts of 2,048 and answers of 256 tokens" in text.value for text in app.caption)
