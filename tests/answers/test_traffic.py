"""The scheduler against closed forms, conservation laws and hostile traces."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from core.answers.traffic import (
    PRESETS,
    Lengths,
    Limits,
    Slo,
    Trace,
    autoscale,
    bill,
    generate,
    read_trace,
    serve,
    serve_disaggregated,
    simulate,
    smallest_fleet,
)
from core.basics.errors import InputError

CHAT = PRESETS[0]


def holding(tokens):
    """A cache of that many tokens, whatever their requests' lengths."""
    return lambda lengths: tokens / lengths


ROOMY = Limits(holding(1e9), max_num_seqs=256, max_num_batched_tokens=8192)


class Steps:
    """Fixed cost, cost per sequence, per cached token and per prompt token [s]."""

    def __init__(self, fixed=0.008, sequence=2e-5, cached=1e-8, prompt=2e-5):
        self.fixed, self.sequence, self.cached, self.prompt = fixed, sequence, cached, prompt

    def seconds(self, decoding, context_tokens, prefill_tokens):
        return self.fixed + self.sequence * decoding + self.cached * context_tokens + self.prompt * prefill_tokens

    def attention_s(self, start, end):
        return 0.0


def trace(arrivals, inputs, outputs):
    return Trace(np.asarray(arrivals, float), np.asarray(inputs, np.int64), np.asarray(outputs, np.int64))


def test_one_request_takes_its_prompt_and_its_steps():
    steps = Steps(cached=0.0)
    outcome = simulate(trace([5.0], [100], [11]), steps, ROOMY)
    assert_allclose(outcome.ttft_s, 0.008 + 100 * 2e-5)
    assert_allclose(outcome.tpot_s, 0.008 + 2e-5)


def test_context_grows_token_by_token():
    """100 steps taken together cost what 100 single steps cost: the sum of an arithmetic series."""
    steps = Steps(cached=1e-6)
    outcome = simulate(trace([0.0], [50], [101]), steps, ROOMY)
    series = sum(0.008 + 2e-5 + 1e-6 * (51 + i) for i in range(100))
    assert_allclose(outcome.latency_s - outcome.ttft_s, series, rtol=1e-9)


def test_long_prompts_are_cut_into_chunks():
    steps = Steps()
    limits = Limits(holding(1e9), 256, 1024)
    outcome = simulate(trace([0.0], [4096], [1]), steps, limits)
    assert_allclose(outcome.ttft_s, 4 * 0.008 + 4096 * 2e-5)


def test_single_server_queue_waits_as_pollaczek_khinchine_says():
    """One seat, answers of one token: M/G/1. Mean wait = rate E[S^2] / (2 (1 - rho))."""
    rng = np.random.default_rng(7)
    n, rate = 60_000, 20.0
    prompts = np.maximum(1, rng.exponential(1500, n)).astype(np.int64)
    requests = trace(np.cumsum(rng.exponential(1 / rate, n)), prompts, np.ones(n))
    outcome = simulate(requests, Steps(fixed=0.0), Limits(holding(1e9), 1, 10**9))
    service = prompts * 2e-5
    rho = rate * service.mean()
    wait = rate * (service**2).mean() / (2 * (1 - rho))
    assert rho == pytest.approx(0.6, rel=0.02)
    assert (outcome.ttft_s - service).mean() == pytest.approx(wait, rel=0.05)


def test_even_arrivals_below_capacity_never_wait():
    """D/D/1 at 90 % load: latency is the service time."""
    requests = trace(np.arange(500) * 0.1, np.full(500, 4500), np.ones(500))
    outcome = simulate(requests, Steps(fixed=0.0), Limits(holding(1e9), 1, 10**9))
    assert_allclose(outcome.latency_s, 0.09, rtol=1e-9)


@pytest.mark.parametrize("kv_tokens", [1e9, 30_000])
def test_little_s_law(kv_tokens):
    """Mean number in the system = rate x mean time in it, with and without preemption."""
    requests = generate(7, 1800, CHAT, max_context=32_768)
    outcome = simulate(requests, Steps(), Limits(holding(kv_tokens), 256, 8192, request_s=0.01, extra_steps=0.5))
    ended = ~outcome.refused
    rate = ended.sum() / (outcome.end_s - requests.arrival_s[0])
    assert outcome.in_system == pytest.approx(rate * outcome.latency_s[ended].mean(), rel=0.01)
    assert (outcome.preemptions > 0) == (kv_tokens < 1e6)


