"""Charts: valid Vega-Lite, the lines where they belong, colours that can be told from both backgrounds."""

import altair
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.delivery import charts
from core.delivery.charts import Segment
from core.delivery.charts.batch import leaders, stops_paying_at
from core.delivery.charts.style import BLUE, CYCLE, ORANGE, spread

BATCHES = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024]
TPOT_MS = np.array([7.0, 7.1, 7.3, 7.6, 8.2, 9.5, 12.0, 17.0, 27.0, 48.0, 92.0])
LIGHT, DARK = "#ffffff", "#0f1420"


def throughput(memory_limit=300.0, chosen=16, limit=250):
    tokens_per_s = 1000 * np.array(BATCHES) / TPOT_MS
    return charts.throughput_over_batch(
        BATCHES, tokens_per_s, 0.9 * tokens_per_s, 1.1 * tokens_per_s,
        memory_limit=memory_limit, limit=limit, best_value=120, chosen=chosen,
    )


def tpot(slo_ms=50.0):
    return charts.time_over_batch(
        BATCHES, TPOT_MS, 0.9 * TPOT_MS, 1.1 * TPOT_MS, name="TPOT", memory_limit=300.0, limit=250, slo_ms=slo_ms,
        chosen=16,
    )


def heat(fits=None):
    values = np.outer(np.ones(3), TPOT_MS)
    fits = np.ones_like(values) if fits is None else fits
    return charts.batch_by_context(
        BATCHES, [1024, 4096, 16384], values,
        fits=fits, meets=values < 50, title="TPOT, ms", chosen=(16, 1280),
    )


def bar(*gib, memory_gib=80.0):
    segments = [Segment(f"part {n}", size, charts.colour(n)) for n, size in enumerate(gib)]
    return charts.memory_bar(segments, memory_gib=memory_gib, usable_gib=0.9 * memory_gib)


def formats():
    return charts.formats_over_batch(
        BATCHES,
        {"BF16": np.ones(11), "INT4": np.linspace(3, 0.5, 11)},
        baseline="BF16", chosen="INT4", at=16,
    )


def texts(spec):
    """Every label a chart writes."""
    return [
        row[key]
        for layer in spec["layer"]
        for row in layer.get("data", {}).get("values", [])
        for key in ("label", "name")
        if key in row
    ]


@pytest.mark.parametrize(
    "spec",
    [
        throughput(), throughput(memory_limit=1e9), throughput(memory_limit=0.0), tpot(), tpot(slo_ms=5000), heat(),
        bar(15, 6), formats(),
    ],
)
def test_every_chart_is_valid_vega_lite(spec):
    altair.LayerChart.from_dict(spec, validate=True)


def test_the_memory_bar_grows_past_the_memory_line():
    scale = bar(60, 45)["layer"][0]["encoding"]["x"]["scale"]
    assert scale["domain"][1] == pytest.approx(105 * 1.04)
    assert bar(15, 6)["layer"][0]["encoding"]["x"]["scale"]["domain"][1] == pytest.approx(80 * 1.04)
    assert "80 GiB of memory" in texts(bar(60, 45))


def test_nothing_is_drawn_where_nothing_can_run():
    spec = throughput(memory_limit=100, limit=90)
    for layer in spec["layer"][:3]:
        assert [row["batch"] for row in layer["data"]["values"]][-2:] == [64, 100]
        assert layer["encoding"]["x"]["scale"]["domain"] == [1, 128]
    assert "memory ends at 100" in texts(spec)


def test_the_batch_to_run_is_marked():
    assert {"batch limit 250", "best value up to 120", "this load: 16"} <= set(texts(throughput()))
    assert "batch limit 300: memory ends" in texts(throughput(limit=300))
    assert not any("batch limit" in text for text in texts(throughput(limit=None)))


def test_a_target_far_above_the_curve_does_not_flatten_it():
    assert "target 50 ms" in texts(tpot(50))
    assert not any("target" in text for text in texts(tpot(60_000)))


def test_where_a_format_stops_paying():
    """3.02 falls to 0.52 in ten doublings of the batch: to 1.02 after eight of them."""
    assert stops_paying_at(BATCHES, np.linspace(3.02, 0.52, 11)) == pytest.approx(256)
    assert stops_paying_at(BATCHES, np.full(11, 1.2)) is None
    assert stops_paying_at(BATCHES, np.full(11, 0.9)) is None


