"""What an H100 and an H200 gave on 2026-11-26, as it ships."""

from math import exp
from statistics import median

import pytest

from core.probe.fit import ceilings, speed_over_16_bit
from core.probe.override import step_differences, usable, with_measured
from core.probe.recorded import recorded
from core.products import gpus
from core.reading import catalogue

RUNS = recorded()


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_is_of_a_catalogued_gpu_on_a_quiet_machine(name):
    run = RUNS[name]
    assert usable(run) and run.conditions.quiet and run.seconds < 60


@pytest.mark.parametrize("name", RUNS)
def test_a_recorded_run_comes_near_the_data_sheet(name):
    """At least 85 % of its bandwidth, as a card at rest copies; 67 % of its peak at the least, at its power limit;
    and never above."""
    reached, gpu = ceilings(RUNS[name]), gpus.find(RUNS[name].gpu)
    assert 0.85 < reached.copy_bytes_per_s / gpu.bandwidth_bytes_per_s < 1
    assert 0.66 < reached.matmul_flops_per_s["bf16"] / gpu.peak("bf16") < 1
    assert all(rate < gpu.bandwidth_bytes_per_s for rate in reached.weights_bytes_per_s.values())


@pytest.mark.parametrize(("name", "cool", "warm"), [
    ("NVIDIA H100 80GB HBM3, meta-llama/Llama-3.1-8B", 777.6, 682.4),
    ("NVIDIA H100 80GB HBM3, Qwen/Qwen3-30B-A3B", 710.8, 673.2),
    ("NVIDIA H100 80GB HBM3, Qwen/Qwen3-32B", 765.4, 727.0),
    ("NVIDIA H200, meta-llama/Llama-3.1-8B", 791.0, 681.0),
    ("NVIDIA H200, Qwen/Qwen3-30B-A3B", 737.6, 658.3),
    ("NVIDIA H200, Qwen/Qwen3-32B", 791.2, 685.8),
])
def test_a_measured_prefill_rate_is_a_warm_card_s_and_its_range_holds_the_cool_one(name, cool, warm):
    """bf16 matmuls [TFLOPS]: M = 4096, the first after the start, and M = 8192, half a minute later."""
    run = RUNS[f"{name}, 2026-11-26"]
    gpu = with_measured(gpus.find(run.gpu), run)
    rate = gpu.measured["matmul_rate 16"] * gpu.peak("bf16") / 1e12
    factor = exp(gpu.measured["doubt matmul_rate 16"])
    assert abs(rate - warm) < abs(rate - cool)
    assert rate / factor <= warm and cool <= rate * factor * 1.0001


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
