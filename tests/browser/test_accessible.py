"""The pages for people who do not see them, use no mouse, tell no red from green, or hold a phone.

Rules are axe-core's (Deque, WCAG 2.1 A and AA), run in Chromium over every page.
"""

import itertools
import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from core.delivery.charts.style import CYCLE
from tests.browser.test_browser_plan import VERDICT, verdict
from tests.conftest import PHONE
from tests.pages.test_public import PAGES
from tests.screenshots import settled

SERIOUS = {"serious", "critical"}
RULES = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]},
         "resultTypes": ["violations"]}
# Streamlit's own, by rule and what axe says of the element; nothing that a page or the theme could better.
STREAMLITS = {
    # White on the primary colour of the dark theme, 3.4:1, on primary buttons and chips: Streamlit 1.67 always writes
    # them in white, and selected segments and tabs in the primary colour itself. No colour reads 4.5:1 both ways on a
    # dark page; this one does so for the segments, which are on every page.
    # Words of code in the colours of its own highlighter, which no theme changes.
    "color-contrast": ("foreground color: #ffffff, background color: #6484f3", 'class="token'),
    # A layer of a chart without a mark in it: Vega 6 gives the empty group its role and no name.
    "svg-img-alt": (' mark container"></g>',),
}


def found(page, options=RULES):
    """Serious violations that are ours: rule, and the first elements."""
    violations = Axe().run(page, options=options).response["violations"]
    return [
        f"{violation['id']}: {node['html'][:260]} {node.get('failureSummary', '')[:200]}"
        for violation in violations if violation["impact"] in SERIOUS
        for node in violation["nodes"]
        if not any(sign in node["html"] + node["failureSummary"] for sign in STREAMLITS.get(violation["id"], ()))
    ]


@pytest.mark.parametrize("name", PAGES, ids=lambda name: name or "plan")
def test_no_serious_barrier_on_any_page_in_either_theme(page, app_url, name):
    page.goto(f"{app_url}/{name}")
    settled(page)
    barriers = found(page)
    page.emulate_media(color_scheme="dark")
    page.wait_for_function("getComputedStyle(document.querySelector('[data-testid=stApp]')).colorScheme === 'dark'")
    barriers += [f"dark, {barrier}" for barrier in found(page, {"runOnly": ["color-contrast"]})]
    page.set_viewport_size(PHONE)
    page.wait_for_function(                     # tables measure themselves anew a moment later
        "px => Math.max(...['html', '[data-testid=stMain]'].map(css => document.querySelector(css).scrollWidth)) <= px",
        arg=PHONE["width"],
    )
    assert not barriers, "\n".join(barriers)


# -- without a mouse --------------------------------------------------------------------------------


def reached(page, role, name, key="Tab", most=60):
    """Presses a key until the element of that role and name has the focus; its locator."""
    target = page.get_by_role(role, name=name).first
    for _ in range(most):
        if target.evaluate("element => element === document.activeElement"):
            return target
        page.keyboard.press(key)
    raise AssertionError(f"{name} is not reached by {key}")


def test_the_main_job_by_keyboard_alone(page, app_url):
    """Another model, another GPU, another load, and the verdict's own heading: no mouse."""
    page.goto(app_url)
    verdict(page)
    answer = page.locator(VERDICT)
    reached(page, "combobox", re.compile("^Model"))
    page.keyboard.type("Qwen/Qwen3-32B")
    page.get_by_role("option", name="Qwen/Qwen3-32B", exact=True).wait_for()
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("Qwen3-32B")
    reached(page, "combobox", re.compile("^GPU"))
    page.keyboard.type("L40S")
    page.get_by_role("option", name="L40S", exact=True).first.wait_for()
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("L40S")
    reached(page, "spinbutton", "Requests in flight")
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("48")
    page.keyboard.press("Enter")
    expect(answer).to_contain_text("48 requests")
    expect(page.get_by_role("heading", level=2).first).to_contain_text("Deploy Qwen3-32B")


def test_what_a_screen_reader_is_told(page, app_url):
    """Every chart says what it shows, every input has a name, and the language of the page is known."""
    page.goto(app_url)
    page.locator("[data-testid=stVegaLiteChart] svg").nth(4).wait_for()
    charts = page.locator("[data-testid=stVegaLiteChart]").all()
    told = [chart.evaluate("e => e.getAttribute('aria-label') || e.querySelector('[aria-label]')?.ariaLabel || ''")
            for chart in charts]
    assert len(told) >= 5 and all(len(text) > 10 for text in told)
    assert page.locator("html").get_attribute("lang") == "en"


# -- colours ----------------------------------------------------------------------------------------

# Vienot, Brettel and Mollon 1999, "Digital video colourmaps for checking the legibility of displays by dichromats",
# on linear RGB: what is left to an eye without the long, the middle, or (Brettel 1997, flat) the short cones.
DEFICIENCIES = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    "tritan": ((1.0, 0.14461, -0.14461), (0.0, 0.85924, 0.14076), (0.0, 0.85924, 0.14076)),
}
LEAST_APART = 15.0      # CIE 1976 colour difference; side by side some 2 are just seen, thin lines want many times that
LEAST_CONTRAST = 3.0    # WCAG 2.1, 1.4.11: graphics against their background
BACKGROUNDS = ("#ffffff", "#0f1420")


def linear(colour):
    """sRGB (IEC 61966-2-1) to linear light."""
    parts = [int(colour[at:at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def seen(rgb, matrix):
    return [min(max(sum(m * part for m, part in zip(row, rgb, strict=True)), 0.0), 1.0) for row in matrix]


def lab(rgb):
    """CIE L*a*b* under D65."""
    x, y, z = (sum(m * part for m, part in zip(row, rgb, strict=True)) for row in (
        (0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505), (0.2126, 0.7152, 0.0722),
        (0.0193 / 1.089, 0.1192 / 1.089, 0.9505 / 1.089)))
    fx, fy, fz = (t ** (1 / 3) if t > 0.008856 else 7.787 * t + 16 / 116 for t in (x, y, z))
    return 116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)


def luminance(colour):
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_the_colours_of_lines_stay_apart_for_a_colour_blind_eye(deficiency):
    for one, other in itertools.combinations(CYCLE, 2):
        ends = (lab(seen(linear(colour), DEFICIENCIES[deficiency])) for colour in (one, other))
        apart = sum((a - b) ** 2 for a, b in zip(*ends, strict=True)) ** 0.5
        assert apart >= LEAST_APART, f"{one} and {other} are {apart:.1f} apart"


@pytest.mark.parametrize("colour", CYCLE)
def test_the_colours_of_lines_stand_out_on_both_pages(colour):
    for background in BACKGROUNDS:
        low, high = sorted((luminance(colour), luminance(background)))
        assert (high + 0.05) / (low + 0.05) >= LEAST_CONTRAST
