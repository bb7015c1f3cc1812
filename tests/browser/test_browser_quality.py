"""The Quality page in a browser: a real model checked on the processor, watched, cancelled, kept, planned with."""

import json
from pathlib import Path
from urllib.parse import urlencode

import pytest
from playwright.sync_api import expect

from tests.conftest import PATIENCE_MS, serve, start_and_cancel
from tests.small_model import smollm2

VARIANTS = ("INT8 round to nearest, groups of 128", "INT4 round to nearest, groups of 128")
PROMPTS = "The night train crosses two passes and shares its only track with freight.\n---\nWhat is a glacier made of?"


@pytest.fixture
def checking(tmp_path):
    with serve(SWEETSPOT_DATA=str(tmp_path)) as app:
        yield app.url


def test_a_check_is_watched_cancelled_made_again_kept_and_planned_with(checking, page):
    link = urlencode({"model": str(smollm2()), "variants": VARIANTS}, doseq=True)
    page.goto(f"{checking}/quality?{link}")
    page.get_by_text("Paste", exact=True).click()
    page.get_by_role("textbox", name="Your prompts").fill(PROMPTS)
    page.keyboard.press("Control+Enter")
    expect(page.get_by_text("2 prompts. Estimated:")).to_be_visible()
    start = page.get_by_role("button", name="Start the check")
    start_and_cancel(page, start, "check")

    start.click()
    expect(page.get_by_role("heading", name="INT8 round to nearest, groups of 128 strays least")).to_be_visible(
        timeout=PATIENCE_MS)
    expect(page.get_by_text("on a processor", exact=True)).to_be_visible()
    with page.expect_download() as given:
        page.get_by_role("button", name="JSON").click()
    text = Path(given.value.path()).read_text()
    found = json.loads(text)
    divergence = {score["variant"]: score["kl"]["value"] for score in found["scores"]}
    assert divergence["bf16"] < divergence["int8-rtn-g128"] < divergence["int4-rtn-g128"]
    assert "night train" not in text and "glacier" not in text

    counts_for = page.get_by_role("textbox", name="Counts for the model")
    counts_for.fill("HuggingFaceTB/SmolLM2-135M")
    counts_for.press("Enter")
    page.wait_for_timeout(1_000)
    page.get_by_role("button", name="Keep", exact=True).click()
    expect(page.get_by_text("Kept: plans of this model use it.")).to_be_visible()
    expect(page.get_by_text("Use in plans", exact=True)).to_be_visible()
    page.goto(f"{checking}/?model=HuggingFaceTB/SmolLM2-135M")
    expect(page.get_by_text("loss measured").first).to_be_visible()
    assert page.get_by_text("Traceback").count() == 0
