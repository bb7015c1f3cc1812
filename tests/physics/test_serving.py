"""Serving: batches in time, and continuous batching in steady state."""

from dataclasses import replace

import numpy as np
import pytest

from core.physics.efficiency import labels, load, rates
from core.physics.speed import serving
from core.physics.speed.steps import Clock, clock
from core.physics.speed.work import work
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment


def clocked(engine: str = "vllm", dp: int = 1) -> Clock:
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    assert spec is not None
    d = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("bf16"), formats.find_kv("bf16"), dp=dp, engine=engine)
    return clock(work(((spec, d),)), rates(labels(((spec, d),)), load()))


def load_of(concurrency, inputs=1024.0, outputs=256.0, kv_tokens=442_576.0):
    """442,576 tokens: vLLM 0.33's KV cache of this model on this card (core.physics.memory), at the mean length."""
    rows = np.size(concurrency)
    return serving.Load(np.zeros(rows, np.intp), np.atleast_1d(np.asarray(concurrency, float)), np.full(rows, inputs),
                        np.full(rows, outputs), np.full(rows, kv_tokens / (inputs + outputs / 2)))


def test_littles_law_of_a_closed_loop():
    """Requests in flight = rate of requests x their latency."""
    times = serving.steady(clocked(), load_of([1.0, 8.0, 64.0, 256.0]))
    latency = times.ttft_s + 255 * times.tpot_s
    assert times.output_tokens_per_s / 256 * latency == pytest.approx(times.running, rel=1e-6)


def test_other_prompts_slow_the_decodes():
    """With n decoding and O tokens each, n/O prompts are prefilled a step: short answers suffer most."""
    timer = clocked()
    short, long = (serving.steady(timer, load_of(64.0, 2048, outputs)).tpot_s[0] for outputs in (64.0, 2048.0))
    alone = serving.static(timer, load_of(64.0, 2048, 64.0)).tpot_s[0]
    assert short > 1.5 * long
    assert short > alone


def test_what_waits_for_a_first_token_does_not_wait_again():
    """Started together or apart, a closed loop does the same work: TTFT gains what TPOT loses.

    SGLang 0.5.1, Qwen3-32B on four H100, 128 requests of 2,048 + 128 tokens: TTFT 4.7 s, half of what the
    prompts take together, and TPOT 50 ms where even arrivals would make it near 80.
    """
    timer = clocked()
    apart, waves = (
        serving.steady(replace(timer, rates=replace(timer.rates, synchronised_share=np.array([share]))),
                       load_of(64.0, 2048, 128.0)) for share in (0.0, 0.5)
    )
    assert waves.ttft_s[0] > 3 * apart.ttft_s[0]
    assert waves.tpot_s[0] < 0.9 * apart.tpot_s[0]
    latency = [times.ttft_s[0] + 127 * times.tpot_s[0] for times in (apart, waves)]
    assert latency[1] == pytest.approx(latency[0], rel=0.1)


def test_prompts_that_happen_to_come_together_grow_by_the_e_fold():
    """vLLM 0.19, MiniMax-M2.5 on four B300, 1,024 + 1,024 tokens: 52 ms at 4 requests, 71 at 16, 129 at 64: neither
    flat nor a line. Every e-fold of the requests puts `wave` more prompts ahead, each as long as one's own."""
    timer = clocked()
    own_s = timer.prefill(np.zeros(1, np.intp), np.ones(1), np.array([2048.0])).seconds[0]

    def ttft(wave: float, requests: float) -> float:
        rates = replace(timer.rates, wave=np.array([wave]), synchronised_share=np.zeros(1),
                        wait_steps=np.zeros(1))
        return float(serving.steady(replace(timer, rates=rates), load_of(requests, 2048, 512.0)).ttft_s[0])

    for requests in (4.0, 64.0):
        added_s = ttft(0.5, requests) - ttft(0.0, requests)
        assert added_s == pytest.approx(0.5 * np.log(requests) * own_s, rel=0.02)


def test_one_request_alone_is_a_static_batch_of_one_behind_a_server():
    timer = clocked()
    served, static = serving.steady(timer, load_of(1.0)), serving.static(timer, load_of(1.0))
    assert served.tpot_s[0] == pytest.approx(static.tpot_s[0], rel=0.02)
    assert served.ttft_s[0] > static.ttft_s[0]


def test_time_to_first_token_grows_with_the_queue():
    """vLLM 0.12, Qwen3-32B on two H100: TTFT grows 4.5x from 8 to 128 requests of 1,024 tokens in flight."""
    ttft = serving.steady(clocked(), load_of([8.0, 32.0, 128.0])).ttft_s
    assert np.all(np.diff(ttft) > 0)
    assert 2 < ttft[2] / ttft[0] < 9


def test_requests_beyond_the_cache_wait_for_a_seat():
    """100,000 tokens hold 86 requests of 1,024 + 256/2 tokens: the rest queue and only TTFT grows."""
    timer = clocked()
    fits, full, over = (serving.steady(timer, load_of(c, kv_tokens=100_000.0)) for c in (80.0, 86.0, 172.0))
    assert fits.running[0] == pytest.approx(80.0)
    assert over.running[0] == pytest.approx(100_000 / 1152, rel=1e-3)
    assert over.tpot_s[0] == pytest.approx(full.tpot_s[0], rel=0.05)
    assert over.ttft_s[0] > full.ttft_s[0] + 80 * full.tpot_s[0]
    assert over.crowding[0] == pytest.approx(172 / (100_000 / 1152), rel=1e-3)


def test_maximum_load_fills_the_cache_or_the_scheduler():
    """No concurrency means all requests queued: seats by the cache, and at most the engine's sequences."""
    small, large = (serving.steady(clocked(), load_of(np.nan, kv_tokens=tokens)) for tokens in (50_000.0, 1e9))
    assert 20 < small.running[0] < 50_000 / 1152 + 1
    assert large.running[0] == 256        # max_num_seqs of vLLM


def test_replicas_share_the_requests():
    two = serving.steady(clocked(dp=2), load_of(64.0))
    one = serving.steady(clocked(), load_of(32.0))
    assert two.tpot_s[0] == pytest.approx(one.tpot_s[0], rel=0.01)
    assert two.output_tokens_per_s[0] == pytest.approx(2 * one.output_tokens_per_s[0], rel=0.02)


def test_static_batches_decode_at_the_mean_context():
    timer = clocked()
    times = serving.static(timer, load_of(16.0, 4096, 1024))
    step = timer.decode(np.zeros(1, np.intp), np.array([16.0]), np.array([4096 + 512.0])).seconds
    assert times.tpot_s[0] == pytest.approx(step[0])
    assert times.output_tokens_per_s[0] == pytest.approx(16 * 1024 / (times.ttft_s[0] + 1023 * times.tpot_s[0]))
