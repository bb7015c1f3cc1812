"""The simulated scheduler against the steady state of `core.physics.speed.serving`: two ways to the same figures."""

from dataclasses import replace

import numpy as np
import pytest

from core.answers.traffic import Limits, Trace, simulate_closed, step_table
from core.physics import memory
from core.physics.efficiency import labels, load, rates
from core.physics.speed import serving
from core.physics.speed.steps import clock
from core.physics.speed.work import work
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment

# (model, GPU, weights, tp, engine)
DEPLOYMENTS = [
    ("meta-llama/Llama-3.1-8B", "H100 SXM5 80GB", "fp8", 1, "vllm"),
    ("meta-llama/Llama-3.1-8B", "L4", "fp8", 1, "sglang"),
    ("Qwen/Qwen3-32B", "H100 SXM5 80GB", "bf16", 2, "vllm"),
    ("meta-llama/Llama-3.1-70B", "A100 SXM4 80GB", "bf16", 4, "trtllm"),
    ("mistralai/Mixtral-8x7B-v0.1", "H200 SXM 141GB", "bf16", 2, "vllm"),
]
# (requests in flight, prompt tokens, answer tokens)
LOADS = [(1, 1024, 256), (8, 1024, 256), (32, 512, 1024), (64, 1024, 256)]


def deployed(model, gpu, weights, tp, engine):
    deployment = Deployment(
        gpus.find(gpu), formats.find(weights), formats.find_kv("bf16"), tp=tp, engine=engine
    )
    return catalogue.load(model), deployment


def steady(spec, deployment, kv_tokens, concurrency, prompt, answer):
    """Steady state with arrivals spread evenly: published benchmarks send theirs in waves, which the fitted
    `wave` and `synchronised_share` describe and a simulation of independent users must not have."""
    pairs = ((spec, deployment),)
    known = rates(labels(pairs), load())
    timer = clock(work(pairs), replace(known, wave=np.zeros(1), synchronised_share=np.zeros(1)))
    held = kv_tokens / (prompt + answer / 2)
    columns = (np.array([float(x)]) for x in (concurrency, prompt, answer, held))
    return serving.steady(timer, serving.Load(np.zeros(1, np.intp), *columns))


def simulated(spec, deployment, kv_tokens, concurrency, prompt, answer):
    """Mean TTFT, TPOT and tokens/s with that many requests in flight, lengths spread by 30 %, ends cut off."""
    rng = np.random.default_rng(0)
    n = max(12 * concurrency, 200)
    lengths = [np.rint(rng.uniform(0.7 * mean, 1.3 * mean, n)).astype(np.int64) for mean in (prompt, answer)]
    steps = step_table(spec, deployment)
    limits = Limits(lambda lengths: kv_tokens / lengths, steps.max_num_seqs, steps.max_num_batched_tokens,
                    request_s=steps.request_s, extra_steps=steps.extra_steps)
    outcome = simulate_closed(Trace(np.zeros(n), *lengths), steps, limits, concurrency)
    middle = slice(2 * concurrency, n - 2 * concurrency)
    tpot = (outcome.latency_s - outcome.ttft_s)[middle].sum() / (outcome.output_tokens - 1)[middle].sum()
    end = outcome.arrival_s + outcome.latency_s
    order = np.argsort(end)[middle]
    rate = outcome.output_tokens[order[1:]].sum() / (end[order[-1]] - end[order[0]])
    return outcome.ttft_s[middle].mean(), tpot, rate


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda d: f"{d[0].split('/')[1]}-{d[1].split()[0]}-{d[4]}")
@pytest.mark.parametrize("asked", LOADS, ids=lambda load: "-".join(map(str, load)))
def test_the_simulation_agrees_with_the_steady_state(deployment, asked):
    """TPOT and throughput within 5 %, and TTFT within 15 % where prompts seldom meet."""
    spec, deployment = deployed(*deployment)
    kv_tokens = memory.footprint(spec, deployment).kv_tokens
    ttft, tpot, rate = simulated(spec, deployment, kv_tokens, *asked)
    expected = steady(spec, deployment, kv_tokens, *asked)
    assert tpot == pytest.approx(expected.tpot_s[0], rel=0.05)
    assert rate == pytest.approx(expected.output_tokens_per_s[0], rel=0.05)
    if asked[0] <= 8:
        assert ttft == pytest.approx(expected.ttft_s[0], rel=0.15)


@pytest.mark.parametrize(("asked", "slower"), [((64, 4096, 128), 0.10), ((256, 512, 512), 0.20)])
def test_a_full_cache_costs_what_preemption_computes_again(asked, slower):
    """More requests than the cache holds: the steady state knows no preemption, so it bounds the simulation."""
    spec, deployment = deployed("meta-llama/Llama-3.1-8B", "L4", "fp8", 1, "vllm")
    kv_tokens = memory.footprint(spec, deployment).kv_tokens
    _, _, rate = simulated(spec, deployment, kv_tokens, *asked)
    expected = steady(spec, deployment, kv_tokens, *asked)
    assert expected.running[0] < asked[0] / 2
    assert (1 - slower) * expected.output_tokens_per_s[0] < rate < 1.02 * expected.output_tokens_per_s[0]
