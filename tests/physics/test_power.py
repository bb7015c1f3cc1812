"""Power and energy: a share of the card's limit by what limits a step."""

from dataclasses import replace

import numpy as np
import pytest

from core.answers import compare
from core.answers.advice import recommend
from core.delivery.export.comparison import comparison_rows, front_picture, offers
from core.physics.ask import Load, desk
from core.physics.speed import kwh_per_million, tokens_per_joule
from core.products import gpus
from core.products.formats import find, find_kv
from core.reading import catalogue
from core.terms import Deployment, Workload

H100 = gpus.find("H100 SXM5 80GB")
LLAMA = catalogue.load("meta-llama/Llama-3.1-8B")


def answered(gpu=H100, **load):
    asked = {"concurrency": 16.0, "input_tokens": 1024.0, "output_tokens": 256.0} | load
    return desk([(LLAMA, Deployment(gpu, find("bf16"), find_kv("bf16")))]).predict(Load(False, **asked))


def test_power_lies_between_idle_and_the_limit():
    """118 W idle with a context, 700 W at the limit: telemetry of the recorded probes."""
    for load in ({"concurrency": 1.0}, {"concurrency": 256.0}, {"input_tokens": 16_384.0, "output_tokens": 1.0}):
        watts = answered(**load).watts_per_gpu
        assert 118 < watts.low[0] < watts.value[0] < watts.high[0] <= 700


def test_prompts_draw_more_than_answers():
    answers = answered(concurrency=4.0, input_tokens=64.0, output_tokens=1024.0).watts_per_gpu.value[0]
    prompts = answered(concurrency=4.0, input_tokens=8192.0, output_tokens=2.0).watts_per_gpu.value[0]
    assert prompts > 1.2 * answers and prompts > 0.85 * 700


def test_a_million_tokens_is_watts_over_rate():
    p = answered()
    rate, energy = p.output_tokens_per_s_per_gpu, kwh_per_million(p.watts_per_gpu, p.output_tokens_per_s_per_gpu)
    assert energy.value[0] == pytest.approx(p.watts_per_gpu.value[0] / rate.value[0] * 1e6 / 3.6e6)
    good = tokens_per_joule(p.watts_per_gpu, rate)
    assert good.value[0] == pytest.approx(1e6 / 3.6e6 / energy.value[0])
    assert energy.low[0] < energy.value[0] < energy.high[0]


def test_batching_saves_energy():
    one, many = (answered(concurrency=n) for n in (1.0, 64.0))
    assert tokens_per_joule(many.watts_per_gpu, many.output_tokens_per_s_per_gpu).value[0] > 10 * tokens_per_joule(
        one.watts_per_gpu, one.output_tokens_per_s_per_gpu).value[0]


def test_a_lower_limit_draws_less_and_an_unknown_one_nothing_is_said_of():
    assert answered(replace(H100, tdp_w=350.0)).watts_per_gpu.value[0] < answered().watts_per_gpu.value[0]
    plan = recommend(LLAMA, replace(H100, tdp_w=None), Workload())
    assert plan.best.watts_per_gpu is None and plan.best.kwh_per_million_output_tokens is None
    assert np.isnan(answered(replace(H100, tdp_w=None)).watts_per_gpu.value[0])


def test_compare_weighs_speed_against_energy():
    """An L4 of 72 W makes more tokens per joule than an H100 at the same targets, and costs less power."""
    field = compare.compare(
        compare.board(LLAMA, [H100, gpus.find("L4"), gpus.find("GeForce RTX 4090")], ["vllm"], counts=(1,)),
        Workload(concurrency=8))
    on_front = compare.front(field, field.fits, compare.Against.ENERGY)
    rows = np.flatnonzero(on_front)
    best = max(rows, key=lambda row: field.tokens_per_joule[row])
    assert field.tokens_per_joule[best] == pytest.approx(np.nanmax(field.tokens_per_joule[field.fits]))
    cells = next(iter(comparison_rows(field, [best], on_front)))
    assert cells["kwh_per_million_output_tokens_low"] < cells["kwh_per_million_output_tokens"]
    points = offers(field, map(int, rows), on_front, compare.Against.ENERGY)
    drawn = str(front_picture(field, points, compare.picks(field, field.meets_slo), compare.Against.ENERGY))
    assert "Tokens for each joule" in drawn
