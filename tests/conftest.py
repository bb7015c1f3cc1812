"""A real server and a real browser, for the tests that need them."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, settings

from core.basics.places import ROOT

if TYPE_CHECKING:
    from streamlit.testing.v1 import AppTest

os.environ.setdefault("OMP_NUM_THREADS", "1")      # every core has its own tests: threads that wait for a busy one spin

# The same examples every time, however slow the machine: what turns red is the change.
settings.register_profile(
    "house", deadline=None, derandomize=True, database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
settings.load_profile("house")

CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SLOW = ("quality", "browser", "machinery", "probe", "pages")     # folders of tests that wait for others: begun first
PHONE = {"width": 390, "height": 844}
PATIENCE_S = 300.0                  # before a wait fails: a busy machine takes its time
PATIENCE_MS = PATIENCE_S * 1e3
# Fading and turning things keep the processor that draws them busy for as long as a busy machine makes them wait.
STILL = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, *::before, *::after { animation: none !important; transition: none !important }";
  document.head.append(style);
})"""
NO_HUB = "http://127.0.0.1:9"      # the discard port: refuses every connection at once


def pytest_collection_modifyitems(items):
    """Whole files go to the workers in this order: none is left with a slow one at the end."""
    def turn(item):
        folder = item.path.parent.name
        return SLOW.index(folder) if folder in SLOW else len(SLOW)

    items.sort(key=turn)


def free_port() -> int:
    """A TCP port nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(condition: Callable[[], object], limit_s: float = PATIENCE_S) -> None:
    """Returns once it holds; fails when it takes longer."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def workers(module: str) -> list[int]:
    """Process ids of the workers of that module which this process started."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if module.encode() in (folder / "cmdline").read_bytes() \
                    and f"PPid:\t{os.getpid()}\n" in (folder / "status").read_text():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


class Served(NamedTuple):
    """A running app."""

    url: str
    pid: int


@contextmanager
def serve(*, address: str = "127.0.0.1", log: Path | None = None, **settings: str) -> Iterator[Served]:
    """Runs the app as a user would; `settings` are the administrator's, everything it says goes to `log`.

    Hub requests are refused unless `SWEETSPOT_HUB_ENDPOINT` names a stand-in.
    """
    port = free_port()
    output = log.open("wb") if log else subprocess.DEVNULL
    server = subprocess.Popen(
        [
            sys.executable, "-m", "streamlit", "run", "app.py",
            "--server.port", str(port), "--server.address", address,
            "--server.headless", "true", "--server.fileWatcherType", "none",
        ],
        cwd=ROOT,
        env=os.environ | {"SWEETSPOT_HUB_ENDPOINT": NO_HUB} | settings,
        stdout=output,
        stderr=subprocess.STDOUT,
    )
    url = f"http://{address}:{port}"
    try:
        wait_until_healthy(url, server)
        yield Served(url, server.pid)
    finally:
        server.terminate()
        server.wait(timeout=PATIENCE_S)
        if log:
            output.close()


def wait_until_healthy(address: str, server: "subprocess.Popen[bytes]", limit_s: float = PATIENCE_S) -> None:
    """Returns once the health check answers; fails when the server died or took too long."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        assert server.poll() is None, "the server ended before it was healthy"
        try:
            with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError(f"not healthy after {limit_s} s")


@pytest.fixture(scope="session", autouse=True)
def own_data_folder(tmp_path_factory):
    """Tests keep nothing in the developer's own data folder, and find nothing there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SWEETSPOT_DATA", str(tmp_path_factory.mktemp("data")))
        yield


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """An empty data folder, and no Hub to ask."""
    import streamlit as st

    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", NO_HUB)
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    st.cache_resource.clear()
    yield
    st.cache_resource.clear()


def linked(query: str) -> "AppTest":
    """The pages as a script that a link with this query opens; not run yet."""
    from streamlit.testing.v1 import AppTest

    app = AppTest.from_file(str(ROOT / "pages" / "router.py"), default_timeout=PATIENCE_S)
    for key, value in parse_qsl(query):
        app.query_params[key] = value
    return app


@pytest.fixture
def first_visit(alone):
    """The pages as a script for somebody who keeps nothing yet, with no Hub to ask."""
    return linked("")


@pytest.fixture(scope="session")
def app_url():
    """One server for all tests of a process that leave nothing behind in it."""
    with serve() as app:
        yield app.url


@pytest.fixture(scope="module")
def chromium():
    """One headless Chromium for the tests of a module: while it runs, no other event loop may."""
    from playwright.sync_api import expect, sync_playwright

    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        executable = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_FLAGS)
        yield browser
        browser.close()


def start_and_cancel(page, start, link):
    """Starts a measurement, sees it under way and named in the link, and stops it."""
    from playwright.sync_api import expect

    expect(start).to_be_enabled()
    start.click()
    cancel = page.get_by_role("button", name="Cancel")
    expect(cancel).to_be_visible()
    assert f"{link}=" in page.url
    cancel.click()
    expect(page.get_by_text("Cancelled; nothing was kept.")).to_be_visible()


@contextmanager
def visiting(chromium, width=1440, **how):
    """A visitor with nothing remembered: a context in which nothing moves, and patience."""
    context = chromium.new_context(viewport={"width": width, "height": 1000}, accept_downloads=True, **how)
    context.set_default_timeout(PATIENCE_MS)
    context.add_init_script(STILL)
    yield context
    context.close()


@pytest.fixture(scope="module")
def browsing(chromium):
    """One context for the tests of a module, so that the app's own files load once."""
    with visiting(chromium) as context:
        yield context


@pytest.fixture
def page(browsing):
    """A fresh visitor's tab: what the one before has left is cleared."""
    tab = browsing.new_page()
    yield tab
    tab.evaluate("localStorage.clear(), sessionStorage.clear()")
    tab.close()
    browsing.clear_cookies()
