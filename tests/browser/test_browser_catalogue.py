"""Catalogue and Saved in a real Chromium: deep links, a GPU of one's own, and plans that outlive a reload."""

import csv
import io
import re

import pytest
from playwright.sync_api import expect

from tests.browser.test_browser_plan import choose, reads, says, sentence, verdict
from tests.conftest import serve, visiting
from tests.postgresql import BINARIES, cluster
from tests.visitor import Visitor, finish

DATABASES = ["postgresql" if BINARIES else "sqlite"]


@pytest.fixture(scope="module")
def kept_app(tmp_path_factory):
    """An app with an empty store."""
    with serve(SWEETSPOT_DATA=str(tmp_path_factory.mktemp("kept"))) as app:
        yield app.url


def go(page, name):
    page.get_by_role("link", name=name, exact=True).first.click()
    page.get_by_role("heading", name=name, level=2).wait_for()


def main(page):
    return page.get_by_test_id("stMain")


def test_cards_open_by_their_links(page, kept_app):
    page.goto(f"{kept_app}/catalogue?card=openai%2Fgpt-oss-120b")
    page.get_by_role("heading", name="openai/gpt-oss-120b").wait_for()
    page.get_by_text("36 layers", exact=True).wait_for()
    page.get_by_text("sliding × 18").wait_for()
    assert page.get_by_role("link", name="Plan", exact=True).count() >= 1
    page.goto(f"{kept_app}/catalogue?show=GPUs&gpu_card=L4")
    page.get_by_role("heading", name="L4", exact=True).wait_for()


def test_a_card_is_planned_with_one_click(page, kept_app):
    page.goto(f"{kept_app}/catalogue?card=Qwen%2FQwen3-32B")
    page.get_by_role("heading", name="Qwen/Qwen3-32B").wait_for()
    page.get_by_role("button", name="Plan this").click()
    reads(page, "Qwen3-32B")
    assert "model=Qwen" in page.url


def test_the_search_finds_by_every_word(page, kept_app):
    page.goto(f"{kept_app}/catalogue?show=GPUs&find=blackwell+rtx+5090")
    page.get_by_test_id("stDataFrame").first.wait_for()
    page.goto(f"{kept_app}/catalogue?show=GPUs&find=no+such+card")
    page.get_by_text("Nothing matches").wait_for()


def test_a_gpu_of_ones_own_is_added_planned_with_and_deleted(page, kept_app):
    page.goto(f"{kept_app}/catalogue?show=Your+own")
    page.get_by_role("textbox", name="Name").first.fill("Bench card")
    page.get_by_role("spinbutton", name="Memory, GiB").fill("48")
    page.get_by_role("button", name="Add the GPU").click()
    page.get_by_text("Added Bench card").wait_for()
    page.get_by_role("button", name="Plan with it").click()
    reads(page, "Bench card")
    page.reload()
    reads(page, "Bench card")
    go(page, "Catalogue")
    page.get_by_role("radio", name="Your own").click()
    page.get_by_role("button", name=re.compile("Delete")).first.click()
    page.get_by_text("Deleted Bench card").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Deleted Bench card").wait_for(state="hidden")
    assert "Bench card" in main(page).inner_text()


