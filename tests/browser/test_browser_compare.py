"""The Compare page: as a script, and in a real Chromium."""

import csv
import io

import pytest
import yaml
from playwright.sync_api import expect
from streamlit.testing.v1 import AppTest

from core.basics.places import ROOT
from core.products import gpus
from tests.conftest import PATIENCE_S

ROUTER = str(ROOT / "pages" / "router.py")
VERDICT = ".st-key-compare_verdict"
ROW_PX = 35             # of Streamlit's table, the header as well
RESULT = "Median TTFT (ms): 81.0\nMedian TPOT (ms): 7.7\nOutput token throughput (tok/s): 2050.5\n"


@pytest.fixture
def app(monkeypatch, tmp_path):
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    return AppTest.from_file(ROUTER, default_timeout=PATIENCE_S).run().switch_page("compare/compare.py").run()


def verdict(app):
    assert not app.exception and not app.error
    return app.header[0].value


def test_defaults_answer_without_a_click(app):
    assert verdict(app).startswith("Cheapest that meets the targets: 1 × ")
    assert len(app.get("vega_lite_chart")) == 1
    table = app.dataframe[0].value
    assert len(table) > 100 and {"cheapest", "fastest", "smallest", "on the front"} <= set(table["Pick"])
    assert table["$ per hour"].isna().any()
    announced = {gpu.name for gpu in gpus.catalogue() if gpu.announced}
    assert not announced & set(table["GPU"])


def test_filters_narrow_the_answer(app):
    app.multiselect(key="vendors").set_value(["AMD"]).run()
    assert "MI" in verdict(app) and set(app.dataframe[0].value["Vendor"]) == {"AMD"}
    app.multiselect(key="vendors").set_value([]).run()
    app.number_input(key="least_gib").set_value(140).run()
    assert app.dataframe[0].value["GiB per GPU"].min() > 130
    app.number_input(key="most_usd").set_value(4.0).run()
    assert app.dataframe[0].value["$ per hour"].max() <= 4.0


def test_nothing_within_reach_is_said(app):
    app.number_input(key="most_usd").set_value(0.01).run()
    assert "Nothing compared here holds this load" in verdict(app)
    app.number_input(key="most_usd").set_value(None).run()
    app.number_input(key="tpot").set_value(1).run()
    assert "No deployment meets the targets. Closest" in verdict(app)


def test_an_own_price_counts_for_its_gpu(app):
    app.number_input(key="price").set_value(0.01).run()
    assert gpus.DEFAULT_GPU in verdict(app) and r"\$0.01" in verdict(app).replace("0.010", "0.01")


def test_a_result_is_held_against_the_prediction_and_kept(app):
    app.text_area(key="result_picked").set_value(RESULT).run()
    said = next(table.value for table in app.dataframe if "Within the range" in table.value)
    assert list(said["Figure"]) == ["TTFT", "TPOT", "Output"] and (said["Measured / predicted"] > 0).all()
    app.button(key="keep_picked").click().run()
    assert not app.error and not app.exception
    assert any("corrected by your benchmark" in element.value for element in app.markdown)
    next(button for button in app.button if button.label == "Forget").click().run()
    assert not any("corrected by your benchmark" in element.value for element in app.markdown)
    app.text_area(key="result_picked").set_value("nonsense").run()
    assert len(app.error) == 1 and "vllm bench serve" in app.error[0].value


def test_a_deep_link_a_row_and_files_in_a_real_browser(page, app_url):
    """A row of the table goes to Plan; files are downloaded and parsed."""
    page.goto(f"{app_url}/compare?users=32&vendors=NVIDIA")
    page.wait_for_selector(f"{VERDICT} h2")
    expect(page.locator(VERDICT)).to_contain_text("Cheapest that meets the targets")
    expect(page.locator(VERDICT)).to_contain_text("32 requests")
    page.wait_for_selector("[data-testid=stVegaLiteChart] svg")
    before = page.inner_text(".st-key-picked")
    page.get_by_role("button", name="Open in Plan").last.wait_for()
    table = page.locator("[data-testid=stDataFrame] .dvn-scroller").first
    table.evaluate("element => element.scrollIntoView({block: 'center'})")
    table.click(position={"x": 18, "y": 4 * ROW_PX + ROW_PX // 2})
    page.wait_for_function(
        "before => document.querySelector('.st-key-picked').innerText !== before", arg=before
    )
    page.get_by_text("Docker Compose", exact=True).click()
    with page.expect_download() as caught:
        page.get_by_role("button", name="compose.yaml").click()
    services = yaml.safe_load(caught.value.path().read_text())["services"]
    assert "vllm" in next(iter(services.values()))["image"]
    picked = page.inner_text(".st-key-picked")
    page.locator(".st-key-picked").get_by_role("button", name="Open in Plan").click()
    page.wait_for_selector(".st-key-verdict h2")
    gpu = picked.split("×")[1].split(",")[0].split("\n")[0].strip()
    expect(page.locator(".st-key-verdict")).to_contain_text(gpu)
    page.wait_for_function("() => location.search.includes('gpu=')")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Report to print, HTML").click()
    assert caught.value.path().read_text().startswith("<!doctype html>")
    with page.expect_download() as caught:
        page.get_by_role("button", name="Recommendation, CSV").click()
    assert next(csv.DictReader(io.StringIO(caught.value.path().read_text())))["gpu"] == gpu
