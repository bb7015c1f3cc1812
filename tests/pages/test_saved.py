"""Plans that are kept: what is written of them, what strangers' files may hold, and a store that fails."""

import csv
import io
import json
import math
import sqlite3

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.answers import advice
from core.basics.errors import InputError
from core.basics.places import ROOT
from core.delivery import export
from core.machinery.store import Kind
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload
from pages.shared import keeping
from tests.conftest import PATIENCE_S

ROUTER = str(ROOT / "pages" / "router.py")


@pytest.fixture
def folder(monkeypatch, tmp_path):
    """An empty data folder, and no Hub to ask."""
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    st.cache_resource.clear()
    yield tmp_path
    st.cache_resource.clear()


@pytest.fixture
def app(folder):
    return AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run()


@pytest.fixture(scope="module")
def plan():
    return advice.recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("L4"), Workload())


@pytest.fixture(scope="module")
def body(plan):
    return export.keep(plan, {"model": "meta-llama/Llama-3.1-8B", "gpu": "L4", "users": 16, "price": None})


def press(app, label):
    next(button for button in app.button if button.label == label).click()
    return app.run()


# -- what is kept of a plan -------------------------------------------------------------------------


def test_a_kept_plan_comes_back_as_it_was(plan, body):
    kept = export.kept(json.loads(json.dumps(body)))
    best = plan.best
    assert kept.sentence == plan.sentence
    assert kept.figures["tpot_ms"].value == pytest.approx(best.tpot.value * 1000)
    assert kept.figures["tpot_ms"].low <= kept.figures["tpot_ms"].value <= kept.figures["tpot_ms"].high
    assert kept.deployed.weights == best.deployment.weights.label
    assert kept.deployed.memory_gib == pytest.approx(best.footprint.reported_bytes / 2**30)
    assert kept.inputs == {"model": "meta-llama/Llama-3.1-8B", "gpu": "L4", "users": 16, "price": None}


def test_what_does_not_fit_is_kept_with_its_reason():
    over = advice.recommend(catalogue.load("meta-llama/Llama-3.1-70B"), gpus.find("L4"), Workload(), tps=(1,))
    kept = export.kept(json.loads(json.dumps(export.keep(over, {}), allow_nan=False)))
    assert kept.standing == "impossible"
    assert kept.deployed is None or not kept.deployed.fits


def test_the_change_to_another_plan(body):
    kept = export.kept(body)
    slower = json.loads(json.dumps(body))
    slower["figures"]["tpot_ms"]["value"] *= 1.5
    assert kept.change_to(export.kept(slower), "tpot_ms") == pytest.approx(0.5)
    del slower["figures"]["tpot_ms"]
    assert kept.change_to(export.kept(slower), "tpot_ms") is None


@pytest.mark.parametrize("spoil", [
    lambda body: body.clear(),
    lambda body: body.update(inputs=[]),
    lambda body: body.update(inputs={"users": {"deep": 1}}),
    lambda body: body.update(sentence="x" * 5_000),
    lambda body: body.update(model=3),
    lambda body: body.update(deployed="yes"),
    lambda body: body["figures"]["tpot_ms"].update(value=math.nan),
    lambda body: body["figures"]["tpot_ms"].update(basis="guessed"),
    lambda body: body.update(input_tokens=10**400),
    lambda body: body.update(figures=None),
])
def test_a_strangers_body_is_refused_in_one_sentence(body, spoil):
    spoiled = json.loads(json.dumps(body))
    spoil(spoiled)
    with pytest.raises(InputError, match="cannot be read"):
        export.kept(spoiled)


def test_the_table_is_safe_to_open(body):
    evil = export.kept(json.loads(json.dumps(body | {"model": "=HYPERLINK(1)"})))
    (row,) = csv.DictReader(io.StringIO(export.kept_csv([("+cmd", 0.0, evil)])))
    assert row["model"].startswith("'=") and row["name"].startswith("'+")
    assert row["kept_at"] == "1970-01-01T00:00:00+00:00"
    assert float(row["tpot_ms"]) > 0


def test_no_plans_make_an_empty_table():
    assert export.kept_csv([]).strip() == "name"


# -- the page ---------------------------------------------------------------------------------------


def test_every_input_of_the_sidebar_is_kept(app):
    app.selectbox(key="gpu").set_value("Custom GPU").run()
    bound = {
        widget.key
        for kind in ("selectbox", "number_input", "slider", "text_input", "button_group", "checkbox", "toggle")
        for widget in app.sidebar.get(kind)
        if widget.key
    }
    assert bound - {"hub_query", "hub_token", "use_case"} <= set(keeping.INPUTS)     # a use case is what it fills in


def test_a_plan_is_saved_and_reopened_with_all_its_inputs(app):
    app.selectbox(key="gpu").set_value("L40S")
    app.number_input(key="users").set_value(48)
    app.number_input(key="price").set_value(1.5).run()
    said = app.header[0].value
    press(app, "Save this plan")
    assert not app.exception and not app.warning
    fresh = AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run()
    assert fresh.header[0].value != said
    fresh.switch_page("saved.py").run()
    press(fresh, "Reopen")
    assert fresh.header[0].value == said
    assert fresh.number_input(key="users").value == 48
    assert fresh.number_input(key="price").value == 1.5


