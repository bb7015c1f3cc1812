"""The Traffic page in a real Chromium: a deep link, an upload, a run, a reload, a cancellation."""

import pytest
from playwright.sync_api import expect

from tests.conftest import PHONE

ANSWER = ".st-key-verdict"
VERDICT = f"{ANSWER} h2"
DONE = "text=All fleets tried"


@pytest.fixture
def trace(tmp_path):
    """Five minutes of two requests a second, as a file; its first two lines out of order."""
    lines = [f"{(i ^ 1 if i < 2 else i) / 2},{200 + 37 * i % 900},{20 + 13 * i % 150}" for i in range(600)]
    path = tmp_path / "trace.csv"
    path.write_text("\n".join(["arrival_s,input_tokens,output_tokens", *lines]))
    return path


@pytest.fixture
def bad_trace(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_text("arrival_s,input_tokens,output_tokens\n1,5,2\n2,-5,3\n")
    return path


def test_a_deep_link_fills_the_form(page, app_url):
    page.goto(f"{app_url}/traffic?rate=90&lengths=agents&gpu=H200+SXM+141GB")
    page.wait_for_selector(VERDICT)
    expect(page.locator(ANSWER)).to_contain_text("90 requests/s")
    expect(page.get_by_role("spinbutton", name="Requests per second")).to_have_value("90.00")
    assert page.locator("[data-testid=stException]").count() == 0


def test_an_uploaded_trace_is_simulated_and_found_again_after_a_reload(page, app_url, trace, bad_trace):
    page.goto(f"{app_url}/traffic?arrivals=my+trace")
    page.wait_for_selector("text=Choose a CSV file")
    page.set_input_files("input[type=file]", bad_trace)
    page.wait_for_selector("text=Line 3 of the trace")
    page.set_input_files("input[type=file]", trace)
    page.wait_for_selector(VERDICT)
    expect(page.locator(ANSWER)).to_contain_text("2 requests/s")
    page.wait_for_selector("text=have been sorted")
    page.get_by_role("button", name="Simulate all 600 requests").click()
    page.wait_for_selector(DONE)
    assert "job=" in page.url
    page.reload()
    page.wait_for_selector(DONE)
    expect(page.locator(ANSWER)).to_contain_text("2 requests/s")


def test_a_simulation_can_be_cancelled(page, app_url):
    page.goto(f"{app_url}/traffic?rate=50&minutes=60")
    page.wait_for_selector(VERDICT)
    page.get_by_role("button", name="Simulate all").click()
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector("text=Cancelled.")
    assert page.get_by_role("button", name="Simulate all").is_enabled()
    assert page.locator(DONE).count() == 0


def test_a_narrow_screen_holds_the_page(page, app_url):
    page.set_viewport_size(PHONE)
    page.goto(f"{app_url}/traffic")
    page.wait_for_selector(VERDICT)
    assert page.locator(VERDICT).bounding_box()["y"] < 600
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
