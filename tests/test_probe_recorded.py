"""What an H100 and an H200 gave on 2026-11-26, as it ships."""

from statistics import median

import pytest

from core import catalogue, gpus
from core.probe.fit import ceilings, speed_over_16_bit
from core.probe.override import step_differences, usable
from core.probe.recorded import recorded

RUNS = recorded()


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_is_of_a_catalogued_gpu_on_a_quiet_machine(name):
    run = RUNS[name]
    assert usable(run) and run.conditions.quiet and run.seconds < 60


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_comes_near_the_data_sheet(name):
    """At least 85 % of its bandwidth, as a card at rest copies; 72 % of its peak at the least, in the narrow matrices
    of 30B-A3B; and never above."""
    reached, gpu = ceilings(RUNS[name]), gpus.find(RUNS[name].gpu)
    assert 0.85 < reached.copy_bytes_per_s / gpu.bandwidth_bytes_per_s < 1
    assert 0.70 < reached.matmul_flops_per_s["bf16"] / gpu.peak("bf16") < 1
    assert all(rate < gpu.bandwidth_bytes_per_s for rate in reached.weights_bytes_per_s.values())


def test_int4_is_twice_as_fast_at_batch_one_and_stops_paying():
    run = next(run for name, run in RUNS.items() if "H200" in name and "Llama" in name)
    by_rows = speed_over_16_bit(run.points)["gptq-int4"]
    assert by_rows[1] > 2 and by_rows[2048] < 1.2


@pytest.mark.parametrize("name", [name for name in RUNS if "A3B" not in name])
def test_the_estimate_of_a_dense_decode_step_is_near_what_was_measured(name):
    """No measurement enters the estimate; half of its errors are below 15 %."""
    run = RUNS[name]
    steps = step_differences(catalogue.load(run.model), gpus.find(run.gpu), run)
    assert len(steps) == 12
    assert median(abs(one.estimated_s / one.measured.seconds - 1) for one in steps) < 0.15