def test_a_plan_is_saved_reopened_deleted_and_brought_back(page, kept_app):
    page.goto(f"{kept_app}/?users=48&tpot=40&weights=fp8")
    said = verdict(page)
    page.get_by_role("button", name="Save this plan").click()
    page.get_by_text("Saved. It is on the Saved page.").wait_for()
    page.goto(f"{kept_app}/saved")
    page.get_by_role("button", name="Reopen").wait_for()
    page.reload()
    page.get_by_role("button", name="Reopen").wait_for()
    expect(page.get_by_role("spinbutton", name="Requests in flight")).to_have_value("16")
    page.get_by_role("button", name="Reopen").click()
    assert says(page, said)
    expect(page.get_by_role("spinbutton", name="Requests in flight")).to_have_value("48")
    page.wait_for_timeout(300)
    assert "users=48" in page.url and "weights=fp8" in page.url
    go(page, "Saved")
    page.get_by_role("button", name="Delete").click()
    page.get_by_text("Nothing is saved yet").wait_for()
    page.get_by_role("button", name="Undo").click()
    page.get_by_role("button", name="Reopen").wait_for()
    with page.expect_download() as caught:
        page.get_by_role("button", name="All plans, CSV").click()
    rows = list(csv.DictReader(io.StringIO(caught.value.path().read_text())))
    assert [row["gpu"] for row in rows] == ["H100 SXM5 80GB"]
    assert float(rows[0]["tpot_ms_low"]) <= float(rows[0]["tpot_ms"]) <= float(rows[0]["tpot_ms_high"])


def test_a_public_host_shows_a_visitor_their_own_alone(chromium, tmp_path):
    """The key is a cookie that scripts cannot read; it is in no link."""
    with (
        serve(SWEETSPOT_DATA=str(tmp_path), SWEETSPOT_PUBLIC="1") as app,
        visiting(chromium) as mine, visiting(chromium) as other,
    ):
        page, stranger = mine.new_page(), other.new_page()
        page.goto(app.url)
        verdict(page)
        page.get_by_role("button", name="Save this plan").click()
        page.get_by_text("Saved. It is on the Saved page.").wait_for()
        page.goto(f"{app.url}/saved")
        page.get_by_role("button", name="Reopen").wait_for()
        (cookie,) = [cookie for cookie in mine.cookies() if cookie["name"] == "sweetspot_own"]
        assert cookie["httpOnly"] and cookie["sameSite"] == "Lax"
        assert cookie["value"] not in page.url + page.content()
        stranger.goto(page.url)
        stranger.get_by_text("Nothing is saved yet").wait_for()


@pytest.fixture(scope="module", params=DATABASES)
def database(request, tmp_path_factory):
    """The address of an empty database that only the secrets name: PostgreSQL where it is installed."""
    if request.param == "postgresql":
        with cluster() as address:
            yield address
    else:
        yield f"sqlite:///{tmp_path_factory.mktemp('other') / 'kept.sqlite3'}"


def test_the_secrets_name_the_database(database, tmp_path):
    """One line in the secrets, and what is kept goes there; a second server finds it."""
    async def keeps(app):
        async with Visitor(app.url) as visitor:
            await visitor.run()
            await visitor.press("Save this plan")

    async def finds(app):
        async with Visitor(app.url, "/saved") as visitor:
            await visitor.run()
            return [button.button.label for button in visitor.found("button")]

    secrets = tmp_path / "secrets.toml"
    secrets.write_text(f'[connections.sweetspot]\nurl = "{database}"\n')
    settings = {"SWEETSPOT_DATA": str(tmp_path / "data"), "STREAMLIT_SECRETS_FILES": str(secrets)}
    with serve(**settings) as app:
        finish(keeps(app))
    with serve(**settings) as second:
        assert "Reopen" in finish(finds(second))
    assert not (tmp_path / "data" / "sweetspot.sqlite3").exists()


def test_a_damaged_store_is_one_sentence_and_planning_goes_on(page, tmp_path):
    (tmp_path / "sweetspot.sqlite3").write_bytes(b"this is no database" * 500)
    with serve(SWEETSPOT_DATA=str(tmp_path)) as app:
        page.goto(f"{app.url}/saved")
        assert "damaged" in sentence(page)
        page.get_by_role("link", name="Plan", exact=True).first.click()
        reads(page, "Llama-3.1-8B")
        page.get_by_role("button", name="Save this plan").click()
        assert "damaged" in sentence(page)
        choose(page, "GPU", "L40S")
        page.get_by_text("L40S").first.wait_for()
