"""The stopping rule, the fits and the file of a measurement, without a GPU and without torch."""

import itertools
import json
from dataclasses import asdict
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.basics.errors import InputError
from core.probe.clock import ProcessorClock
from core.probe.fit import DecodeStep, FullModel, ceilings, crossings, extrapolate, line
from core.probe.measurement import DIMENSIONS, Conditions, Measurement, Point, Quantity, from_json, to_json
from core.probe.timing import BLOCK, MAX_SAMPLES, Stop, Timing, settle


def sampler(values):
    iterator = iter(values)
    return lambda: next(iterator)


def noisy(level, spread, seed=0):
    rng = np.random.default_rng(seed)
    while True:
        yield level * (1 + spread * rng.standard_normal())


def test_a_quiet_machine_settles_soon():
    timing = settle(sampler(noisy(1e-3, 0.003)), deadline_s=10, now_s=lambda: 0.0)
    assert timing.stop is Stop.SETTLED
    assert timing.samples == 4 * BLOCK
    assert timing.median_s == pytest.approx(1e-3, rel=0.002)
    assert timing.p10_s < timing.median_s < timing.p90_s


def test_a_clock_ramp_is_waited_out():
    """Time falls 30 % over 200 samples: the answer is the level at rest, not the mean of the ramp."""
    ramp = (1.3e-3 - 0.3e-3 * min(1.0, i / 200) for i in itertools.count())
    timing = settle(sampler(ramp), deadline_s=10, now_s=lambda: 0.0)
    assert timing.stop is Stop.SETTLED
    assert timing.samples > 180
    assert timing.median_s == pytest.approx(1e-3, rel=0.015)


def test_a_noisy_machine_runs_out_of_samples_and_says_so():
    timing = settle(sampler(noisy(1e-3, 0.3)), deadline_s=10, now_s=lambda: 0.0)
    assert (timing.stop, timing.samples) == (Stop.COUNT, MAX_SAMPLES)
    assert timing.relative_ci > 0.01


def test_the_deadline_ends_it_after_a_whole_block():
    clock = itertools.count()
    timing = settle(sampler(noisy(1e-3, 0.3)), deadline_s=2, now_s=lambda: next(clock))
    assert timing.stop is Stop.DEADLINE
    assert timing.samples == 3 * BLOCK


@pytest.mark.parametrize(("warm_up_s", "warming"), [(0.03, 3), (0.25, 25)])
def test_an_operator_runs_for_a_while_before_its_first_sample(monkeypatch, warm_up_s, warming):
    """A clock that ticks 10 ms a look: one run before the first look, then one between two."""
    looks, runs = itertools.count(), []
    ticking = SimpleNamespace(monotonic=lambda: 0.01 * next(looks), perf_counter=itertools.count().__next__)
    monkeypatch.setattr("core.probe.clock.time", ticking)
    timing = ProcessorClock(None).time([lambda: runs.append(1)], 10.0, warm_up_s=warm_up_s)
    assert (timing.samples, len(runs)) == (4 * BLOCK, 4 * BLOCK + warming)


def point(quantity, fmt, seconds, *, moved=0.0, flops=0.0, **shape):
    timing = Timing(seconds, seconds * 0.99, seconds * 1.01, 32, 0.004, Stop.SETTLED)
    return Point(quantity, fmt, "torch 2.13.0", shape, timing, moved, flops)


def measurement(points):
    return Measurement(
        device="NVIDIA H200", gpu="H200 SXM 141GB", model="m", driver="580.1", versions={"torch": "2.13.0"},
        date="2026-11-24T12:00:00+00:00", seconds=41.0,
        conditions=Conditions(True, ("ECC on",), ({"sm_clock_mhz": 1980.0},)), points=tuple(points), lost=("one",),
    )


