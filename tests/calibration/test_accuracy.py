"""Accuracy on published figures, by constants that never saw the architecture on that GPU."""

import numpy as np
import pytest

from core.calibration import track_record
from core.calibration.accuracy import Accuracy, breakdown, record, regret, table
from core.calibration.accuracy import accuracy as measure
from core.calibration.published import published


@pytest.fixture(scope="module")
def found() -> Accuracy:
    return measure()


# Median and 90 % of |estimate / measured - 1| on 2,887 published cases. For scale: aiconfigurator is off by
# 11-16 % on TPOT and 44-52 % on TTFT in the median of the public runs it answers, a textbook roofline by 60 %.
@pytest.mark.parametrize(
    "metric, median, p90", [("tpot", 0.12, 0.40), ("ttft", 0.27, 0.75), ("throughput", 0.10, 0.35)],
)
def test_errors_on_unseen_pairs(found, metric, median, p90):
    errors = found.record.errors(metric)
    assert errors.median < median
    assert errors.p90 < p90
    assert abs(errors.bias) < 0.06


def test_following_the_estimate_costs_little(found):
    assert found.regret_over_formats < 0.03
    assert found.regret_over_layouts < 0.015


def test_every_case_is_answered(found):
    answered = sum(np.isfinite(points.predicted).sum() for points in found.record.points.values())
    assert answered == sum(len(points.measured) for points in found.record.points.values()) == 4304


@pytest.mark.parametrize("metric", ["tpot", "ttft", "throughput"])
def test_ranges_hold_what_they_promise(found, metric):
    """80 % ranges on groups that neither the constants nor the ranges have seen."""
    assert 0.75 < found.coverage[metric] < 0.90


# Medians on the same cases once one of each deployment is known: a shift by every deployment's own median, which
# no single measurement can beat by much, leaves 10.4 % of TTFT, 4.3 % of TPOT and 4.1 % of throughput.
@pytest.mark.parametrize("metric, median", [("ttft", 0.18), ("tpot", 0.065), ("throughput", 0.075)])
def test_one_measurement_goes_far(found, metric, median):
    same, any_layout = found.anchored["same layout"][metric], found.anchored["any layout"][metric]
    assert same.median < median
    assert same.median < any_layout.median < found.record.errors(metric).median


def test_in_sample_is_better_than_unseen(found):
    for metric in track_record.METRICS:
        assert found.record.errors(metric, in_sample=True).median < found.record.errors(metric).median


def test_tables_name_what_they_score(found):
    assert "| TPOT | 1,865 |" in table(found)
    assert "| B200 SXM 180GB |" in breakdown(found.record, "gpu")
    assert "| gguf-Q4_K_M |" in breakdown(found.record, "weights")


def test_a_perfect_estimate_regrets_nothing():
    data = published()
    perfect = {metric: data.measured(metric) for metric in ("ttft", "tpot", "throughput")}
    assert regret(data, perfect, lambda d: (d.weights.name,), lambda d: (d.tp, d.pp, d.ep, d.dp)) == pytest.approx(0.0)
    points = record(data, perfect, perfect).points["tpot"]
    assert np.array_equal(points.measured, points.predicted)
