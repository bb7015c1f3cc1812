"""The Probe page in a browser: a real measurement on the processor, seen under way, cancelled, and finished."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.conftest import serve, start_and_cancel


@pytest.fixture
def probing(tmp_path):
    with serve(SWEETSPOT_PROBE="1", SWEETSPOT_DATA=str(tmp_path)) as app:
        yield app.url


def test_a_measurement_is_watched_cancelled_and_made_again(probing, page):
    page.goto(f"{probing}/probe?model=Qwen/Qwen3-0.6B&seconds=5&way=Kernels")
    measure = page.get_by_role("button", name="Measure", exact=False).and_(page.get_by_test_id("stBaseButton-primary"))
    start_and_cancel(page, measure, "job")

    measure.click()
    expect(page.get_by_role("heading", name="Measured: CPU")).to_be_visible()
    expect(page.get_by_text("processor, a trial")).to_be_visible()
    with page.expect_download() as given:
        page.get_by_role("button", name="JSON").click()
    found = json.loads(Path(given.value.path()).read_text())
    assert found["sweetspot_measurement"] == 1 and found["points"]

    page.reload()
    expect(page.get_by_role("heading", name="Measured: CPU")).to_be_visible()
    assert page.get_by_text("Traceback").count() == 0