def test_bandwidth_and_launch_time_come_back_from_exact_lines():
    """t = 4 us + bytes / 4.3 TB/s."""
    sizes = [2.0**power for power in range(20, 31)]
    found = line(sizes, [4e-6 + size / 4.3e12 for size in sizes])
    assert (found.start_s, found.rate_per_s) == (pytest.approx(4e-6), pytest.approx(4.3e12))
    assert found.spread < 1e-9


def test_a_falling_time_is_no_bandwidth():
    assert line([1e6, 2e6, 3e6], [3e-3, 2e-3, 1e-3]) is None


def test_a_matmul_rate_is_what_most_large_matmuls_reached():
    """The first on a cool H100 and those after it [TFLOPS]; M = 512 is not yet as fast as it gets."""
    rates = {4096: 777.6, 2048: 681.4, 8192: 682.4, 1024: 690.6, 512: 500.0}
    points = [
        point(Quantity.MATMUL, "bf16", 1e-3, flops=rate * 1e9, M=M, N=28672, K=4096) for M, rate in rates.items()
    ]
    found = ceilings(measurement(points))
    assert found.matmul_flops_per_s == {"bf16": pytest.approx(686.5e12)}
    assert found.matmul_doubt == {"bf16": pytest.approx(np.log(777.6 / 686.5))}


def test_ceilings_take_each_format_at_its_best():
    sizes = [2.0**power for power in range(24, 31)]
    points = [point(Quantity.COPY, "bytes", 5e-6 + s / 4e12, moved=s, size=int(s)) for s in sizes]
    points += [
        point(Quantity.LINEAR, "bf16", 1e-4, moved=3.2e8, flops=1e9, M=1, N=14336, K=4096),
        point(Quantity.LINEAR, "bf16", 1e-3, moved=3.2e8, flops=7e11, M=4096, N=14336, K=4096),
        point(Quantity.LINEAR, "int4", 3e-5, moved=8e7, flops=1e9, M=1, N=14336, K=4096),
        point(Quantity.ATTENTION, "bf16", 1e-3, moved=2e9, batch=16, context=8192),
    ]
    found = ceilings(measurement(points))
    assert found.copy_bytes_per_s == pytest.approx(4e12)
    assert found.read_bytes_per_s is None
    assert found.weights_bytes_per_s == {"bf16": pytest.approx(3.2e12), "int4": pytest.approx(8e7 / 3e-5)}
    assert found.matmul_flops_per_s == {"bf16": pytest.approx(7e14)}
    assert found.kv_bytes_per_s == {"bf16": pytest.approx(2e12)}
    assert found.launch_s == pytest.approx(5e-6)


def test_a_model_is_its_layers_times_the_slope():
    """0.1 ms a layer, 0.05 ms once, a head of 0.2 ms: 32 layers take 3.45 ms."""
    full = extrapolate([2, 8], [0.25e-3, 0.85e-3], 0.2e-3, 32, 0.003)
    assert full.seconds == pytest.approx(3.45e-3)
    assert full.high_s - full.seconds == pytest.approx(0.003 * 3.45e-3)


def test_a_bent_line_widens_the_range():
    straight = extrapolate([2, 4, 8], [0.25e-3, 0.45e-3, 0.85e-3], 0.2e-3, 32, 0.003)
    bent = extrapolate([2, 4, 8], [0.25e-3, 0.49e-3, 0.85e-3], 0.2e-3, 32, 0.003)
    assert bent.seconds == pytest.approx(straight.seconds)
    assert bent.high_s - bent.seconds > 10 * (straight.high_s - straight.seconds)


def steps(**milliseconds):
    """Format -> decode step by batch [ms]."""
    return [
        DecodeStep(fmt.replace("_", "-"), batch, FullModel(ms / 1e3, ms / 1e3, ms / 1e3))
        for fmt, row in milliseconds.items() for batch, ms in row.items()
    ]