def test_a_plan_that_does_not_fit_can_be_kept(app):
    app.selectbox(key="model").set_value("meta-llama/Llama-3.1-70B")
    app.selectbox(key="gpu").set_value("L4")
    app.button_group(key="gpus").set_value("1").run()
    press(app, "Save this plan")
    app.switch_page("saved.py").run()
    assert not app.exception
    assert any("does not fit" in markdown.value or "nothing runs" in markdown.value for markdown in app.main.markdown)


def test_a_plan_is_renamed_deleted_and_brought_back(app):
    press(app, "Save this plan")
    app.switch_page("saved.py").run()
    (item,) = keeping.all_of(Kind.PLAN)
    app.text_input(key=f"name {item.id} {item.revision}").set_value("The **good** one")
    app.button(key=f"rename {item.id}").click().run()
    assert [item.name for item in keeping.all_of(Kind.PLAN)] == ["The **good** one"]
    assert any("The \\*\\*good\\*\\* one" in markdown.value for markdown in app.main.markdown)
    app.button(key=f"delete {item.id}").click().run()
    assert keeping.all_of(Kind.PLAN) == ()
    press(app, "Undo")
    assert [item.name for item in keeping.all_of(Kind.PLAN)] == ["The **good** one"]


def test_two_plans_side_by_side(app):
    press(app, "Save this plan")
    app.selectbox(key="gpu").set_value("L4").run()
    press(app, "Save this plan")
    app.switch_page("saved.py").run()
    app.multiselect(key="compare").set_value([item.id for item in keeping.all_of(Kind.PLAN)]).run()
    assert not app.exception
    table = app.dataframe[0].value
    rows = dict(zip(table.iloc[:, 0], table["Difference"], strict=True))
    assert rows["Model"] == "" and rows["Hardware"] == "differs"
    assert rows["TPOT"].endswith(" %, better") and rows["TPOT"].startswith("-")


HOSTILE = {
    "users": 10**9, "in": "many", "out": 0, "ttft": 1.5, "tpot": None, "loss": -3, "price": "free", "engine": "rm -rf",
    "weights": "gold", "kv": "", "gpus": "16", "gpu": "L4", "model": "meta-llama/Llama-3.1-8B", "unknown": "x",
}


def test_inputs_of_a_strangers_file_are_left_out_where_no_widget_takes_them(app, body):
    hostile = body | {"inputs": HOSTILE, "sentence": "<img src=x> **bold**"}
    broken = {"nothing": "of a plan"}
    items = [{"kind": "plan", "name": "evil", "body": hostile}, {"kind": "plan", "name": "broken", "body": broken}]
    keeping.store().load(json.dumps({"sweetspot_export": 1, "items": items}))
    keeping.changed()
    app.switch_page("saved.py").run()
    assert not app.exception
    assert any("cannot be read" in caption.value for caption in app.main.caption)
    press(app, "Reopen")
    assert not app.exception and not app.error
    assert "L4" in app.header[0].value
    assert app.number_input(key="users").value == Workload().concurrency


def test_own_things_of_a_strangers_file_are_left_out_where_they_are_none(app):
    items = [{"kind": "gpu", "name": "evil", "body": {"memory_gib": "much"}},
             {"kind": "gpu", "name": "other", "body": {"__class__": 1}},
             {"kind": "model", "name": "odd", "body": {"config": {"model_type": "llama"}}}]
    keeping.store().load(json.dumps({"sweetspot_export": 1, "items": items}))
    keeping.changed()
    assert keeping.own_gpus() == {}
    app.run()
    assert not app.exception
    app.selectbox(key="model").set_value("odd").run()
    assert not app.exception and len(app.error) == 1


# -- a store that fails -----------------------------------------------------------------------------


def newer(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE sweetspot_schema (version INTEGER NOT NULL)")
        connection.execute("INSERT INTO sweetspot_schema VALUES (99)")


def damaged(path):
    path.write_bytes(b"this is no database" * 500)


def unopenable(path):
    path.mkdir()            # a folder in the file's place


@pytest.mark.parametrize(("spoil", "says"), [
    (newer, "update Sweetspot"), (damaged, "damaged"), (unopenable, "SWEETSPOT_DATA"),
])
def test_a_store_that_fails_is_one_sentence_and_planning_goes_on(folder, spoil, says):
    spoil(folder / "sweetspot.sqlite3")
    app = AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run()
    assert "Llama-3.1-8B" in app.header[0].value and not app.error and not app.warning
    press(app, "Save this plan")
    assert "Llama-3.1-8B" in app.header[0].value
    assert len(app.warning) == 1 and says in app.warning[0].value.replace("\\", "")
    app.switch_page("saved.py").run()
    assert len(app.error) == 1 and says in app.error[0].value.replace("\\", "")
    assert not app.exception


def test_a_bad_database_setting_is_one_sentence_without_its_address(folder, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_DATABASE", "postgresql+nodriver://me:secret@host/db")
    app = AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run()
    assert "Llama-3.1-8B" in app.header[0].value
    app.switch_page("saved.py").run()
    assert len(app.error) == 1 and "secret" not in app.error[0].value and "setting" in app.error[0].value


def test_on_a_public_host_two_visitors_do_not_meet(folder, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_PUBLIC", "1")
    mine, other = (AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run() for _ in range(2))
    press(mine, "Save this plan")
    for visitor, cards in ((mine, 1), (other, 0)):
        visitor.switch_page("saved.py").run()
        assert sum(button.label == "Reopen" for button in visitor.button) == cards
