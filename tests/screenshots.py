"""Pictures of every page at both widths and in both themes: `make screenshots`.

Writes to build/screenshots; with `--readme` also renews those the README shows.
"""

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from playwright.sync_api import Browser, Page, sync_playwright

from tests.conftest import CHROMIUM_FLAGS, ROOT, serve

PAGES = {"plan": "/"} | {
    name: f"/{name}"
    for name in ("compare", "regime", "traffic", "probe", "quality", "accuracy", "catalogue", "saved")
}
WIDTHS = (1440, 390)
THEMES = ("light", "dark")
TALLEST_PX = 7000
README_IMAGES = {ROOT / "assets" / f"{name}.png": path for name, path in {
    "screenshot": "/", "tour-compare": "/compare", "tour-regime": "/regime", "tour-traffic": "/traffic",
}.items()}


def settled(page: Page) -> None:
    """Waits until the script has run and every chart is drawn."""
    page.wait_for_function("document.querySelector('[data-testid=stMain]')?.innerText.length > 200")
    page.wait_for_selector("[data-testid=stApp][data-test-script-state=notRunning]")
    for chart in page.locator("[data-testid=stVegaLiteChart]").all():
        chart.locator("svg").first.wait_for()
    page.wait_for_timeout(1200)


def whole(page: Page, width: int) -> None:
    """Makes the window as tall as the page, for the page scrolls inside of it."""
    height = page.evaluate("document.querySelector('[data-testid=stMain]').scrollHeight")
    page.set_viewport_size({"width": width, "height": min(height + 80, TALLEST_PX)})
    page.wait_for_timeout(700)


def pictures(browser: Browser, address: str, folder: Path, names: Iterable[str]) -> Iterator[Path]:
    """Takes every picture and yields where each was put."""
    for name in names:
        for width in WIDTHS:
            for theme in THEMES:
                context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=theme)
                page = context.new_page()
                page.goto(address + PAGES[name])
                settled(page)
                whole(page, width)
                target = folder / f"{name}-{width}-{theme}.png"
                page.screenshot(path=target)
                context.close()
                yield target


def readme_pictures(browser: Browser, address: str) -> Iterator[Path]:
    """The first screen of a first visit, and the stops of the README's tour."""
    for target, path in README_IMAGES.items():
        context = browser.new_context(viewport={"width": 1440, "height": 1060})
        page = context.new_page()
        page.goto(address + path)
        settled(page)
        page.screenshot(path=target)
        context.close()
        yield target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pages", nargs="*", help="which pages; all when none is named")
    parser.add_argument("--readme", action="store_true", help="renew the README's pictures as well")
    arguments = parser.parse_args()
    folder = ROOT / "build" / "screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    with serve() as app, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", "/usr/bin/chromium"), args=CHROMIUM_FLAGS
        )
        for target in pictures(browser, app.url, folder, arguments.pages or PAGES):
            print(target)
        if arguments.readme:
            for target in readme_pictures(browser, app.url):
                print(target)
        browser.close()


if __name__ == "__main__":
    main()