def test_a_format_stops_paying_where_its_line_meets_the_16_bit_one():
    """Twice as fast at 16, half as fast at 256: level in the middle of the logs, at 64."""
    made = steps(bf16={16: 8.0, 256: 16.0}, awq_int4={16: 4.0, 256: 32.0}, fp8={16: 6.0, 256: 12.0})
    found = crossings(made)
    assert set(found) == {"awq-int4"}
    batch, rate = found["awq-int4"]
    assert batch == pytest.approx(64.0)
    assert rate == pytest.approx((16 / 8e-3 * 256 / 16e-3) ** 0.5)


def test_without_16_bit_nothing_crosses():
    assert crossings(steps(fp8={16: 6.0, 256: 12.0})) == {}


def test_what_an_integer_type_multiplies_at_is_not_read_off_its_weights():
    """8-bit weights that are widened multiply in 16 bits; w8a8 streams as many bytes, but is another kernel."""
    points = [
        point(Quantity.LINEAR, "int8", 1e-3, moved=1e8, flops=5e11, M=2048, N=8192, K=8192),
        point(Quantity.MATMUL, "int8", 1e-3, moved=1e8, flops=9e11, M=4096, N=8192, K=8192),
        point(Quantity.MATMUL, "int8", 1e-5, moved=1e8, flops=1e8, M=1, N=8192, K=8192),
        point(Quantity.LINEAR, "int8", 5e-5, moved=1e8, flops=1e8, M=1, N=8192, K=8192),
    ]
    found = ceilings(measurement(points))
    assert found.matmul_flops_per_s == {"int8": pytest.approx(9e14)}
    assert found.weights_bytes_per_s == {"int8": pytest.approx(2e12)}


def test_one_depth_is_not_enough():
    with pytest.raises(ValueError, match="two depths"):
        extrapolate([2, 2], [1.0, 1.0], 0.1, 32, 0.01)


def test_a_measurement_travels_whole():
    one = measurement([point(Quantity.COPY, "bytes", 1e-3, moved=4e9, size=4_000_000_000)])
    assert from_json(to_json(one)) == one


def edited(**changes):
    one = measurement([point(Quantity.COPY, "bytes", 1e-3, moved=4e9, size=4)])
    return json.dumps({"sweetspot_measurement": 1, **asdict(one)} | changes)


@pytest.mark.parametrize("text, says", [
    ("", "not JSON"),
    ("[" * 200_000, "nested too deeply"),
    ('{"sweetspot_measurement": 9}', "this version"),
    ('{"sweetspot_measurement": 1}', "is missing"),
    (edited(points=[]), "points"),
    (edited(points="x" * 10), "points"),
    (edited(device="x" * 1000), "longer than"),
    (edited(seconds=-1), "negative"),
    (edited(seconds="fast"), "not a number"),
    (edited(seconds=float("nan")), "no number"),
    ("x" * 4_000_001, "larger than"),
])
def test_a_bad_file_is_refused_in_one_sentence(text, says):
    with pytest.raises(InputError, match=says):
        from_json(text)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150)
@given(key=st.sampled_from(["points", "conditions", "versions", "lost", "date", "seconds"]), value=JSON)
def test_any_replaced_part_is_read_or_refused(key, value):
    try:
        assert from_json(edited(**{key: value})).device == "NVIDIA H200"
    except InputError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(("quantity", "dimension"), [(q, name) for q, names in DIMENSIONS.items() for name in names])
def test_a_point_without_one_of_its_extents_is_refused(quantity, dimension):
    whole = dict.fromkeys(DIMENSIONS[quantity], 4)
    one = measurement([point(quantity, "bf16", 1e-3, moved=4e9, **whole)])
    assert from_json(to_json(one)) == one
    for broken in ({name: 4 for name in whole if name != dimension}, whole | {dimension: 0}):
        with pytest.raises(InputError, match=dimension):
            from_json(to_json(measurement([point(quantity, "bf16", 1e-3, moved=4e9, **broken)])))
