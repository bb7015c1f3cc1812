"""What is installed is what was chosen: locked whole and by hash, under licences that go with Apache-2.0."""

import importlib.metadata
import re

import pytest
import yaml

from core.basics.places import ROOT

LOCKS = {"requirements.txt": "requirements.lock", "tests/requirements.txt": "tests/requirements.lock"}
APART = {"torch"}             # pinned by version: its builds differ in hash (see Makefile)
# Licences that an Apache-2.0 program may be installed beside; LGPL and MPL ask for nothing where a library is used
# as it is (https://www.apache.org/legal/resolved.html, categories A and B; psycopg's own licensing page).
COMPATIBLE = re.compile(r"apache|bsd|mit|psf|python software|mozilla|mpl-2|isc|lgpl|zlib|cc0|hpnd", re.IGNORECASE)


def requirements(file):
    """Names and versions of a list and of those it includes."""
    pins = {}
    for line in (ROOT / file).read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            pins |= requirements((ROOT / file).parent.joinpath(line[3:].strip()).resolve().relative_to(ROOT))
        elif found := re.match(r"([\w.-]+)(?:\[\w+\])?==([\w.]+)", line):
            pins[plain(found[1])] = found[2]
    return pins


def plain(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(file):
    """Versions by name, and the names without a hash."""
    entries = re.split(r"\n(?=[a-z0-9])", (ROOT / file).read_text(encoding="utf-8").partition("\n")[2])
    entries = [entry for entry in entries if "==" in entry]
    versions = {}
    for entry in entries:
        name, _, rest = entry.partition("==")
        versions.setdefault(plain(name.partition("[")[0]), set()).add(re.match(r"[\w.]+", rest)[0])
    return versions, [entry for entry in entries if "--hash=sha256:" not in entry]


@pytest.mark.parametrize(("asked", "lock"), LOCKS.items())
def test_a_lock_holds_what_is_asked_for_by_hash(asked, lock):
    versions, unhashed = locked(lock)
    assert not unhashed
    assert {name for name, version in requirements(asked).items() if version not in versions.get(name, ())} == APART


def distributions():
    return {plain(one.metadata["Name"]): one for one in importlib.metadata.distributions()}


def test_everything_that_a_locked_package_needs_is_locked():
    """Of what is installed here: what a package asks for without an extra and on this machine."""
    versions, _ = locked("tests/requirements.lock")
    here = distributions()
    missing = {
        (name, needed)
        for name in versions if name in here
        for line in here[name].requires or ()
        if ";" not in line and (needed := plain(re.match(r"[\w.-]+", line)[0])) not in versions and needed not in APART
    }
    assert not missing


def test_licences_go_with_ours():
    versions, _ = locked("tests/requirements.lock")
    here, said = distributions(), {}
    for name in versions.keys() & here.keys():
        data = here[name].metadata
        said[name] = " ".join([data.get("License-Expression") or "", (data.get("License") or "")[:80],
                               *(line for line in data.get_all("Classifier", []) if line.startswith("License"))])
    assert len(said) > 80
    unknown = {name for name, text in said.items() if not COMPATIBLE.search(text)}
    assert unknown <= {"axe-playwright-python"}, unknown      # MIT by its repository; its metadata says nothing


def test_the_container_runs_as_nobody_and_writes_nowhere():
    docker = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    assert docker.index("USER 10001") < docker.index("CMD [\"sweetspot\"") and "--require-hashes" in docker
    assert "HEALTHCHECK" in docker and re.search(r"^FROM python:3\.11\.\d+-slim$", docker, re.MULTILINE)
    compose = yaml.safe_load((ROOT / "assets" / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    for name in ("replica-1", "replica-2"):
        replica = compose["services"][name]
        assert replica["read_only"] and replica["build"] and replica["cap_drop"] == ["ALL"] and "command" not in replica
