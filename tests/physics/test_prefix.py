"""Prefixes that are found in the cache: what is still computed, what is held once, what a load then needs."""

from dataclasses import replace

import numpy as np
import pytest

from core.answers.advice import Standing, recommend
from core.physics import memory
from core.physics.ask import Load, desk
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment, Workload

H100 = gpus.find("H100 SXM5 80GB")
VLLM = Deployment(H100, formats.find("fp8"), formats.find_kv("bf16"))
PROMPT, ANSWER = 20_000, 256


@pytest.fixture(scope="module")
def spec():
    return catalogue.load("meta-llama/Llama-3.1-8B")


def seen(spec, deployment, rate, *, static=True, concurrency=1.0):
    return desk([(spec, deployment)]).predict(Load(static, concurrency, PROMPT, ANSWER, rate))


def test_an_engine_without_a_prefix_cache_computes_the_whole_prompt():
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    for engine, reuses in (("hf-eager", False), ("llamacpp", True)):
        d = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("fp16"), formats.find_kv("fp16"), engine=engine)
        plain, found = (desk([(spec, d)]).predict(Load(True, 1.0, 8000.0, 64.0, rate)).ttft_s.value[0]
                        for rate in (0.0, 0.9))
        assert (found < plain / 3) == reuses and (found == plain) != reuses


def test_nothing_found_changes_nothing(spec):
    plain = desk([(spec, VLLM)]).predict(Load(False, 8.0, PROMPT, ANSWER))
    assert seen(spec, VLLM, 0.0, static=False, concurrency=8.0).ttft_s.value == plain.ttft_s.value


def test_all_found_leaves_one_token_to_compute(spec):
    """The last token is always computed, for its logits: vLLM's `get_computed_blocks` looks up num_tokens - 1."""
    whole, found = seen(spec, VLLM, 0.0), seen(spec, VLLM, 1.0)
    assert found.ttft_s.value[0] < 2 * found.tpot_s.value[0] < whole.ttft_s.value[0] / 20


def test_decode_reads_the_whole_context_whatever_was_found(spec):
    assert seen(spec, VLLM, 0.95).tpot_s.value == seen(spec, VLLM, 0.0).tpot_s.value


def test_new_tokens_attend_to_the_found_ones(spec):
    """Causal scores of n new tokens behind c: (c + n)^2 - c^2 of (c + n)^2; of 20,000 with 95 % found 9.75 %, not 5."""
    timer = desk([(spec, VLLM)]).timed.clock
    one, prompt, new = np.zeros(1, np.intp), np.array([float(PROMPT)]), np.array([1_000.0])
    share = timer.prompt_attention(one, new, new, prompt - new) / timer.prompt_attention(one, prompt, prompt)
    assert share[0] == pytest.approx(1 - 0.95**2, rel=0.01)


def test_a_shared_prefix_is_held_once(spec):
    """Llama-3.1-8B: 131,072 B a token in BF16; blocks of 16: 19,008 shared once, 1,248 of each request's own."""
    footprint, shared, own = memory.footprint(spec, VLLM), 19_008, 1_248
    held = footprint.max_concurrency(float(shared + own), float(shared))
    assert held == pytest.approx((footprint.kv_cache_bytes - shared * 131_072) / (own * 131_072))
    taken = footprint.taken_bytes(40, shared + own, shared) - footprint.taken_bytes(0, 0)
    assert taken == (shared + 40 * own) * 131_072


def test_an_engine_whose_slots_share_nothing_holds_every_prefix(spec):
    slots = memory.footprint(spec, replace(VLLM, engine="llamacpp", weights=formats.find("gguf-q8_0")))
    assert slots.max_concurrency(20_256.0, 19_000.0) == slots.max_concurrency(20_256.0)


def test_long_prompts_with_most_of_it_found_can_be_served():
    """Asked for by users: 20k-token prompts, 95 % cached, 40 in flight on A100s; without that nothing serves them."""
    model, a100 = catalogue.load("meta-llama/Llama-3.3-70B-Instruct"), gpus.find("A100 SXM4 80GB")
    load = Workload(PROMPT, ANSWER, 40, prefix_hit_rate=0.95, ttft_slo_s=3.0, tpot_slo_s=0.1)
    assert recommend(model, a100, load).standing is Standing.MET
    assert recommend(model, a100, replace(load, prefix_hit_rate=0.0)).standing is not Standing.MET
