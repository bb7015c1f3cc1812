"""Links and kept plans from before the table of inputs open as they did: tests/data/links_and_plans.json."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from core.delivery import export
from core.machinery.store import Kind
from core.products.engines import usual
from core.terms import INPUTS
from pages.shared import answers, keeping
from tests.conftest import linked

BEFORE = json.loads((Path(__file__).parents[1] / "data" / "links_and_plans.json").read_text(encoding="utf-8"))
KEYS_OF_TODAY = {"users", "in", "out", "ttft", "tpot", "loss"}       # they stand in people's links: never to change


pytestmark = pytest.mark.usefixtures("alone")


def opened(link):
    app = linked(link).run()
    assert not app.exception
    return app


def test_no_key_is_lost():
    assert {one.key for one in INPUTS} >= KEYS_OF_TODAY
    assert len(set(answers.KEYS)) == len(answers.KEYS)


@pytest.mark.parametrize("before", BEFORE["links"], ids=lambda before: before["link"][:40] or "no link")
def test_a_link_asks_what_it_asked(before):
    asked = opened(before["link"]).session_state["asked"]
    assert asdict(asked.workload).items() >= before["workload"].items()
    said = before["asked"]
    assert (asked.model, asked.gpu, asked.engine or usual(asked.gpu), asked.usd_per_gpu_hour) == (
        said["model"], said["gpu"], said["engine"], said["price"])
    assert [list(asked.gpus), asked.formats and list(asked.formats), asked.kv_formats and list(asked.kv_formats)] == [
        said["gpus"], said["formats"], said["kv_formats"]]


@pytest.mark.parametrize("item", BEFORE["saved"]["items"], ids=lambda item: item["name"])
def test_a_kept_plan_gives_every_input_back(item):
    plan = export.kept(item["body"])
    assert answers.taken(plan.inputs) == item["body"]["inputs"]
    assert (plan.load.input_tokens, plan.load.output_tokens, plan.load.concurrency) == tuple(
        item["body"]["inputs"][key] for key in ("in", "out", "users"))


def test_a_plan_kept_before_is_imported_and_reopened():
    item = next(item for item in BEFORE["saved"]["items"] if item["body"]["inputs"]["in"] == 20_000)
    app = opened("")
    keeping.store().load(json.dumps({"sweetspot_export": 1, "items": [item]}))
    keeping.changed()
    assert len(keeping.all_of(Kind.PLAN)) == 1
    app.switch_page("saved.py").run()
    next(button for button in app.button if button.label == "Reopen").click()
    app.run()
    assert not app.exception
    asked = app.session_state["asked"]
    assert (asked.workload.concurrency, asked.workload.input_tokens, asked.workload.quality_loss) == (40, 20_000, 0.05)
    assert (asked.gpu, asked.gpus, asked.formats) == ("A100 SXM4 80GB", (4,), ("fp8",))
    assert (asked.engine or usual(asked.gpu)) == item["body"]["engine"]


@pytest.mark.parametrize("said", ["sglang", "SGLang"])
def test_the_engine_of_a_link_is_kept_with_the_plan_and_reopened(said):
    """By the name that commands and files know, and by the label that the app itself writes into links."""
    app = opened(f"engine={said}")
    assert app.session_state["asked"].engine == "sglang"
    next(button for button in app.button if button.label == "Save this plan").click().run()
    (item,) = keeping.all_of(Kind.PLAN)
    assert item.body["inputs"]["engine"] == item.body["engine"] == "sglang"
    app = opened("")
    app.switch_page("saved.py").run()
    next(button for button in app.button if button.label == "Reopen").click().run()
    assert app.session_state["asked"].engine == "sglang"


def test_an_engine_named_in_a_link_can_be_changed():
    app = opened("engine=sglang")
    next(box for box in app.selectbox if box.label == "Engine").select("llamacpp").run()
    assert app.session_state["asked"].engine == "llamacpp"
