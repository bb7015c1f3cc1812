"""Accuracy on published figures, by constants that never saw the architecture on that GPU."""

import numpy as np
import pytest

from core.calibration import track_record
from core.calibration.accuracy import record, regret
from core.calibration.napkin import napkin
from core.calibration.published import published
from core.calibration.track_record import TrackRecord
from core.physics.ask import Load, desk
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment


@pytest.fixture(scope="module")
def kept() -> TrackRecord:
    return track_record.read()


# Median and 90 % of |estimate / measured - 1| by constants that never saw the architecture on that GPU.
@pytest.mark.parametrize(
    "metric, median, p90", [("tpot", 0.13, 0.42), ("ttft", 0.30, 0.85), ("throughput", 0.10, 0.38)],
)
def test_errors_on_unseen_pairs(kept, metric, median, p90):
    errors = kept.errors(metric)
    assert errors.median < median
    assert errors.p90 < p90
    assert abs(errors.bias) < 0.08


@pytest.mark.parametrize("metric", ["tpot", "ttft", "throughput"])
def test_we_are_nearer_than_a_napkin(kept, metric):
    """Bytes over 0.7 of the bandwidth, FLOPs over half the peak: also where whole sources were left out."""
    assert kept.beside["source"][metric].median < kept.beside["napkin"][metric].median
    assert kept.errors(metric).median < kept.beside["source"][metric].median     # strangers are harder


def test_every_case_is_answered(kept):
    assert all(np.isfinite(points.predicted).all() for points in kept.points.values())


def test_a_napkin_by_hand():
    """Llama-3.1-8B in BF16 on one H100: 16.06 GB less the embeddings' 1.05 over 0.7 x 3.35 TB/s are 6.4 ms."""
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    assert spec is not None
    one = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("bf16"), formats.find_kv("bf16"))
    found = napkin(desk([(spec, one)]).cases(Load(True, 1, 1, 2)))
    assert found["tpot"][0] == pytest.approx(6.4e-3, rel=0.01)


def test_a_perfect_estimate_regrets_nothing():
    data = published()
    perfect = {metric: data.measured(metric) for metric in ("ttft", "tpot", "throughput")}
    assert regret(data, perfect, lambda d: (d.weights.name,), lambda d: (d.tp, d.pp, d.ep, d.dp)) == pytest.approx(0.0)
    points = record(data, perfect, perfect).points["tpot"]
    assert np.array_equal(points.measured, points.predicted)
