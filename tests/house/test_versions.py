"""One table of versions, assets/versions.csv: what launches, what is installed and what is written agree with it."""

import re

import pytest

from core.basics.places import ROOT
from core.products.engines import ENGINES, launched
from core.products.options import image, images, listed
from core.products.versions import VERSIONS, requirement

REQUIREMENTS = sorted([*ROOT.glob("requirements*.txt"), *(ROOT / "tests").glob("requirements*.txt")])
# What speaks of the present; elsewhere an older release is named for what it did.
SAID = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md")] + sorted(
    [*(ROOT / "core" / "delivery" / "export").glob("*.py"), *(ROOT / "tests" / "delivery").glob("*.py"),
     *(ROOT / "assets").glob("engine*.csv")])
PIN = re.compile(r"^([A-Za-z0-9_-]+)(?:\[[\w,]+\])?==([\w.]+)", re.MULTILINE)

PARSED = {"vllm", "sglang"}        # engines whose parsers `make engines-test` asks


def agrees(said, version):
    """As far as it says: 0.33 is 0.33.0, and 0.3 is not."""
    return f"{version}.".startswith(f"{said.rstrip('.')}.")


def test_a_version_agrees_as_far_as_it_says():
    assert agrees("0.33", "0.33.0") and agrees("b11243", "b11243")
    assert not agrees("0.3", "0.33.0") and not agrees("0.14.0.1", "0.14.0")


def test_every_engine_that_is_launched_is_pinned():
    assert set(launched()) <= set(VERSIONS)


@pytest.mark.parametrize("name", [name for name in VERSIONS if name in ENGINES])
def test_an_engines_defaults_were_read_at_its_version(name):
    assert agrees(ENGINES[name].version, VERSIONS[name].version)


@pytest.mark.parametrize("row", images(), ids=lambda row: f"{row.engine} {row.vendor}")
def test_an_image_has_no_version_but_the_tables(row):
    assert row.image.count("{version}") == 1 and not re.search(r"\d+\.\d", row.image)
    assert VERSIONS[row.engine].version in image(row.engine, row.vendor).image


def test_every_option_is_of_a_pinned_engine():
    assert {row.engine for row in listed()} <= set(VERSIONS)


def test_requirements_ask_for_the_versions_of_the_table():
    """A library of the table is installed here, or asked for in a script that makes a checkpoint."""
    pins = [pin for file in REQUIREMENTS for pin in PIN.findall(file.read_text(encoding="utf-8"))]
    assert {(name, version) for name, version in pins if name in VERSIONS} == {
        (name, row.version) for name, row in VERSIONS.items()
        if (name not in ENGINES or name in PARSED) and name != "amd-quark"
    }
    assert requirement("amd-quark", "[cli]") == f"amd-quark[cli]=={VERSIONS['amd-quark'].version}"


@pytest.mark.parametrize("name", VERSIONS)
def test_what_is_written_of_the_present_names_the_version_of_the_table(name):
    row = VERSIONS[name]
    names = f"{re.escape(row.label)}|{re.escape(name)}"
    said = re.compile(rf"(?<![\w-])(?:{names})(?: |==|: )v?(b?\d+(?:\.\d+)+|b\d{{4,}})")
    for file in SAID:
        for version in said.findall(file.read_text(encoding="utf-8")):
            assert agrees(version, row.version), f"{file.name}: {row.label} {version}, pinned {row.version}"
