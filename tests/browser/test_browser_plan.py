"""The main job in a real Chromium against a real server."""

import csv
import io
import re

import pytest
from playwright.sync_api import expect

from tests.conftest import PHONE, serve
from tests.hub_server import demo

VERDICT = ".st-key-verdict"


def verdict(page):
    """The verdict's sentence, once there is one."""
    page.wait_for_selector(VERDICT)
    return page.inner_text(VERDICT)


def reads(page, words):
    """The verdict comes to hold those words; it fails by its time-out."""
    expect(page.locator(VERDICT)).to_contain_text(words)


def says(page, sentence):
    """Whether the verdict comes to read `sentence`; it fails by its time-out."""
    page.wait_for_function(
        "([css, said]) => document.querySelector(css)?.innerText === said", arg=[VERDICT, sentence],
    )
    return True


def changed(page, before):
    """The verdict's sentence once it differs from `before`."""
    page.wait_for_function(
        "([css, before]) => { const now = document.querySelector(css); return now && now.innerText !== before }",
        arg=[VERDICT, before],
    )
    return page.inner_text(VERDICT)


def choose(page, label, typed):
    """Types into one of the sidebar's select boxes and takes the first match."""
    box = page.get_by_role("combobox", name=re.compile(f"^{label}"))
    box.click()
    box.fill(typed)
    page.get_by_role("option", name=typed, exact=True).first.click()


def sentence(page):
    """The one sentence an error is shown as."""
    page.wait_for_selector("[data-testid=stAlert]")
    assert page.locator("[data-testid=stAlert]").count() == 1
    assert page.locator("[data-testid=stException]").count() == 0
    text = page.inner_text("[data-testid=stAlert]")
    assert "Traceback" not in text
    return text


def test_a_first_visit_answers_without_a_click(page, app_url):
    page.goto(app_url)
    reads(page, "Llama-3.1-8B")
    page.wait_for_selector("[data-testid=stVegaLiteChart] svg")
    metrics = page.locator("[data-testid=stMetric]")
    expect(metrics).to_have_count(5)
    assert all("estimated" in text or "measured" in text or "published" in text for text in metrics.all_inner_texts())


def test_another_bundled_model_and_another_gpu(page, app_url):
    page.goto(app_url)
    verdict(page)
    choose(page, "Model", "Qwen/Qwen3-32B")
    reads(page, "Qwen3-32B")
    choose(page, "GPU", "L40S")
    reads(page, "L40S")
    expect(page).to_have_url(re.compile("model=Qwen"))
    expect(page).to_have_url(re.compile("gpu=L40S"))


def test_a_link_gives_the_same_plan_on_another_server(page, app_url):
    """Inputs are awaited: Streamlit's own page draws a default for a moment before the link's value."""
    page.goto(app_url)
    first = verdict(page)
    choose(page, "Model", "Qwen/Qwen3-32B")
    changed(page, first)
    page.get_by_role("spinbutton", name="Requests in flight").fill("48")
    page.get_by_role("spinbutton", name="Requests in flight").press("Enter")
    page.wait_for_url("**users=48**")
    expect(page.locator(VERDICT)).to_contain_text("all 48 requests")
    said = verdict(page)
    link = page.url.removeprefix(app_url)
    with serve() as fresh:
        page.goto(f"{fresh.url}/regime{link.removeprefix('/')}")      # the very first request
        expect(page.get_by_role("spinbutton", name="Requests in flight")).to_have_value("48")
        page.get_by_role("link", name="Plan", exact=True).first.click()
        assert says(page, said)
        page.goto(fresh.url + link)
        assert says(page, said)


def test_the_recommendation_and_the_whole_sweep_download_as_csv(page, app_url):
    page.goto(app_url)
    verdict(page)
    with page.expect_download() as caught:
        page.get_by_role("button", name="Recommendation, CSV").click()
    rows = list(csv.DictReader(io.StringIO(caught.value.path().read_text())))
    assert rows and any("Llama-3.1-8B" in value for value in rows[0].values())
    with page.expect_download() as caught:
        page.get_by_role("button", name="Whole sweep, CSV").click()
    rows = list(csv.reader(io.StringIO(caught.value.path().read_text())))
    assert len(rows) > 1000
    assert {len(row) for row in rows} == {len(rows[0])}


def test_a_narrow_screen_shows_the_verdict_first(page, app_url):
    page.set_viewport_size(PHONE)
    page.goto(app_url)
    verdict(page)
    box = page.locator(f"{VERDICT} h2").bounding_box()
    assert box["y"] < 300 and box["x"] >= 0 and box["x"] + box["width"] <= 390
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


# -- bad input --------------------------------------------------------------------------------------


def test_a_bad_link_ends_in_one_sentence_and_a_way_on(page, app_url):
    """More of them in tests/pages/test_bad_input.py."""
    page.goto(f"{app_url}/?gpu=No+Such+GPU")
    assert "No Such GPU" in sentence(page)
    page.get_by_role("button", name="Use H100").click()
    page.wait_for_selector(VERDICT)


def test_rubbish_in_the_link_is_left_out(page, app_url):
    page.goto(f"{app_url}/?users=-5&in=nan&out=1e999&ttft=abc&tpot=&gpus=9&engine=rm+-rf&loss=777&x=%00%ff")
    reads(page, "Llama-3.1-8B")
    reads(page, "16 requests")
    expect(page.get_by_role("spinbutton", name="Requests in flight")).to_have_value("16")


def test_a_name_cannot_draw_on_the_page(page, app_url):
    page.goto(f"{app_url}/?model=![x](https://example.org/x.png)**bold**<img src=x onerror=alert(1)>")
    text = sentence(page)
    assert "![x]" in text or "**bold**" in text
    assert page.locator("[data-testid=stMain] img").count() == 0


def test_a_model_that_fits_nowhere_is_said_so(page, app_url):
    page.goto(f"{app_url}/?model=meta-llama/Llama-3.1-70B&gpu=L4&gpus=1")
    before = verdict(page)
    assert "cannot be served" in before and "over the memory" in before
    page.get_by_role("button", name="Apply").first.click()
    reads(page, "Llama-3.1-70B with FP8 weights and an FP8 KV cache on 4 × L4")


# -- the Hub ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hub():
    """A stand-in Hub with one open and one gated model."""
    with demo() as server:
        yield server


@pytest.fixture(scope="module")
def hub_app(hub, tmp_path_factory):
    """The app with that Hub and an empty cache."""
    with serve(SWEETSPOT_HUB_ENDPOINT=hub.url, SWEETSPOT_DATA=str(tmp_path_factory.mktemp("data"))) as app:
        yield app.url


def test_a_model_is_searched_and_fetched_from_the_hub(page, hub_app):
    page.goto(hub_app)
    verdict(page)
    page.get_by_role("button", name="Search the Hub").click()
    page.get_by_role("searchbox", name="Search Hugging Face").fill("demo")
    page.get_by_role("button", name="sweetspot/demo-1b").click()
    reads(page, "demo-1b")
    page.wait_for_url("**model=sweetspot**")


def test_a_gated_model_needs_a_token_that_stays_out_of_the_link(page, hub_app):
    page.goto(f"{hub_app}/?model=sweetspot/demo-gated")
    assert "token" in sentence(page)
    page.get_by_role("button", name="Search the Hub").click()
    field = page.get_by_label("Access token", exact=True)
    field.fill("hf_demo")
    field.press("Enter")
    reads(page, "demo-gated")
    assert "hf_demo" not in page.url
    assert "hf_demo" not in page.locator("[data-testid=stMain]").inner_html()
