"""tests/data/names.csv: every name through the resolvers that the command `resolve` asks."""

import csv

import pytest

from core.basics.errors import SweetspotError
from core.basics.places import ROOT
from core.products import gpus
from core.reading import hub

_, *_LINES = (ROOT / "tests" / "data" / "names.csv").read_text(encoding="utf-8").splitlines()
ROWS = [(row["kind"], row["name"], row["expected"]) for row in csv.DictReader(_LINES)]


@pytest.mark.parametrize(("name", "expected"), [row[1:] for row in ROWS if row[0] == "gpu" and row[2]])
def test_a_card_is_the_one_meant(name: str, expected: str) -> None:
    assert gpus.meant(name).name == expected


@pytest.mark.parametrize(("name", "billions"), [row[1:] for row in ROWS if row[0] == "model" and row[2]])
def test_a_model_has_the_parameters_of_the_one_meant(name: str, billions: str) -> None:
    """Published counts are rounded, and some leave out embeddings or towers."""
    assert hub.resolve(name, offline=True).total_params / 1e9 == pytest.approx(float(billions), rel=0.05)


@pytest.mark.parametrize(("kind", "name"), [row[:2] for row in ROWS if not row[2]])
def test_what_is_not_known_is_refused(kind: str, name: str) -> None:
    with pytest.raises(SweetspotError):
        gpus.meant(name) if kind == "gpu" else hub.resolve(name, offline=True)
