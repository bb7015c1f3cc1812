"""One desk for a load: plan, comparison, fleet, regime, estimate and the fit's table hear the same from it."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from core.answers import compare
from core.answers.regime import advice
from core.answers.sweep import points
from core.answers.traffic import Options, Trace, replica, simulate
from core.basics.places import ASSETS
from core.calibration.published import published
from core.delivery import estimate
from core.losses import Losses
from core.physics import memory
from core.physics.ask import SPARE_POOL, Load, desk
from core.probe.override import tpot_without
from core.products import formats, gpus
from core.products.versions import launched_release
from core.reading import catalogue
from core.terms import Deployment, Mode, Workload

H100 = "H100 SXM5 80GB"


def deployment(weights="bf16", **how):
    how = {"engine_version": launched_release("vllm")} | how        # as plans have it
    return Deployment(gpus.find(H100), formats.find(weights), formats.find_kv("bf16"), **how)


def times(prediction, row=0):
    return prediction.ttft_s.value[row], prediction.tpot_s.value[row]


@pytest.mark.parametrize("mode", [Mode.SERVING, Mode.STATIC])
@pytest.mark.parametrize(("model", "weights"), [
    ("meta-llama/Llama-3.1-8B", "bf16"),                    # every layer keeps all tokens
    ("google/gemma-3-27b-it", "bf16"),                      # five layers of six slide over 1,024
    ("openai/gpt-oss-20b", "mxfp4"),                        # every other layer slides over 128
    ("Qwen/Qwen3-Next-80B-A3B-Instruct", "fp8"),            # three layers of four keep a state
])
def test_all_who_ask_of_one_load_hear_the_same(model, weights, mode):
    """4,096 requests of 1,024 + 256 tokens: more than each cache holds, so that its rule decides about the times."""
    spec, load, d = catalogue.load(model), Workload(concurrency=4096, mode=mode), deployment(weights, tp=2)
    answer = desk([(spec, d)]).predict(Load.of(load))

    grid = points(spec, load, (d,), (), (4096,), (load.context_tokens,), gpu=d.gpu, engine=d.engine)
    board = compare.board(spec, [d.gpu], (d.engine,), 9.0, counts=(2,), formats=(weights,), kv_formats=("bf16",))
    field = compare.compare(board, load)
    mine = field.deployments.index(d)
    assert grid.capacity[0] == field.capacity[mine] < 4096
    assert times(grid.prediction) == times(answer)
    assert times(field.prediction, mine) == pytest.approx(times(answer), rel=1e-9)

    cells = {"model": model, "gpu": H100, "tp": "2", "weights": weights, "kv_cache": "bf16", "engine": d.engine,
             "engine_version": d.engine_version, "mode": str(mode),
             "concurrency": "4096", "input_tokens": "1024", "output_tokens": "256"}
    assert times(estimate.estimate([estimate.row(cells)], estimate.Bench(catalogue.load)).prediction) == times(answer)
    prefill, decode = advice(Losses(spec), d, load, 4096)
    before = {gain.figure: gain.before for part in (prefill, decode) for gain in part.helps}
    assert before["TTFT"] == pytest.approx(times(answer)[0], rel=1e-9)
    assert tpot_without(spec, d, load) == pytest.approx((times(answer)[1],) * 2, rel=1e-9)


def test_the_fit_learns_from_the_cache_that_estimates_are_made_with():
    """Every twentieth figure of the table, as a case of `estimate`."""
    with (ASSETS / "published.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for number, row in enumerate(csv.DictReader(file)) if number % 20 == 0]
    found = estimate.estimate([estimate.row(row) for row in rows], estimate.Bench(catalogue.load))
    asked, table, answered = found.cases, published().cases, found.loaded
    assert len(answered) > 0.8 * len(rows)          # some runs are of engines as they were, which refuse today
    assert np.array_equal(asked.held, table.held[::20][answered])
    assert np.array_equal(asked.concurrency, table.concurrency[::20][answered], equal_nan=True)


def test_sliding_windows_hold_more_requests_than_tokens_at_full_length_say():
    """gemma-3-27b: 52 of 62 layers keep 1,024 tokens, so a cache holds more tokens the longer its requests are."""
    spec, d = catalogue.load("google/gemma-3-27b-it"), deployment()
    held = desk([(spec, d)]).cases(Load(True, 1, np.array([1024.0, 32_512.0]), 256), np.zeros(2, np.intp)).held
    assert held[1] * 32_768 > 3 * held[0] * 1280


def test_requests_are_as_long_as_they_are_on_average_where_batches_are_continuous():
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    both = desk([(spec, deployment())] * 2).cases(Load(np.array([True, False]), 1, 1024, 1024)).held
    tokens = memory.footprint(spec, deployment()).kv_tokens
    assert both * (2048, 1536) == pytest.approx(tokens, rel=0.001)


def test_independent_replicas_are_worked_out_once_and_share_the_requests():
    """A dense model's; a mixture's spread their experts over all GPUs together (vLLM, data parallel deployment)."""
    def asked(name, weights):
        spec = catalogue.load(name)
        return desk([(spec, deployment(weights)), (spec, deployment(weights, dp=4))])

    dense, mixture = asked("meta-llama/Llama-3.1-8B", "bf16"), asked("openai/gpt-oss-20b", "mxfp4")
    assert (len(dense.parts), len(mixture.parts)) == (1, 2)
    one, four = dense.predict(Load(False, np.array([8.0, 32.0]), 1024, 256)).tpot_s.value
    assert one == four
    assert dense.capacity(1280.0)[1] == 4 * dense.capacity(1280.0)[0]


def test_what_is_over_its_memory_holds_nothing_and_is_timed_with_a_little_room():
    spec = catalogue.load("meta-llama/Llama-3.1-70B")
    over = desk([(spec, deployment())])
    assert not over.footprints[0].fits and over.capacity(1280.0)[0, 0] == 0
    token = 80 * 8 * 128 * 2 * 2                        # bytes: layers, KV heads, head size, keys and values, 16 bits
    room = SPARE_POOL * gpus.find(H100).memory_bytes
    assert over.cases(Load(True, 64, 1024, 256)).held[0] == pytest.approx(room / (1280 * token), rel=0.001)


def test_sglang_shares_its_pools_out_as_it_says():
    """gpt-oss-20b: full rows for all tokens, sliding ones for 0.8 of them (SGLang 0.5): full ones end first."""
    spec, d = catalogue.load("openai/gpt-oss-20b"), deployment("mxfp4", engine="sglang")
    footprint = memory.footprint(spec, d)
    assert footprint.max_concurrency(2048.0) * 2048 == pytest.approx(footprint.kv_tokens)


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
@pytest.mark.parametrize(("model", "weights"), [
    ("meta-llama/Llama-3.1-8B", "bf16"), ("google/gemma-3-27b-it", "bf16"), ("Qwen/Qwen3-Next-80B-A3B-Instruct", "fp8"),
])
def test_traffic_seats_as_many_requests_as_the_plan_says_a_cache_holds(model, weights, engine):
    """All come at once, and a step may take them all: those of the first step are those that the cache holds."""
    spec, d = catalogue.load(model), deployment(weights, tp=2, engine=engine)
    one = replica(spec, d, Options())
    unbound = replace(one.limits, max_num_seqs=10**6, max_num_batched_tokens=10**9)
    for length in (1280, 32_768):
        held = desk([(spec, d)]).capacity(float(length))[0, 0]
        many = int(held) + 10
        together = Trace(np.zeros(many), np.full(many, length - 1), np.ones(many, np.int64))
        outcome = simulate(together, one.steps, unbound)
        assert np.sum(outcome.ttft_s == outcome.ttft_s.min()) == held