@settings(max_examples=60)
@given(
    requests=st.lists(st.tuples(st.floats(0, 50), st.integers(1, 900), st.integers(1, 300)), min_size=1, max_size=60),
    kv_tokens=st.integers(50, 3000),
    seats=st.integers(1, 16),
    budget=st.integers(1, 512),
    reuse=st.floats(0, 1),
)
def test_every_request_ends_or_is_refused(requests, kv_tokens, seats, budget, reuse):
    arrivals, inputs, outputs = zip(*sorted(requests), strict=True)
    requests = trace(arrivals, inputs, outputs)
    outcome = simulate(requests, Steps(), Limits(holding(kv_tokens), seats, budget, reuse))
    too_long = -(-(requests.input_tokens + requests.output_tokens) // 16) * 16 > kv_tokens     # in whole blocks
    assert (outcome.refused == too_long).all()
    ended = ~outcome.refused
    assert (outcome.ttft_s[ended] > 0).all()
    assert (outcome.latency_s[ended] >= outcome.ttft_s[ended]).all()
    assert (outcome.latency_s[ended] >= (requests.output_tokens[ended] - 1) * 0.008).all()
    assert outcome.kv_peak <= 1.0
    assert outcome.busy_s <= outcome.end_s - requests.arrival_s[0] + 1e-9


def test_a_full_cache_preempts_the_youngest_and_loses_no_token():
    """Two sequences of 60 tokens in a cache of 112, seven blocks: the second must start again."""
    outcome = simulate(trace([0, 0], [10, 10], [50, 50]), Steps(), Limits(holding(112), 8, 64))
    assert outcome.preemptions == 1
    assert outcome.latency_s[0] < outcome.latency_s[1]
    assert outcome.kv_peak <= 1.0


def test_prefix_reuse_shortens_the_first_token():
    one = trace([0.0], [1000], [5])
    cold = simulate(one, Steps(), ROOMY).ttft_s[0]
    warm = simulate(one, Steps(), Limits(holding(1e9), 256, 8192, prefix_reuse=0.75)).ttft_s[0]
    assert cold - warm == pytest.approx(750 * 2e-5)


def test_generated_traffic_has_the_rate_burstiness_and_lengths_asked_for():
    """Gaps: coefficient of variation 1/sqrt(burstiness). Lengths: the preset's median and 90th percentile."""
    for burstiness in (0.25, 1.0, 4.0):
        requests = generate(20, 3000, CHAT, burstiness=burstiness)
        gaps = np.diff(requests.arrival_s)
        assert requests.requests_per_s == pytest.approx(20, rel=0.03)
        assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)
    assert np.median(requests.input_tokens) == pytest.approx(1020, rel=0.03)
    assert np.quantile(requests.output_tokens, 0.9) == pytest.approx(424, rel=0.03)


def test_a_day_swings_around_its_mean():
    requests = generate(10, 3600, CHAT, day_swing=0.8)
    thirds = np.histogram(requests.arrival_s, bins=12, range=(0, 3600))[0] / 300
    assert thirds.mean() == pytest.approx(10, rel=0.05)
    assert thirds[0] == pytest.approx(10 * (1 - 0.8 * np.sinc(1 / 12) * np.cos(np.pi / 12)), rel=0.15)
    assert thirds[5] > 1.7 * 10


def test_the_smallest_fleet_holds_and_one_less_does_not():
    requests = generate(30, 300, CHAT, max_context=32_768)
    limits, slo = Limits(holding(30_000), 256, 8192), Slo(1.0, 0.05, 0.95)
    fleet = smallest_fleet(requests, Steps(), limits, slo)
    assert fleet.service.holds(slo)
    assert fleet.needed > 1
    assert not serve(requests, Steps(), limits, fleet.needed - 1, slo).holds(slo)
    busier = replace(requests, arrival_s=requests.arrival_s / 1.2)
    assert serve(busier, Steps(), limits, fleet.with_headroom, slo).holds(slo)
    assert not serve(busier, Steps(), limits, fleet.with_headroom - 1, slo).holds(slo)
    assert fleet.to_buy == fleet.with_headroom + 1


def test_autoscaling_follows_the_day_and_never_needs_more_than_the_peak():
    requests = generate(12, 2400, CHAT, day_swing=0.9, max_context=32_768)
    limits, slo = Limits(holding(30_000), 256, 8192), Slo(1.5, 0.05, 0.9)
    hours = autoscale(requests, Steps(), limits, slo, windows=8)
    busiest = max(hours, key=lambda hour: hour.requests_per_s)
    assert busiest.replicas == max(hour.replicas for hour in hours) > hours[0].replicas


def test_a_windows_fleet_holds_its_load_for_as_long_as_it_comes():
    """Windows of 5 s end before a queue shows that one replica is too few: they are repeated to two minutes."""
    even = trace(np.arange(600) / 10, np.full(600, 512), np.full(600, 64))
    limits, slo = Limits(holding(2_900), 256, 8192), Slo(2.0, 0.05, 0.99)      # five requests at a time
    fleet = smallest_fleet(even.repeated(2, 60.0), Steps(), limits, slo)
    hours = autoscale(even, Steps(), limits, slo, windows=12)
    assert fleet.needed > 1 and {hour.replicas for hour in hours} == {fleet.needed}
    twice = even.repeated(2, 60.0)
    assert len(twice) == 1200 and np.all(np.diff(twice.arrival_s) > 0) and even.repeated(1, 60.0) is even


