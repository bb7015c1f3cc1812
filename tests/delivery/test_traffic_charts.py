"""Pictures of traffic: what they clip, name and leave out."""

import json

from core.delivery import charts

RATES = [5.0, 10.0, 20.0]


def values(spec, mark):
    """Rows of every layer of a mark."""
    def kind(layer):
        return layer["mark"] if isinstance(layer["mark"], str) else layer["mark"]["type"]

    return [row for layer in spec["layer"] if kind(layer) == mark for row in layer["data"]["values"]]


def test_a_queue_that_only_grows_is_cut_off_at_twice_the_target():
    spec = charts.percentiles_over_rate(
        RATES, [60, 70, 9_000], [90, 100, 40_000], [150, 200, 90_000], title="TTFT, ms", slo_ms=1000, asked=10.0
    )
    drawn = values(spec, "line")
    assert max(row["y"] for row in drawn) == 2000
    assert max(row["value"] for row in drawn) == 90_000
    placed = {row["label"]: row["y"] for row in values(spec, "text") if row["label"].startswith("p")}
    assert placed["p99"] > placed["p90"] > placed["p50"] >= 0


def test_a_target_far_above_the_data_does_not_flatten_it():
    spec = charts.percentiles_over_rate(
        RATES, [4, 5, 6], [5, 6, 7], [6, 7, 8], title="TPOT, ms", slo_ms=50, asked=10.0
    )
    assert "target" not in json.dumps(spec)


def test_the_number_of_replicas_is_written_where_it_changes():
    spec = charts.cost_over_rate(
        [1, 2, 3, 4], [1, 1, 2, 2], [3.0, 3.0, 6.0, 6.0], [1.0] * 4, title="USD per hour", asked=2.0
    )
    assert [row["label"] for row in values(spec, "text") if "n" in row] == ["×1", "", "×2", ""]


def test_a_free_fleet_still_has_an_axis():
    spec = charts.cost_over_rate([1, 2], [1, 2], [0.0, 0.0], [0.0, 0.0], title="USD per hour", asked=1.0)
    assert "NaN" not in json.dumps(spec)


def test_hours_stand_beside_the_fixed_fleet():
    spec = charts.replicas_by_hour(["0", "1"], [1, 3], [5.0, 20.0], fixed=4, title="Hour of the day")
    assert [row["y"] for row in values(spec, "bar")] == [1, 3]
    assert [row["y"] for row in values(spec, "rule")] == [4]
