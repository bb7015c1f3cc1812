"""How fast the app answers, in a real Chromium: `python -m tests.bench_ui`.

Run on an otherwise idle machine. Prints seconds from start to a healthy server, from opening the page to
the first verdict, from a changed input to the changed verdict, and the memory of the server with twenty visitors.
"""

import os
import statistics
import time

from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHROMIUM_FLAGS, serve

VERDICT = ".st-key-verdict"
CHANGES = 30
VISITORS = 20
SETTLE_MS = 3000
# Records in the page when the verdict's text changes, so that polling adds nothing to the time.
WATCH = """() => {
  window.changed = 0;
  new MutationObserver(() => {
    const now = document.querySelector('.st-key-verdict');
    if (now && now.innerText !== window.before) { window.before = now.innerText; window.changed = performance.now(); }
  }).observe(document.body, {subtree: true, childList: true, characterData: true});
}"""


def first_verdict_s(browser: Browser, address: str) -> tuple[float, Page]:
    """Seconds from opening the page to the verdict, as a new visitor; the page stays open."""
    page = browser.new_context(viewport={"width": 1440, "height": 1000}).new_page()
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector(VERDICT)
    return time.perf_counter() - start, page


def redraws_ms(page: Page, changes: int = CHANGES) -> list[float]:
    """Milliseconds from committing another number of requests to the changed verdict."""
    page.wait_for_timeout(1500)
    page.evaluate(WATCH)
    field = page.get_by_role("spinbutton", name="Requests in flight")
    times = []
    for step in range(changes):
        field.fill(str(20 + 3 * step))
        page.evaluate("s => { window.before = document.querySelector(s).innerText; window.changed = 0 }", VERDICT)
        start = page.evaluate("performance.now()")
        field.press("Enter")
        page.wait_for_function("window.changed > 0")
        times.append(page.evaluate("window.changed") - start)
        page.wait_for_timeout(600)
    return times


def resident_mb(pid: int) -> float:
    """Resident memory of a process [MB = 10^6 B], from /proc."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:      # noqa: PTH123
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    start = time.perf_counter()
    with serve() as app, sync_playwright() as playwright:
        print(f"server healthy            {time.perf_counter() - start:6.2f} s    (aim < 2)")
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM_FLAGS
        )
        seconds, page = first_verdict_s(browser, app.url)
        print(f"first verdict             {seconds:6.2f} s    (aim < 3)")
        page.wait_for_timeout(SETTLE_MS)        # until its charts are drawn: they share the browser's processor
        seconds, page = first_verdict_s(browser, app.url)
        print(f"second visitor's verdict  {seconds:6.2f} s")
        times = sorted(redraws_ms(page))
        print(
            f"changed verdict, median   {statistics.median(times):6.0f} ms   (aim < 300), "
            f"p95 {times[int(0.95 * len(times))]:.0f} ms of {len(times)}"
        )
        for _ in range(VISITORS - 2):
            first_verdict_s(browser, app.url)
        print(f"memory, {VISITORS} visitors      {resident_mb(app.pid):6.0f} MB   (aim < 400)")
        browser.close()


if __name__ == "__main__":
    main()