def test_disaggregation_takes_prompts_away_from_answers():
    """Separate prefill and decode: no prompt delays a token, so TPOT is the pure decode step."""
    requests = generate(6, 600, Lengths("long", 6000, 0, 100, 0, "test"))
    together = serve(requests, Steps(), ROOMY, 2, Slo(5, 0.05))
    apart = serve_disaggregated(requests, Steps(), ROOMY, 1, 1, 1e-7, Slo(5, 0.05))
    assert apart.tpot.p99 < 0.6 * together.tpot.p99
    assert apart.refused == together.refused == 0
    assert apart.requests == len(requests)


def test_bill():
    """2 replicas of 4 GPUs at 3 USD/h: 24 USD/h, 17,520 USD a month of 730 h; 1,000 tokens/s: 6.67 USD per million."""
    cost = bill(2, 4, 3.0, 1000.0)
    assert (cost.per_hour, cost.per_month) == (24.0, 17_520.0)
    assert cost.per_million_output_tokens == pytest.approx(24 / 3.6)


def test_traces_are_sorted_and_start_at_zero():
    requests = read_trace("timestamp,prompt_tokens,completion_tokens\n7.5,10,3\n2.5,20,4\n")
    assert requests.arrival_s.tolist() == [0.0, 5.0]
    assert requests.input_tokens.tolist() == [20, 10]


@pytest.mark.parametrize("text, says", [
    ("", "no column for arrival, input, output"),
    ("arrival_s,input_tokens,output_tokens\n", "no request"),
    ("arrival_s,input_tokens\n1,2\n", "no column for output"),
    ("arrival_s,input_tokens,output_tokens\n1,x,2\n", "Line 2"),
    ("arrival_s,input_tokens,output_tokens\n1,5,2\n1,-5,2\n", "Line 3"),
    ("arrival_s,input_tokens,output_tokens\nnan,5,2\n", "out of range"),
    ("arrival_s,input_tokens,output_tokens\n1,5,2\n1,6,2\n", "same moment"),
    ("arrival_s,input_tokens,output_tokens\n1,5,2\n" + "9" * 200_000, "not CSV|neither a number"),
    ("arrival_s,input_tokens,output_tokens\n1,5\n", "neither a number nor"),
    ("arrival_s,input_tokens,output_tokens\n0,5,2\ninf,5,2\n", "Line 3 .* an arrival is a time"),
    ("arrival_s,input_tokens,output_tokens\n0,1e400,2\n1,5,2\n", "tokens lie between 1 and 10,000,000"),
    ("arrival_s,input_tokens,output_tokens\n-1e308,5,2\n1e308,5,2\n", "must be seconds or dates"),
    ("arrival_s,input_tokens,output_tokens\n0,5,2\n3600000,5,2\n", "spans 41.67 days"),
    ("arrival_s,input_tokens,output_tokens\n0,5,2\n1e-9,5,2\n", "more than 100,000 requests per second"),
])
def test_a_bad_trace_is_refused_in_one_sentence(text, says):
    with pytest.raises(InputError, match=says):
        read_trace(text)


@settings(max_examples=200)
@given(header=st.sampled_from(["", "arrival_s,input_tokens,output_tokens\n"]), rest=st.text(max_size=200))
def test_rubbish_is_refused_and_nothing_else_happens(header, rest):
    try:
        read = read_trace(header + rest)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert len(read) > 1


@pytest.mark.parametrize("changes, says", [
    ({"rate": -1.0}, "requests per second"),
    ({"burstiness": 0.0}, "burstiness"),
    ({"day_swing": 1.5}, "day swing"),
    ({"rate": 1e4}, "lower the rate"),
])
def test_absurd_traffic_is_refused(changes, says):
    asked = {"rate": 1.0, "duration_s": 3600.0, **changes}
    with pytest.raises(InputError, match=says):
        generate(lengths=CHAT, **asked)


@pytest.mark.parametrize("slo, says", [
    (Slo(0.001, 1.0), "to its first token"),
    (Slo(10.0, 0.001), "per token"),
])
def test_an_slo_no_fleet_can_hold_says_so(slo, says):
    with pytest.raises(InputError, match=says):
        smallest_fleet(generate(1, 60, CHAT), Steps(), ROOMY, slo)


def test_requests_longer_than_any_cache_are_said_so():
    long = trace(np.arange(20), np.full(20, 50), np.where(np.arange(20) % 2, 50, 10_000))
    with pytest.raises(InputError, match=r"50\.0% of requests are longer.*than the 1,008 tokens"):
        smallest_fleet(long, Steps(), Limits(holding(1_008), 64, 8192), Slo(5.0, 0.05))
    longer = trace(np.arange(20), np.where(np.arange(20) % 2, 50, 5_000), np.full(20, 50))
    with pytest.raises(InputError, match="less than a prompt of 2,525"):
        smallest_fleet(longer, Steps(), Limits(holding(1_008), 64, 8192), Slo(5.0, 0.05, 0.4))
