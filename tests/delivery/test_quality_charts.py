"""Pictures of quality: valid, every range drawn, the choice ringed and named, ticks only where the axis is."""

import altair
import pytest

from core.delivery import charts
from core.delivery.charts import Strayed, Weighed
from core.terms import Basis, Estimate

LOSSES = {      # Llama-3.1-8B: pytorch/ao README for FP8, AWQ between 8B models of its family; the rest made up
    "BF16": (10.4, Estimate(0, 0, 0, Basis.PUBLISHED, "")),
    "FP8": (7.7, Estimate(0.01, 0.008, 0.012, Basis.PUBLISHED, "")),
    "AWQ INT4": (8.2, Estimate(0.05, 0.035, 0.08, Basis.ESTIMATED, "")),
    "INT8 W8A8": (7.4, Estimate(-0.001, -0.003, 0.001, Basis.MEASURED, "")),
}


def against(chosen="FP8", losses=LOSSES):
    formats = [Weighed(name, x, loss, name == chosen) for name, (x, loss) in losses.items()]
    return charts.loss_against(formats, "TPOT", "ms", 0.02)


def values(spec, field):
    return [row[field] for layer in spec["layer"] for row in layer["data"]["values"] if field in row]


def strayed():
    """As SmolLM2-135M did on a processor, and one variant that came out broken."""
    return charts.divergence([
        Strayed("BF16 floor", 0.0013, 0.0001, True), Strayed("INT8 RTN g128", 0.0034, 0.0005, False),
        Strayed("INT4 RTN g128", 0.375, 0.02, False), Strayed("broken", 3.1, 0.4, False),
    ])


@pytest.mark.parametrize("spec", [against(), against("BF16", {"BF16": LOSSES["BF16"]}), strayed()],
                         ids=["trade-off", "one format", "divergence"])
def test_specifications_are_valid(spec):
    altair.LayerChart.from_dict(spec)


def test_every_format_is_drawn_with_its_range_on_one_scale():
    spec = against()
    assert sorted(set(values(spec, "low"))) == pytest.approx([-0.3, 0, 0.8, 3.5])
    assert sorted(set(values(spec, "high"))) == pytest.approx([0, 0.1, 1.2, 8])
    hues = {layer["mark"]["color"] for layer in spec["layer"] if layer["mark"]["type"] == "point" and
            layer["mark"].get("filled")}
    assert hues == {charts.HUES[basis] for basis in Basis}


def test_the_choice_is_ringed_and_named_and_so_is_what_nothing_beats():
    spec = against()
    ring = next(layer for layer in spec["layer"] if layer["mark"].get("filled") is False)
    assert ring["data"]["values"] == [{"x": 7.7, "loss": 1.0}]
    named = {row["name"] for layer in spec["layer"] if layer["mark"]["type"] == "text" and "y" in layer["encoding"]
             for row in layer["data"]["values"] if "name" in row}
    assert named == {"FP8", "INT8 W8A8"}        # W8A8 is faster and loses less than everything else
    assert "accepted 2 %" in values(spec, "label")


def test_ticks_of_the_divergence_stay_on_its_axis():
    x = strayed()["layer"][0]["encoding"]["x"]
    low, high = x["scale"]["domain"]
    assert low == 0.001 and high == pytest.approx(6.2)
    assert x["axis"]["values"] == pytest.approx([0.001, 0.01, 0.1, 1.0])
