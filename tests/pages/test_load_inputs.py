"""How the sidebar asks for the load: use cases fill it in, and requests may be users, a rate or left open."""

import pytest

from core.answers.advice import USE_CASES, Arrivals, Open, Users
from pages.shared import answers


@pytest.fixture
def app(first_visit):
    return first_visit.run()


def asked(app):
    assert not app.exception
    return app.session_state["asked"]


def test_a_use_case_fills_the_inputs_and_leaves_with_the_first_change(app):
    assert app.selectbox(key="use_case").value == "my own"
    app.selectbox(key="use_case").set_value("coding assistant").run()
    case = USE_CASES["coding assistant"]
    assert asked(app).workload.input_tokens == case.input_tokens
    assert asked(app).workload.prefix_hit_rate == case.prefix_hit_rate
    assert app.selectbox(key="use_case").value == "coding assistant"
    assert any("TraceLab" in caption.value for caption in app.sidebar.caption)
    app.number_input(key="in").set_value(2048).run()
    assert app.selectbox(key="use_case").value == "my own"


def test_requests_are_given_as_people_know_them(app):
    app.selectbox(key="load").set_value(answers.USERS).run()
    app.number_input(key="people").set_value(40).run()
    assert asked(app).demand == Users(40, 30.0)
    assert "40 users" in " ".join(line.value for line in app.main.markdown)
    app.selectbox(key="load").set_value(answers.PER_SECOND).run()
    assert asked(app).demand == Arrivals(1.0)


def test_an_open_load_is_answered_with_what_can_be_carried(app):
    app.selectbox(key="load").set_value(answers.OPEN).run()
    assert asked(app).demand == Open()
    assert not [one for one in app.number_input if one.key == "users"]
    assert "batch limit" in app.header[0].value and "max-num-seqs" in app.header[0].value
    assert "The load was left open" in " ".join(line.value for line in app.main.markdown)
    app.switch_page("compare/compare.py").run()
    assert not app.exception
