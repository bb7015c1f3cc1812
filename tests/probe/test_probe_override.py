"""A measurement moves the plan of its GPU, by as much as it should, and of no other."""

from dataclasses import replace

import numpy as np
import pytest

from core.physics.ask import Load, desk
from core.probe.measurement import FALLBACK, Conditions, Measurement, Point, Quantity
from core.probe.override import differences, roofs, step_differences, with_measured
from core.probe.timing import Stop, Timing
from core.products import gpus
from core.products.formats import FORMATS, KV_FORMATS
from core.reading import catalogue
from core.terms import Deployment

SPEC = catalogue.load("meta-llama/Llama-3.1-8B")
GPU = gpus.find("H100 SXM5 80GB")


def point(quantity, fmt, seconds, kernel="torch", *, moved=0.0, flops=0.0, **shape):
    return Point(quantity, fmt, kernel, shape, Timing(seconds, seconds, seconds, 32, 0.001, Stop.SETTLED), moved, flops)


def measurement(*points, **changes):
    return replace(Measurement(
        device="NVIDIA H100 80GB HBM3", gpu=GPU.name, model=SPEC.name, driver="580", versions={}, date="2026-11-24",
        seconds=40.0, conditions=Conditions(True), points=points,
    ), **changes)


def weights(share, fmt="bf16", kernel="torch"):
    """A linear of one row that streams its weights at `share` of the data sheet."""
    moved = 2.0 * 4096 * 28672
    return point(Quantity.LINEAR, fmt, moved / (share * GPU.bandwidth_bytes_per_s), kernel, moved=moved,
                 M=1, N=28672, K=4096)


def tpot(gpu, fmt="bf16"):
    deployment = Deployment(gpu=gpu, weights=FORMATS[fmt], kv_cache=KV_FORMATS["bf16"])
    return float(desk([(SPEC, deployment)]).predict(Load(True, 1, 128, 128)).tpot_s.value[0])


def test_half_the_measured_bandwidth_takes_twice_the_weights_time():
    """Decode of one request is weights over bandwidth and little else (Llama-3.1-8B: 15 of 16 GB are matrices)."""
    high, low = (tpot(with_measured(GPU, measurement(weights(share)))) for share in (0.8, 0.4))
    assert 1.6 < low / high < 2.0


def test_a_measurement_as_estimated_changes_little():
    estimated = next(d for d in differences(SPEC, GPU, measurement(weights(0.9))) if "weights" in d.name)
    same = with_measured(GPU, measurement(weights(estimated.estimated / GPU.bandwidth_bytes_per_s)))
    assert tpot(same) == pytest.approx(tpot(GPU), rel=0.08)


def test_a_format_that_was_not_measured_does_not_win_by_that():
    """A card that streams 16-bit weights at a third of what was expected streams FP8 slower too."""
    slow = with_measured(GPU, measurement(weights(0.3)))
    assert tpot(slow) > 1.5 * tpot(GPU)
    assert tpot(slow, "fp8") > 1.4 * tpot(GPU, "fp8")


def test_a_format_that_was_measured_counts_itself():
    both = with_measured(GPU, measurement(weights(0.3), weights(0.8, "fp8")))
    assert both.measured["weights_bandwidth 16-bit"] == pytest.approx(0.3)
    assert both.measured["weights_bandwidth 8-bit"] == pytest.approx(0.8)


@pytest.mark.parametrize("other", [
    measurement(weights(0.3), gpu="H200 SXM 141GB"),
    measurement(weights(0.3), device="CPU: x", gpu=""),
    measurement(weights(0.3, kernel=f"sweetspot{FALLBACK}")),
])
def test_other_devices_and_fallback_kernels_change_nothing(other):
    assert with_measured(GPU, other) == GPU


def test_a_measured_matmul_rate_replaces_estimate_and_power_limit():
    peak = GPU.flops["bf16"]
    M, N, K = 4096, 28672, 4096
    one = point(Quantity.MATMUL, "bf16", 2.0 * M * N * K / (0.25 * peak), flops=2.0 * M * N * K, M=M, N=N, K=K)
    slow = with_measured(GPU, measurement(one))
    assert slow.measured == {"matmul_rate 16": pytest.approx(0.25), "doubt": 0.001, "doubt matmul_rate 16": 0.001}
    deployments = [Deployment(gpu=g, weights=FORMATS["bf16"], kv_cache=KV_FORMATS["bf16"]) for g in (GPU, slow)]
    before, after = desk((SPEC, d) for d in deployments).predict(Load(True, 1, 8192, 1)).ttft_s.value
    assert after > 1.15 * before


def ranges(gpu, fmt="bf16", batch=1.0):
    """Half-widths of TTFT, TPOT and throughput [log]."""
    deployment = Deployment(gpu=gpu, weights=FORMATS[fmt], kv_cache=KV_FORMATS["bf16"])
    found = desk([(SPEC, deployment)]).predict(Load(True, batch, 512, 128))
    return [float(np.log(r.high / r.value)[0]) for r in (found.ttft_s, found.tpot_s, found.output_tokens_per_s_per_gpu)]


def test_a_range_is_narrower_where_the_gpu_was_measured():
    """Three quarters of a decode step is weights streamed: TPOT follows; a prompt is arithmetic: TTFT hardly does."""
    before, after = ranges(GPU), ranges(with_measured(GPU, measurement(weights(0.8))))
    assert 0.74 < after[1] / before[1] < 0.85
    assert 0.73 < after[2] / before[2] < 0.85
    assert 0.9 < after[0] / before[0] <= 1.0


