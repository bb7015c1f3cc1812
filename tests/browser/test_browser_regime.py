"""The Regime and Accuracy pages in a real Chromium against a real server."""

import re

from tests.conftest import PHONE

HEADLINE = ".st-key-regime h2"
DRAWN = "[data-testid=stVegaLiteChart] canvas, [data-testid=stVegaLiteChart] svg"


def said(page):
    """Everything the page says once its charts are drawn."""
    page.wait_for_selector(HEADLINE)
    page.wait_for_selector(DRAWN)
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    return page.inner_text("[data-testid=stMain]")


def test_a_link_to_the_regime_is_answered(page, app_url):
    page.goto(f"{app_url}/regime?gpu=L40S&users=32")
    text = said(page)
    assert "on 1 × L40S; 32 requests" in text
    assert "From which batch is INT4 slower?" in text
    assert page.get_by_role("link", name="Plan").count() and "Traceback" not in text


def test_figures_follow_the_gpu(page, app_url):
    page.goto(f"{app_url}/regime")
    before = said(page)
    box = page.get_by_role("combobox", name=re.compile("^GPU"))
    box.click()
    box.fill("L40S")
    page.get_by_role("option", name="L40S", exact=True).click()
    page.wait_for_function("document.querySelector('.st-key-regime').innerText.includes('L40S')")
    after = said(page)
    assert _textbook(before) != _textbook(after)
    assert "gpu=L40S" in page.url


def _textbook(text):
    """The textbook ridge as the first answer states it."""
    return re.search(r"ridge ([\d,.]+) FLOP/B", text)[1]


def test_both_pages_stay_within_a_narrow_screen(page, app_url):
    page.set_viewport_size(PHONE)
    page.emulate_media(color_scheme="dark")
    for path in ("regime", "accuracy"):
        page.goto(f"{app_url}/{path}")
        page.wait_for_selector(DRAWN)
        page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        widest = page.evaluate(
            "Math.max(...[...document.querySelectorAll('[data-testid=stVegaLiteChart]')]"
            ".map(chart => chart.getBoundingClientRect().right))"
        )
        assert widest <= 390
