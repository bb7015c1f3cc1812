"""Options of a replica against their laws, and the whole study of a question."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from core.answers.traffic import (
    PRESETS,
    Effect,
    Fleet,
    Hour,
    Lengths,
    Limits,
    Options,
    Question,
    RatePoint,
    Slo,
    Speculation,
    Split,
    Trace,
    bill,
    first_look,
    generate,
    read_trace,
    replica,
    serve,
    serve_disaggregated,
    simulate,
    smallest_fleet,
    study,
)
from core.basics.errors import InputError
from core.physics import memory
from core.products import formats, gpus
from core.products.drafters import Drafter
from core.reading import catalogue
from core.terms import Deployment

MODEL = "meta-llama/Llama-3.1-8B"
SLO = Slo(1.0, 0.05, 0.99)


@pytest.fixture(scope="module")
def spec():
    return catalogue.load(MODEL)


@pytest.fixture(scope="module")
def deployment():
    return Deployment(gpus.find("H100 SXM5 80GB"), formats.find("fp8"), formats.find_kv("bf16"))


def roomy(lengths):
    """A cache of a million tokens."""
    return 1e6 / lengths


def one_request(prompt, answer):
    return Trace(np.zeros(1), np.array([prompt]), np.array([answer]))


class Steps:
    """10 ms a step, 20 us a prompt token."""

    def seconds(self, decoding, context_tokens, prefill_tokens):
        return 0.01 + 2e-5 * prefill_tokens

    def attention_s(self, start, end):
        return 0.0


# -- speculative decoding ---------------------------------------------------------------------------


def test_speculation_pays_for_one_user_and_less_for_many(spec, deployment):
    """The most there is: the tokens of a check over a step that checking leaves alone (Leviathan et al. 2023)."""
    speculation = Speculation(0.6, 3)
    drafting = replace(deployment, drafter=Drafter.EAGLE3)
    plain = replica(spec, drafting, Options()).steps
    fast = replica(spec, drafting, Options(speculation=speculation)).steps
    alone = plain.seconds(1, 1000.0, 0) / fast.seconds(1, 1000.0, 0)
    crowded = plain.seconds(256, 256_000.0, 0) / fast.seconds(256, 256_000.0, 0)
    assert 0.55 * speculation.tokens_per_step < alone < speculation.tokens_per_step
    assert crowded < 0.9 * alone


# -- caches -----------------------------------------------------------------------------------------


def test_offload_brings_a_preempted_cache_back_instead_of_computing_it():
    """Two sequences that do not fit together: the second comes back after its wait."""
    two = Trace(np.zeros(2), np.array([1000, 1000]), np.array([600, 600]))
    computed = simulate(two, Steps(), Limits(lambda lengths: 2500 / lengths, 8, 8192))
    loaded = simulate(two, Steps(), Limits(lambda lengths: 2500 / lengths, 8, 8192, host_s_per_token=2e-6))
    assert computed.preemptions == loaded.preemptions == 1
    again = computed.latency_s[1] - loaded.latency_s[1]
    held = 1000 + 250               # tokens when the cache of 2,500 was full
    assert again == pytest.approx(held * (2e-5 - 2e-6), rel=0.01)


def test_a_prefix_on_the_host_costs_its_transfer():
    here = simulate(one_request(1000, 2), Steps(), Limits(roomy, 8, 8192, prefix_reuse=0.5)).ttft_s[0]
    host = simulate(
        one_request(1000, 2), Steps(), Limits(roomy, 8, 8192, host_reuse=0.5, host_s_per_token=1e-6)
    ).ttft_s[0]
    assert host - here == pytest.approx(500 * 1e-6)


def test_the_host_link_carries_the_cache_of_a_token(spec, deployment):
    """Llama-3.1-8B in 16 bits: 2 x 32 layers x 8 heads x 128 x 2 B = 128 KiB a token, over PCIe 5.0 x16 63 GB/s."""
    limits = replica(spec, deployment, Options(offload=True)).limits
    assert limits.host_s_per_token == pytest.approx(131_072 / 63.0e9, rel=0.01)


def test_smaller_chunks_steady_answers_and_slow_first_tokens(spec, deployment):
    """Sarathi-Serve, OSDI 2024: the trade between both."""
    requests = generate(6, 120, Lengths("long prompts", 6000, 0.0, 200, 0.0, "test"))
    served = {}
    for chunk in (256, 8192):
        one = replica(spec, deployment, Options(chunk_tokens=chunk))
        assert one.limits.max_num_batched_tokens == chunk
        served[chunk] = serve(requests, one.steps, one.limits, 1, SLO)
    assert served[256].ttft.p50 > served[8192].ttft.p50


# -- fleets -----------------------------------------------------------------------------------------


def test_a_sample_of_the_replicas_stands_for_all(spec, deployment):
    one = replica(spec, deployment, Options())
    requests = generate(120, 60, PRESETS[0])
    whole = serve(requests, one.steps, one.limits, 12, SLO)
    sample = serve(requests, one.steps, one.limits, 12, SLO, most_requests=2000)
    assert sample.requests < 0.4 * whole.requests
    assert sample.replicas == 12
    assert sample.ttft.p90 == pytest.approx(whole.ttft.p90, rel=0.1)
    assert sample.output_tokens_per_s == pytest.approx(whole.output_tokens_per_s, rel=0.15)


def test_goodput_is_what_is_offered_and_output_what_flows_while_requests_arrive(spec, deployment):
    """Far below capacity, all 5 requests a second are good and their tokens flow as fast as they are asked for."""
    one = replica(spec, deployment, Options())
    requests = generate(5, 120, PRESETS[0])
    served = serve(requests, one.steps, one.limits, 2, SLO)
    assert served.goodput_per_s == pytest.approx(5.0, rel=0.01)
    assert served.output_tokens_per_s == pytest.approx(5.0 * requests.output_tokens.mean(), rel=0.1)


def test_a_far_guess_finds_the_same_fleet(spec, deployment):
    one = replica(spec, deployment, Options())
    requests = generate(60, 60, PRESETS[0])
    sizes = {smallest_fleet(requests, one.steps, one.limits, SLO, guess=guess).needed for guess in (1, 3, 20)}
    assert len(sizes) == 1
    assert sizes.pop() > 1


def test_apart_no_prompt_delays_an_answer_and_none_is_lost():
    requests = Trace(np.arange(40) * 0.5, np.full(40, 2000), np.where(np.arange(40) % 4, 50, 1))
    apart = serve_disaggregated(requests, Steps(), Limits(roomy, 64, 8192), 1, 1, 1e-7, Slo(1, 1))
    assert (apart.requests, apart.refused) == (40, 0)
    assert apart.ttft.p50 == pytest.approx(0.01 + 2000 * 2e-5)
    assert apart.tpot.p50 == pytest.approx(0.01, rel=0.1)


def test_a_free_gpu_costs_nothing_and_a_silent_one_divides_by_nothing():
    assert bill(3, 1, 0.0, 500.0).per_million_output_tokens == 0
    assert bill(3, 1, 2.0, 0.0).per_million_output_tokens == np.inf


# -- the study --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def question(spec, deployment):
    options = Options(chunk_tokens=1024, prefix_reuse=0.3, offload=True, host_reuse=0.2, speculation=Speculation(0.7))
    drafting = replace(deployment, drafter=Drafter.EAGLE3)
    return Question(spec, drafting, options, generate(60, 20, PRESETS[0]), SLO, windows=4)


def test_the_study_answers_everything_in_order(question):
    done = []
    parts = list(study(question, lambda fraction, note: done.append(fraction)))
    kinds = [type(part[0] if isinstance(part, tuple) else part) for part in parts]
    assert list(dict.fromkeys(kinds)) == [Fleet, RatePoint, Hour, Split, Effect]
    assert done == sorted(done)
    fleet, *_ = parts
    assert fleet.service.holds(SLO)
    points = [part for part in parts if isinstance(part, RatePoint)]
    assert all(slower.needed <= faster.needed for slower, faster in pairwise(points))
    assert points[0].service.ttft.p99 < points[-1].service.ttft.p99
    assert [part.name for part in parts if isinstance(part, Effect)] == [
        "Speculative decoding", "Prefix caching", "KV offload", "Chunk size",
    ]
    effects = {part.name: part for part in parts if isinstance(part, Effect)}
    assert effects["Speculative decoding"].service.tpot.p50 < effects["Speculative decoding"].without.tpot.p50
    assert effects["Prefix caching"].service.ttft.p50 < effects["Prefix caching"].without.ttft.p50


def test_the_study_stops_where_it_is_told_to(question):
    class Stopped(Exception):
        pass

    def stop(fraction, note):
        if fraction > 0.1:
            raise Stopped

    found = []
    with pytest.raises(Stopped):
        for part in study(question, stop):
            found.append(part)
    assert [type(part) for part in found] == [Fleet]


def test_the_first_look_is_near_the_whole(spec, deployment):
    question = Question(spec, deployment, Options(), generate(90, 120, PRESETS[0]), SLO)
    quick, points = first_look(question)
    whole = next(iter(study(question, lambda fraction, note: None)))
    assert abs(quick.needed - whole.needed) <= 1
    assert len(points) > 5


# -- what cannot be ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("make", "says"), [
    (lambda: Options(chunk_tokens=3), "tokens of one step"),
    (lambda: Options(prefix_reuse=0.8, offload=True, host_reuse=0.5), "add up"),
    (lambda: Options(prefix_reuse=-0.1), "add up"),
    (lambda: Speculation(1.1), "share of drafts kept"),
    (lambda: Speculation(0.5, 0), "tokens drafted"),
])
def test_an_absurd_option_is_refused_in_one_sentence(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_a_deployment_that_does_not_fit_is_refused(deployment):
    with pytest.raises(InputError, match="does not fit"):
        replica(catalogue.load("meta-llama/Llama-3.1-405B"), deployment, Options())


def test_prompts_beyond_the_whole_cache_are_said_so(spec, deployment):
    one = replica(spec, deployment, Options())
    longer = Lengths("books", 2 * memory.footprint(spec, deployment).kv_tokens, 0.0, 10, 0.0, "test")
    with pytest.raises(InputError, match="cache holds"):
        smallest_fleet(generate(1, 30, longer), one.steps, one.limits, SLO)


def test_a_trace_may_carry_dates_and_come_out_of_order():
    """The columns of the Azure LLM inference trace 2023."""
    requests = read_trace(
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2023-11-16 18:17:03.9799600,374,44\n2023-11-16 18:17:01.4799600,396,109\n"
    )
    assert requests.arrival_s == pytest.approx([0.0, 2.5])
    assert requests.input_tokens.tolist() == [396, 374]
    assert not requests.was_in_order


def test_faster_and_busiest():
    requests = generate(5, 200, PRESETS[0], day_swing=0.9)
    assert requests.requests_per_s == pytest.approx(5.0)
    assert requests.at_rate(3).requests_per_s == pytest.approx(15.0)
    assert requests.busiest(100).requests_per_s > 8
    assert len(requests.busiest(10**9)) == len(requests)


def test_presets_name_their_source():
    for lengths in PRESETS:
        assert lengths.source
        assert 0 <= lengths.prefix_reuse < 1