def test_what_was_inferred_narrows_nothing():
    assert ranges(with_measured(GPU, measurement(weights(0.8))), "fp8")[1] == pytest.approx(ranges(GPU, "fp8")[1])


def test_a_machine_that_was_not_quiet_leaves_doubt():
    loud = measurement(weights(0.8), conditions=Conditions(False, ("Others used it.",)))
    assert ranges(with_measured(GPU, loud))[1] > ranges(with_measured(GPU, measurement(weights(0.8))))[1]


def test_a_card_that_slows_when_warm_leaves_doubt_in_the_prompt_alone():
    """778 TFLOPS cool, 682 warm, 690 at the end (H100 SXM): the middle counts, 12 % below the best; TPOT is bytes."""
    def multiplied(*teraflops):
        return [point(Quantity.MATMUL, "bf16", 1e-3, flops=rate * 1e9, M=4096, N=28672, K=4096) for rate in teraflops]

    steady, slowing = (
        with_measured(GPU, measurement(weights(0.8), *multiplied(*rates))) for rates in ([690], [778, 682, 690])
    )
    assert slowing.measured["matmul_rate 16"] == steady.measured["matmul_rate 16"]
    assert slowing.measured["doubt matmul_rate 16"] == pytest.approx(np.log(778 / 690), rel=1e-3)
    (ttft, tpot, _), (wider, same, _) = ranges(steady), ranges(slowing)
    assert 0.6 < (wider**2 - ttft**2) ** 0.5 / np.log(778 / 690) < 1      # the part of a prompt's time that is matmuls
    assert same == pytest.approx(tpot, rel=0.01)


def test_all_reduces_move_plans_over_as_many_gpus():
    """t = 20 us + sent / 100 GB/s over two GPUs: far less than their NVLink gives."""
    sizes = [2**power for power in range(14, 27, 3)]
    slow = with_measured(GPU, measurement(*(
        point(Quantity.ALL_REDUCE, "bf16", 20e-6 + size / 100e9, moved=float(size), size=size, gpus=2) for size in sizes
    )))
    assert slow.measured["link_latency_s nvlink 2"] == pytest.approx(20e-6, rel=1e-3)
    assert slow.measured["link_rate nvlink 2"] == pytest.approx(100e9 / GPU.link_bytes_per_s, rel=1e-3)

    def over(gpus, gpu):
        deployment = Deployment(gpu=gpu, weights=FORMATS["bf16"], kv_cache=KV_FORMATS["bf16"], tp=gpus)
        return float(desk([(SPEC, deployment)]).predict(Load(True, 1, 512, 128)).tpot_s.value[0])

    assert over(2, slow) > over(2, GPU) + 60 * 10e-6      # two sums a layer, 32 layers, each at least 10 us slower
    assert over(4, slow) == over(4, GPU)


def test_a_decode_step_stands_beside_its_estimate_without_scheduling():
    """Blocks of 0.2 ms a layer and a head of 0.4 ms: 32 layers take 6.8 ms; 16 GB at 3.35 TB/s are 4.8 ms at best."""
    blocks = [point(Quantity.BLOCK, "bf16", 2e-4 * n, layers=n, batch=1, context=1024) for n in (2, 4, 8)]
    made = measurement(*blocks, point(Quantity.HEAD, "bf16", 4e-4, batch=1, N=128256, K=4096))
    (one,) = step_differences(SPEC, GPU, made)
    assert (one.format, one.batch, one.measured.seconds) == ("bf16", 1, pytest.approx(6.8e-3))
    assert 4.8e-3 < one.estimated_s < tpot(GPU)


def test_roofs_are_the_sheet_the_estimate_and_what_was_measured():
    fast = point(Quantity.MATMUL, "bf16", 1e-3, flops=0.7 * GPU.flops["bf16"] * 1e-3, M=4096, N=28672, K=4096)
    found = roofs(SPEC, GPU, measurement(weights(0.8), fast))
    assert list(found) == ["data sheet", "estimated", "measured"]
    assert found["data sheet"] == (GPU.bandwidth_bytes_per_s, GPU.flops["bf16"])
    assert found["measured"] == (
        pytest.approx(0.8 * GPU.bandwidth_bytes_per_s), pytest.approx(0.7 * GPU.flops["bf16"])
    )
    assert all(0.35 < low / high < 1 for low, high in zip(found["estimated"], found["data sheet"], strict=True))
    assert "measured" not in roofs(SPEC, GPU, measurement(weights(0.8)))


def test_differences_name_measured_estimated_and_data_sheet():
    sizes = [2.0**power for power in range(24, 31)]
    copies = [point(Quantity.COPY, "bytes", 5e-6 + s / 3e12, moved=s, size=int(s)) for s in sizes]
    found = {d.name: d for d in differences(SPEC, GPU, measurement(*copies, weights(0.8)))}
    assert found["Copy bandwidth"].measured == pytest.approx(3e12)
    assert found["Copy bandwidth"].data_sheet == GPU.bandwidth_bytes_per_s
    of_weights = found[f"{FORMATS['bf16'].label} weights, M = 1"]
    assert of_weights.measured == pytest.approx(0.8 * GPU.bandwidth_bytes_per_s)
    assert 0.6 < of_weights.estimated / of_weights.data_sheet < 0.99
