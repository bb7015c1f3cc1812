"""What strangers may not do, and what never leaves a session: tried on a running server where it can be."""

import asyncio
import logging
import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.testing.v1 import AppTest
from websockets.exceptions import InvalidStatus

from core.basics.errors import InputError
from core.machinery.jobs import MAX_WAITING, Jobs
from core.reading import hub
from pages.server import bounds
from tests.conftest import PATIENCE_S, ROOT, serve
from tests.hub_server import HubServer, Repo, Trouble, llama, llama_tensors
from tests.visitor import Visitor, finish, opened

TOKEN = "hf_PLANTEDsecretTokenOfAVisitor42"
GATED = "secret/gated"
MIB = 2**20


# -- the token --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def planted(tmp_path_factory, browsing):
    """A visit with a token: a gated model planned and saved, every file taken away, and each kind of refusal met.

    Gives everything that was left behind: addresses, pages, downloads, the server's words, its data folder.
    """
    folder = tmp_path_factory.mktemp("planted")
    config = llama(hidden=2048, layers=16)
    repos = {
        GATED: Repo(config, {"model.safetensors": llama_tensors(config)}, gated="manual", tokens=(TOKEN,)),
        "secret/other": Repo(config, gated="manual", tokens=("hf_somebody",)),
        "secret/broken": Repo(files={"config.json": b"{" + TOKEN.encode()}),
    }
    seen = {}
    with (
        HubServer(repos) as hub_server,
        serve(log=folder / "log", SWEETSPOT_HUB_ENDPOINT=hub_server.url, SWEETSPOT_DATA=str(folder / "data"),
              SWEETSPOT_PUBLIC="1", STREAMLIT_LOGGER_LEVEL="debug") as app,
    ):
        page = browsing.new_page()
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{app.url}/?model={GATED}")
        page.get_by_test_id("stAlert").wait_for()
        page.get_by_role("button", name="Search the Hub").click()
        page.get_by_label("Access token", exact=True).fill(TOKEN)
        page.get_by_label("Access token", exact=True).press("Enter")
        page.wait_for_selector(".st-key-verdict")
        page.keyboard.press("Escape")
        page.get_by_role("button", name="Save this plan").click()
        page.get_by_text("Saved. It is on the Saved page.").wait_for()
        for name in ("Recommendation, CSV", "Whole sweep, CSV", "Plan, JSON", "Report to print, HTML"):
            with page.expect_download() as caught:
                page.get_by_role("button", name=name).click()
            seen[name] = caught.value.path().read_text()
        seen["page"] = page.get_by_test_id("stMain").inner_html()
        page.get_by_role("link", name="Saved", exact=True).first.click()
        with page.expect_download() as caught:
            page.get_by_role("button", name="Everything, JSON").click()
        seen["export"] = caught.value.path().read_text()
        for model in ("secret/other", "secret/broken", "secret/missing"):
            hub_server.trouble = Trouble(status=500 if model == "secret/missing" else 0, on=model)
            box = page.get_by_role("combobox", name="Model", exact=True)
            box.click()
            box.fill(model)
            page.get_by_role("option", name=model).first.click()
            page.get_by_role("link", name="Plan", exact=True).first.click()
            page.get_by_test_id("stAlert").wait_for()
            seen[model] = page.get_by_test_id("stMain").inner_html()
        seen["addresses"] = "\n".join([*asked, page.url])
        seen["stored in the browser"] = page.evaluate("JSON.stringify(localStorage) + JSON.stringify(sessionStorage)")
        seen["cookies"] = str(browsing.cookies())
        assert any(TOKEN in headers.get("authorization", "") for _, _, headers in hub_server.requests)
        seen["paths asked of the Hub"] = "\n".join(path for _, path, _ in hub_server.requests)
        page.close()
        browsing.clear_cookies()
    seen["log"] = (folder / "log").read_text(errors="replace")
    seen["data folder"] = "\n".join(
        f"{path.name} {path.read_bytes().decode('latin-1')}" for path in (folder / "data").rglob("*") if path.is_file()
    )
    return seen


def test_a_planted_token_is_found_nowhere(planted):
    assert GATED in planted["Plan, JSON"] and GATED in planted["data folder"] and planted["log"]
    assert [place for place, text in planted.items() if TOKEN in text] == []


def test_a_token_in_an_unexpected_error_is_in_no_log_and_on_no_page(monkeypatch, caplog, tmp_path):
    """A library that puts the request's headers into its message."""
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    app = AppTest.from_file(str(ROOT / "pages" / "router.py"), default_timeout=PATIENCE_S).run()
    app.text_input(key="hub_token").set_value(TOKEN)

    def failing(*_, token=None, **__):
        raise RuntimeError(f"bad header: Authorization: Bearer {token}")

    monkeypatch.setattr(hub, "resolve", failing)
    with caplog.at_level(logging.DEBUG):
        model = app.selectbox(key="model")
    model.options.append("secret/crash")
    model.set_value("secret/crash").run()
    assert "RuntimeError" in caplog.text and TOKEN not in caplog.text
    assert TOKEN not in "".join(alert.value for alert in app.error) and not app.exception


