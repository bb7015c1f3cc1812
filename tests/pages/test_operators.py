"""What the operator of a public server sees: figures behind a token, and a log without visitors' words."""

import json
import logging

import httpx
import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState

from pages.server.logs import Lines
from tests.conftest import serve
from tests.visitor import Visitor, finish

TOKEN = "operators-own-0123456789"


@pytest.fixture(scope="module")
def operated(tmp_path_factory):
    """A public server with an administrator's token, and its log."""
    log = tmp_path_factory.mktemp("log") / "server.log"
    with serve(log=log, SWEETSPOT_PUBLIC="1", SWEETSPOT_ADMIN_TOKEN=TOKEN,
               SWEETSPOT_DATA=str(log.parent)) as app:
        yield app.url, log


def figures(address, token):
    return httpx.get(f"{address}/metrics", headers={"Authorization": f"Bearer {token}"})


@pytest.mark.parametrize("token", ["none", "operators-own-012345678", "x" * 24])
def test_figures_are_the_operators_alone(operated, token):
    assert figures(operated[0], token).status_code == 404


def test_a_forged_widget_is_a_line_in_the_log_and_what_was_typed_is_in_none(operated):
    """Every kind of widget is sent a value of another kind; then a model nobody has is asked for."""
    address, log = operated

    async def forge():
        for kind in ("selectbox", "number_input"):
            async with Visitor(address) as visitor:
                await visitor.run()
                widget = getattr(visitor.found(kind)[0], kind)
                visitor._typed = {widget.id: WidgetState(id=widget.id, json_value="{")}
                await visitor.run()
                assert any("Something went wrong" in said for said in visitor.sentences())
        async with Visitor(address, "/?model=nobody/secret-name-8B") as visitor:
            await visitor.run()

    finish(forge())
    written = log.read_text()
    assert "secret-name" not in written and "Traceback" not in written
    lines = [json.loads(line) for line in written.splitlines() if line.startswith("{")]
    assert {line["event"] for line in lines} == {"a browser sent a widget something that is no value of it"}
    said = figures(address, TOKEN).text
    count = {name: float(value) for name, _, value in (line.rpartition(" ") for line in said.splitlines())
             if not name.startswith("#")}
    assert count['sweetspot_page_errors_total{kind="forged"}'] == len(lines) >= 2
    assert count['sweetspot_page_seconds_count{page="Plan"}'] >= 2 and count["sweetspot_pages_waiting"] == 0
    assert count['sweetspot_hub_questions_total{outcome="HubUnreachable"}'] >= 1
    assert count["process_resident_memory_bytes"] > 50e6


def test_a_line_of_the_log_has_the_place_of_an_error_and_not_its_words():
    try:
        raise ValueError("typed by a visitor")
    except ValueError as error:
        record = logging.LogRecord("core.x", logging.ERROR, "", 0, "job %s failed", ("secret",),
                                   (type(error), error, error.__traceback__))
    line = json.loads(Lines().format(record))
    assert (line["event"], line["level"]) == ("job %s failed", "error")
    assert line["error"].startswith("ValueError < test_operators.py:") and "typed" not in line["error"]