def test_the_lead_changes_only_for_more_than_two_per_cent():
    lines = {"INT4": [2.0, 1.5, 1.0], "FP8": [1.5, 1.52, 1.4], "INT8": [1.4, 1.4, 1.41]}
    assert leaders([1, 16, 256], lines) == [(1, "INT4"), (256, "INT8")]


def test_cells_that_do_not_fit_show_no_figure():
    fits = np.ones((3, 11), dtype=bool)
    fits[2, 5:] = False
    cells = heat(fits)["layer"][0]["data"]["values"]
    assert [cell["label"] for cell in cells if cell["says"] == "does not fit"] == ["–"] * 6
    framed = [(cell["batch"], cell["context"]) for cell in cells if cell["framed"]]
    assert framed == [(16, 1024)]


def luminance(colour):
    """WCAG 2.2 relative luminance."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("colour", CYCLE)
@pytest.mark.parametrize("background", [LIGHT, DARK])
def test_lines_stand_out_on_both_backgrounds(colour, background):
    """WCAG 2.2, 1.4.11: graphics need a contrast of 3:1."""
    low, high = sorted([luminance(colour), luminance(background)])
    assert (high + 0.05) / (low + 0.05) >= 3.0


@given(st.lists(st.floats(0, 100), min_size=1, max_size=8))
def test_labels_never_overlap_and_keep_their_order(positions):
    placed = spread(positions, gap=3.0)
    order = np.argsort(positions, kind="stable")
    assert (np.diff(np.asarray(placed)[order]) >= 3.0 - 1e-9).all()
    assert abs(np.mean(placed) - np.mean(positions)) < 1e-6


# -- one colour, one meaning ------------------------------------------------------------------------

# Those a probe of a GPU draws together: the nine of the recorded H100 run.
PROBED = ("BF16", "FP8", "INT8 W8A8", "INT8 weight-only", "AWQ INT4", "GPTQ INT4", "NVFP4", "bitsandbytes NF4",
          "bitsandbytes INT8")


def test_nine_formats_have_nine_marks():
    """A colour and a dash each; none is orange, which is the recommendation."""
    marks = [charts.format_mark(label) for label in PROBED]
    assert len(set(marks)) == 9 and ORANGE not in {mark.hue for mark in marks}
    assert charts.format_mark("INT8 weights") == charts.format_mark("INT8 weight-only")     # as it fits beside a line


def test_the_recommended_line_lies_on_top_and_names_what_lies_under_it():
    batch, fp8 = (1, 2, 4), [1.3, 1.4, 1.6]
    spec = charts.formats_over_batch(
        batch, {"BF16": [1.0] * 3, "FP8": fp8, "INT8 W8A8": fp8}, baseline="BF16", chosen="FP8", at=2)
    lines = [layer for layer in spec["layer"] if layer["mark"]["type"] == "line"]
    assert lines[-1]["mark"]["color"] == BLUE
    assert lines[-1]["mark"]["strokeWidth"] > max(line["mark"]["strokeWidth"] for line in lines[:-1])
    names = {layer["data"]["values"][0].get("name") for layer in spec["layer"] if layer["mark"]["type"] == "text"}
    assert names >= {"BF16", "FP8", "= INT8 W8A8"}


def test_times_that_nobody_knows_draw_without_a_warning(recwarn):
    """A single token has no TPOT: every value is NaN."""
    nothing = [float("nan")] * 3
    spec = charts.time_over_batch((1, 2, 4), nothing, nothing, nothing, name="TPOT", memory_limit=8, limit=None,
                                  slo_ms=50.0, chosen=2)
    assert spec["layer"] and not recwarn.list


def test_a_fleet_costs_in_steps():
    """Replicas are whole: no line may run through prices that do not exist."""
    spec = charts.cost_over_rate([1, 2, 3], [1, 1, 2], [3.0, 3.0, 6.0], [1.0, 1.0, 1.0], title="USD per hour", asked=2)
    assert spec["layer"][0]["mark"]["interpolate"] == "step-before"
