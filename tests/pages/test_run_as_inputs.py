"""What drafts, followed from the link to the sidebar, the page, the command, its file and its figures."""

import json

import streamlit as st
from streamlit.testing.v1 import AppTest

from core.__main__ import main
from core.basics.places import ROOT

ROUTER = str(ROOT / "pages" / "router.py")
ASKED = ["plan", "--offline", "--model", "meta-llama/Llama-3.1-8B", "--gpu", "H100", "--concurrency", "8", "--json"]


def test_a_link_that_drafts_says_until_when_it_pays(monkeypatch, tmp_path):
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    st.cache_resource.clear()
    app = AppTest.from_file(ROUTER, default_timeout=60)
    for key, value in (("drafter", "eagle3"), ("drafted", "5"), ("accepted", "50")):
        app.query_params[key] = value
    app.run()
    load = app.session_state["asked"].workload
    assert (load.spec_method, load.spec_tokens, load.spec_acceptance) == (2, 5, 0.5)
    assert not app.exception
    assert any("Drafting makes answers" in text.value for text in (*app.main.caption, *app.main.markdown))


def test_the_command_plans_launches_and_compares_it(capsys):
    tpot_ms = {}
    for way in ("none", "eagle3"):
        assert main([*ASKED, "--spec-method", way, "--launch", "vllm"]) == 0
        plan = json.loads(capsys.readouterr().out)
        assert plan["workload"]["spec_method"] == way and plan["workload"]["spec_acceptance"] is None
        assert ("speculator.eagle3" in plan["launch"]) == (way == "eagle3") == (plan["speculation"] is not None)
        tpot_ms[way] = plan["best"]["tpot_ms"]["value"]
    assert tpot_ms["eagle3"] < 0.8 * tpot_ms["none"] and plan["speculation"]["speed_up"] > 1.2


def test_a_way_to_draft_that_nobody_knows_is_refused(capsys):
    assert main([*ASKED, "--spec-method", "medusa"]) == 2
    assert "--spec-method is 'medusa': use one of none, mtp" in capsys.readouterr().err
