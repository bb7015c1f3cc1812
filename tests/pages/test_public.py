"""A link for everyone: any page first, twenty visitors in little memory, replicas that stand in for one another."""

import os
import re
import shutil
import signal
import subprocess
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from playwright.sync_api import expect

from core.basics.units import MIB
from tests.bench_ui import resident_mb
from tests.browser.test_browser_plan import changed, reads, verdict
from tests.conftest import PATIENCE_S, ROOT, free_port, serve, wait_for, wait_until_healthy
from tests.visitor import Visitor, finish, opened

DEPLOY = ROOT / "assets" / "deploy"
ROUTER = (ROOT / "pages" / "router.py").read_text(encoding="utf-8")
PAGES = ["", *(name for name in re.findall(r'"(?:\w+/)?(\w+)\.py",', ROUTER) if name != "plan")]
LEAST_OF_COMMUNITY_CLOUD_MB = 690          # Streamlit's documentation: 690 MB to 2.7 GB of memory
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def test_every_page_is_known_here():
    assert len(PAGES) == len(list(re.finditer(r"st\.Page\(", ROUTER))) >= 9


# -- the very first request -------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "compare", "saved"], ids=["the first page", "in a folder", "beside the router"])
def test_a_deep_link_is_the_first_thing_a_fresh_server_answers(name):
    """Streamlit runs a page without its router until a session has run the script, where it finds a `pages` folder."""
    async def first(app):
        async with Visitor(app.url, f"/{name}?users=48&gpu=L40S") as visitor:
            await visitor.run()
            return visitor

    with serve() as app:
        visitor = finish(first(app))
        with urllib.request.urlopen(f"{app.url}/{name}?users=48", timeout=PATIENCE_S) as answer:
            assert answer.status == 200 and b'<div id="root">' in answer.read()
    assert visitor.page_hash == visitor.pages[name] and not visitor.not_found
    assert not visitor.found("exception") and len(visitor.elements) > 15
    assert not [sentence for sentence in visitor.sentences() if "went wrong" in sentence]
    (users,) = visitor.found("number_input", "Requests in flight")
    assert (users.number_input.value if users.number_input.set_value else users.number_input.default) == 48


@pytest.mark.parametrize("name", PAGES, ids=lambda name: name or "plan")
def test_a_link_says_the_same_on_every_page(app_url, name):
    visitor = opened(app_url, f"/{name}?users=48&model=Qwen/Qwen3-32B")
    (users,), (model,) = visitor.found("number_input", "Requests in flight"), visitor.found("selectbox", "Model")
    assert (users.number_input.value if users.number_input.set_value else users.number_input.default) == 48
    assert model.selectbox.raw_value == "Qwen/Qwen3-32B"
    assert not [sentence for sentence in visitor.sentences() if "went wrong" in sentence]


# -- memory -----------------------------------------------------------------------------------------


def test_twenty_visitors_fit_the_smallest_host_and_torch_stays_out():
    async def crowd(app):
        visitors = [Visitor(app.url, f"/{PAGES[number % len(PAGES)]}?users={number + 1}") for number in range(20)]
        for visitor in visitors:
            await visitor.__aenter__()
            await visitor.run()
        held = resident_mb(app.pid)
        for visitor in visitors:
            await visitor.__aexit__()
        return held

    with serve(SWEETSPOT_PUBLIC="1") as app:
        held_mb = finish(crowd(app))
        mapped = Path(f"/proc/{app.pid}/maps").read_text()
    assert held_mb < LEAST_OF_COMMUNITY_CLOUD_MB
    assert "/torch/" not in mapped


def test_community_cloud_finds_what_it_looks_for():
    """Its documentation: the first of uv.lock, Pipfile, environment.yml, requirements.txt beside the entry point."""
    assert not [name for name in ("uv.lock", "Pipfile", "environment.yml") if (ROOT / name).exists()]
    assert (ROOT / "requirements.txt").is_file() and (ROOT / "app.py").is_file()


# -- replicas ---------------------------------------------------------------------------------------