def test_what_is_kept_holds_no_column_for_a_token(tmp_path, monkeypatch):
    from core.machinery.store import Store, database_url, open_engine

    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    Store(open_engine(database_url()))
    with sqlite3.connect(tmp_path / "sweetspot.sqlite3") as connection:
        (schema,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'sweetspot_items'").fetchone()
    assert "token" not in schema.lower()


# -- what a visitor cannot set ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def public_app(tmp_path_factory):
    """A server that other machines could reach: nothing was said about it."""
    with (
        pytest.MonkeyPatch.context() as patch,
        HubServer({"open/model": Repo(llama(hidden=2048, layers=16))}) as hub_server,
    ):
        patch.delenv("SWEETSPOT_PUBLIC", raising=False)
        with serve(address="127.0.0.2", SWEETSPOT_HUB_ENDPOINT=hub_server.url,
                   SWEETSPOT_DATA=str(tmp_path_factory.mktemp("public"))) as app:
            yield app


def test_the_hub_is_the_administrators(public_app):
    with HubServer({"open/model": Repo(llama(hidden=4096, layers=16))}) as evil:
        host = evil.url.removeprefix("http://")
        for link in (
            f"hub_endpoint={evil.url}&endpoint={evil.url}&SWEETSPOT_HUB_ENDPOINT={evil.url}&HF_ENDPOINT={evil.url}",
            f"model={evil.url}/open/model", f"model={host}/open", f"model=@{host}/open", f"model=open/model?x={host}",
        ):
            query = link if link.startswith("model=") else f"model=open/model&{link}"
            visitor = opened(public_app.url, f"/?{query}")
            assert visitor.verdict or visitor.sentences()
        assert evil.requests == []


@pytest.mark.parametrize("path", [
    "/etc", "/proc/self/environ", ".", "../main", "~/.cache", "file:///etc/passwd", "C:\\x", "%2Fetc%2Fpasswd",
])
def test_folders_of_the_server_are_not_looked_at(public_app, path):
    visitor = opened(public_app.url, f"/?model={path}")
    (sentence,) = visitor.sentences()
    assert "Paths are not read here" in sentence or "Hub" in sentence or "Hugging Face model id" in sentence
    assert "config.json" not in sentence


def test_measuring_and_comparing_quality_are_off_on_a_public_host(public_app):
    for page, button in (("/probe", "Measure"), ("/quality", "Measure")):
        visitor = opened(public_app.url, page)
        assert not visitor.found("exception") and visitor.found("selectbox", "Model")
        assert not [b for b in visitor.found("button") if b.button.label.startswith(button)], page


def test_many_visitors_cannot_fill_a_lane():
    jobs = Jobs()
    running = jobs.submit("lane", "first", "runs", lambda job: [job.check() or time.sleep(0.005) for _ in range(9_999)])
    taken = 0
    with pytest.raises(InputError, match="other visitors"):
        for taken in range(MAX_WAITING + 2):
            jobs.submit("lane", f"visitor {taken}", "waits", lambda job: None)
    assert taken >= MAX_WAITING - 1
    running.cancel()


# -- uploads ----------------------------------------------------------------------------------------


def put(client, url, session, file, content, **headers):
    return client.put(f"{url}/_stcore/upload_file/{session}/{file}", files={"f": ("x.csv", content)}, headers=headers)


def test_uploads_need_their_xsrf_token_and_stay_within_size_and_count(public_app):
    async def attack():
        async with Visitor(public_app.url, "/traffic") as visitor:
            await visitor.run()
            with httpx.Client(timeout=PATIENCE_S) as client:
                client.get(f"{public_app.url}/_stcore/health")
                token = client.cookies["_streamlit_xsrf"]
                session, said = visitor.session_id, {"X-Xsrftoken": token}
                without = put(client, public_app.url, session, "a", b"x").status_code
                stranger = put(client, public_app.url, "no-such-session", "a", b"x", **said).status_code
                large = put(client, public_app.url, session, "a", b"x" * (21 * MIB), **said).status_code
                chunked = client.put(f"{public_app.url}/_stcore/upload_file/{session}/a",
                                     content=iter([b"x"]), headers=said).status_code
                many = [put(client, public_app.url, session, f"f{n}", b"x", **said).status_code
                        for n in range(bounds.FILES_PER_SESSION + 2)]
                refused = client.delete(f"{public_app.url}/_stcore/upload_file/{session}/f0").status_code
                again = put(client, public_app.url, session, "g", b"x", **said).status_code
            return without, stranger, large, chunked, many, refused, again

    without, stranger, large, chunked, many, refused, again = finish(attack())
    assert (without, stranger, large, chunked) == (403, 400, 413, 411)
    assert many == [204] * bounds.FILES_PER_SESSION + [429] * 2
    assert (refused, again) == (403, 429)               # a DELETE without its token leaves the file, and its count


def scope_of(path, length):
    return {"type": "http", "method": "PUT", "path": path, "headers": [(b"content-length", str(length).encode())]}


def test_an_upload_that_never_ends_is_cut_off(monkeypatch):
    monkeypatch.setattr(bounds, "UPLOAD_S", 0.05)
    uploads, sent = bounds.Uploads(), []

    async def endless(*_):
        await asyncio.sleep(30)

    async def send(message):
        sent.append(message)

    guarded = bounds.Bounds(endless, uploads)
    finish(guarded(scope_of("/_stcore/upload_file/s/f", 10), None, send))
    assert sent[0]["status"] == 408
    assert uploads.held == {} and uploads.under_way == 0


def test_uploads_of_all_visitors_together_are_bounded():
    uploads = bounds.Uploads(clock=lambda: 0.0)
    for n in range(bounds.SERVER_BYTES // (20 * MIB)):
        assert uploads.refusal(f"s{n}", 20 * MIB) == ""
        uploads.held[f"s{n}", "f"] = (20 * MIB, 0.0)
    assert "busy" in uploads.refusal("one more", 20 * MIB)
    assert "Too much" in bounds.Uploads(held={("s", "f"): (50 * MIB, 0.0)}, clock=lambda: 1.0).refusal("s", 20 * MIB)
    uploads.clock = lambda: bounds.KEPT_S + 1
    assert uploads.refusal("one more", 20 * MIB) == ""


# -- hosts, origins, headers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def local_app():
    with serve(SWEETSPOT_PUBLIC="0", SWEETSPOT_HOSTS="planner.example") as app:
        yield app


@pytest.mark.parametrize(("host", "status"), [
    ("evil.example:8642", 403), ("", 403), ("10.0.0.1", 403),
    ("localhost:1", 200), ("127.0.0.2", 200), ("[::1]:1", 200),
    ("planner.example", 200),
])
def test_a_server_of_this_machine_answers_to_its_own_names(local_app, host, status):
    """DNS rebinding: a page of evil.example whose name now leads to 127.0.0.1."""
    assert httpx.get(local_app.url, headers={"Host": host}).status_code == status


@pytest.mark.parametrize("origin", ["http://evil.example", "http://127.0.0.1:9999", "null"])
def test_pages_of_others_may_not_speak_to_it(local_app, origin):
    async def speaks():
        async with Visitor(local_app.url, headers={"Origin": origin}) as visitor:
            await visitor.run()

    with pytest.raises(InvalidStatus, match="403"):
        finish(speaks())


def test_metrics_are_not_for_strangers(public_app, local_app):
    assert httpx.get(f"{public_app.url}/_stcore/metrics").status_code == 404
    assert httpx.get(f"{local_app.url}/_stcore/metrics").status_code == 200


def test_every_answer_says_what_a_browser_may_do_with_it(public_app):
    for path in ("/", "/_stcore/health", "/nowhere"):
        said = httpx.get(public_app.url + path).headers
        assert "frame-ancestors 'self'" in said["content-security-policy"]
        assert said["x-content-type-options"] == "nosniff"


def test_no_link_list_or_rule_is_made_of_a_strangers_text(public_app, page):
    """Drawn by Streamlit's own Markdown in a browser."""
    for name in ("see http://evil.example/x", "www.evil.example/x", "evil@evil.example", "HTTPS://evil.example",
                 "a\n- b\n\n---"):
        page.goto(f"{public_app.url}/?model={quote(name)}")
        page.get_by_test_id("stAlert").first.wait_for()
        assert page.locator("[data-testid=stAlert] :is(a, li, hr)").count() == 0, name


# -- messages ---------------------------------------------------------------------------------------


def test_nobody_empties_the_caches_of_others(monkeypatch):
    monkeypatch.setenv("SWEETSPOT_PUBLIC", "1")
    clear, run = BackMsg(clear_cache=True).SerializeToString(), BackMsg(stop_script=True).SerializeToString()
    hidden = clear + b"\xc2\x3e\x50" + b"x" * 80                # the same with a field nobody knows
    frames = iter([clear, hidden, b"\xff\xff", run])
    reached = []

    async def receive():
        return {"type": "websocket.receive", "bytes": next(frames)}

    async def app(_scope, receive, _send):
        reached.extend([(await receive())["bytes"], (await receive())["bytes"]])

    finish(bounds.Bounds(app)({"type": "websocket"}, receive, None))
    assert reached == [b"\xff\xff", run]


def test_xsrf_protection_stays_on():
    settings = (ROOT / ".streamlit" / "config.toml").read_text() + Path(ROOT / "Makefile").read_text()
    assert "enableXsrfProtection" not in settings and "enableCORS" not in settings