@contextmanager
def in_front_of(ports, folder):
    """nginx with the repository's own configuration before replicas on these ports; its address."""
    port = free_port()
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for number, replica in enumerate(ports, 1):
        text = text.replace(f"replica-{number}:8501", f"127.0.0.1:{replica}")
    text = text.replace("listen 8080", f"listen 127.0.0.1:{port}").replace("/tmp/", f"{folder}/")
    (folder / "nginx.conf").write_text(text)
    command = [NGINX, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    proxy = subprocess.Popen([*command, "-g", "daemon off; master_process off;"], stderr=subprocess.DEVNULL)
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until_healthy(address, proxy)
        yield address
    finally:
        proxy.terminate()
        proxy.wait(timeout=PATIENCE_S)


@pytest.fixture
def replicas(tmp_path):
    """Two replicas that share a secret and a store, with their logs, and nginx in front."""
    folder = tmp_path / "nginx"
    folder.mkdir()
    shared = {"SWEETSPOT_DATA": str(tmp_path / "data"), "SWEETSPOT_PUBLIC": "1",
              "STREAMLIT_SERVER_COOKIE_SECRET": "shared-by-the-replicas", "STREAMLIT_LOGGER_LEVEL": "debug"}
    with (
        serve(log=tmp_path / "1", **shared) as one, serve(log=tmp_path / "2", **shared) as other,
        in_front_of([int(app.url.rpartition(":")[2]) for app in (one, other)], folder) as address,
    ):
        yield address, {one: tmp_path / "1", other: tmp_path / "2"}


def sessions(log):
    return log.read_text(errors="replace").count("ONE_OR_MORE_SESSIONS_CONNECTED\n")


def test_a_replica_dies_and_the_page_goes_on_with_its_inputs(page, replicas):
    address, logs = replicas
    page.goto(f"{address}/?users=48")
    first = verdict(page)
    page.get_by_role("spinbutton", name="Prompt tokens").fill("4096")
    page.get_by_role("spinbutton", name="Prompt tokens").press("Enter")
    second = changed(page, first)
    page.get_by_role("button", name="Search the Hub").click()
    page.get_by_label("Access token", exact=True).fill("hf_typed_and_in_no_link")
    page.get_by_label("Access token", exact=True).press("Enter")
    page.keyboard.press("Escape")
    page.reload()                                       # by its cookie the same replica answers
    assert verdict(page)
    home, other = sorted(logs, key=lambda app: -sessions(logs[app]))
    assert sessions(logs[home]) == 2 and sessions(logs[other]) == 0
    os.kill(home.pid, signal.SIGKILL)
    wait_for(lambda: sessions(logs[other]), limit_s=20.0)
    expect(page.get_by_role("spinbutton", name="Prompt tokens")).to_have_value("4096")
    expect(page.get_by_role("spinbutton", name="Requests in flight")).to_have_value("48")
    page.wait_for_function("text => document.querySelector('.st-key-verdict')?.innerText === text", arg=second)
    page.get_by_role("spinbutton", name="Requests in flight").fill("96")
    page.get_by_role("spinbutton", name="Requests in flight").press("Enter")
    reads(page, "96 requests")


def test_what_is_kept_is_kept_for_all_replicas_and_uploads_pass(replicas):
    """Through the proxy: the visitor's own key reaches the app, and a body a little under the bound is let through."""
    address, logs = replicas

    async def keeps():
        async with Visitor(address, "/", headers={"Cookie": f"sweetspot_own={'k' * 32}"}) as visitor:
            await visitor.run()
            await visitor.press("Save this plan")
        seen = []
        for app in logs:
            async with Visitor(app.url, "/saved", headers={"Cookie": f"sweetspot_own={'k' * 32}"}) as visitor:
                await visitor.run()
                seen.append(len([b for b in visitor.found("button") if b.button.label == "Reopen"]))
        return seen

    assert finish(keeps()) == [1, 1]
    request = urllib.request.Request(f"{address}/_stcore/upload_file/s/f", data=b"x" * (20 * MIB), method="PUT")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=PATIENCE_S)
    # By the app for want of its token, at times before the proxy has passed the body on: not by the proxy (413).
    assert refused.value.code in (403, 502)


def test_the_composition_names_what_the_proxy_asks_for():
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    asked = set(re.findall(r"server (\S+):8501", (DEPLOY / "nginx.conf").read_text()))
    assert asked == {name for name in services if name.startswith("replica")}
    for name in asked:
        settings = services[name]["environment"]
        assert settings["SWEETSPOT_PUBLIC"] == "1" and "STREAMLIT_SERVER_COOKIE_SECRET" in settings
