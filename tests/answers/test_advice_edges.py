"""Figures and words of the advice at the very places where they turn: a grid of chosen numbers, worked by hand."""

import re
from dataclasses import replace

import numpy as np
import pytest

from core.answers.advice import Standing, best_over_gpus, fleet, remedies, sentences
from core.answers.advice.recommend import _knee, _note, _runner_up, _target_beyond, binding_limit
from core.answers.advice.select import Question, Selection, _pick, batches, cheapest, choice, is_allowed, select
from core.answers.sweep import points
from core.losses import Losses
from core.physics.speed import Range
from core.products import gpus
from core.products.formats import FORMATS, KV_FORMATS
from core.reading import catalogue
from core.terms import Basis, Bound, Deployment, Estimate, Workload

H100 = gpus.find("H100 SXM5 80GB")
ASKED = Workload(concurrency=4)     # TTFT 1 s, TPOT 50 ms, 2 % of quality
LAYOUTS = tuple(Deployment(H100, FORMATS[name], KV_FORMATS[kv])
                for name, kv in (("bf16", "bf16"), ("fp8", "bf16"), ("fp8", "fp8")))


def figure(value):
    return Estimate(value, value, value, Basis.ESTIMATED, "worked by hand")


def column(rows, batches):
    """A column of the grid from one figure a layout, or one a layout and batch."""
    values = np.broadcast_to(np.array([np.atleast_1d(row) for row in rows], float), (len(rows), len(batches))).ravel()
    return Range(values, values, values)


def grid(*, tokens_per_s=(100, 100, 100), tpot_s=(0.01,) * 3, ttft_s=(0.1,) * 3, held=(100,) * 3, batches=(1, 2, 4)):
    """Three layouts whose figures are what the test says."""
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    real = points(spec, ASKED, LAYOUTS, (), batches, (ASKED.context_tokens,), gpu=H100, engine="vllm")
    return replace(real, capacity=column(held, batches).value, prediction=replace(
        real.prediction, ttft_s=column(ttft_s, batches), tpot_s=column(tpot_s, batches),
        output_tokens_per_s_per_gpu=column(tokens_per_s, batches)))


def selected(made, standing=Standing.FEWER, layout=2, batch=2, workload=ASKED):
    question = Question(Losses(made.spec), H100, workload, "vllm", (1,))
    losses = (figure(0.0), figure(0.01), figure(0.015))
    return Selection(question, made, losses, np.ones(3, bool), standing, layout, batch, np.array([2, 2, 2]))


@pytest.fixture(scope="module")
def selection():
    return selected(grid())


@pytest.fixture(scope="module")
def chosen(selection):
    return choice(selection, 1, 4)


# What is picked


@pytest.mark.parametrize(("rates", "pick"), [((100, 87.4, 87), 0), ((100, 87.6, 87), 1), ((100, 87.6, 87.7), 2)])
def test_within_an_eighth_the_smaller_loss_wins(rates, pick):
    losses = np.array([0.02, 0.01, 0.0])
    assert cheapest(grid(tokens_per_s=rates), losses, np.ones(3, bool), 2) == pick


def test_the_least_late_misses_its_worse_target_least():
    """TPOT and TTFT over 50 ms and 1 s: twice and a tenth, 1.5 and 1.5, 1.2 and 1.8 times."""
    late = grid(tpot_s=(0.1, 0.075, 0.06), ttft_s=(0.1, 1.5, 1.8))
    nothing = np.zeros(3, int)
    assert _pick(late, np.zeros(3), np.ones(3, bool), nothing, np.zeros((3, 3))) == (Standing.LATE, 1, 4)


@pytest.mark.parametrize(("tpot_s", "pick"), [((0.06, 0.06, 0.06), 2), ((0.06, 0.062, 0.07), 1)])
def test_of_those_as_late_the_one_of_least_loss_is_named(tpot_s, pick):
    """Equal to 5 %, as Q3_K_S and Q3_K_M of the same TPOT are: 10 % of loss buys nothing that 1 % does not."""
    late = grid(tpot_s=tpot_s)
    losses = np.array([0.1, 0.02, 0.01])
    assert _pick(late, losses, np.ones(3, bool), np.zeros(3, int), np.zeros((3, 3)))[1] == pick


def test_what_does_not_hold_all_is_late_at_the_most_it_holds():
    late = grid(tpot_s=(0.1, 0.075, 0.06), ttft_s=(0.1, 1.5, 1.8), held=(1, 1, 2))
    nothing = np.zeros(3, int)
    assert _pick(late, np.zeros(3), np.ones(3, bool), nothing, np.zeros((3, 3))) == (Standing.LATE, 2, 2)


@pytest.mark.parametrize(("over", "room", "pick"), [((9, 3, 5), (0, 0, 0), 1), ((0, 0, 0), (4, 5, 6), 2),
                                                     ((9, 3, 5), (9, 3, 5), 1)])
def test_where_nothing_fits_the_least_over_its_memory_is_named(over, room, pick):
    full = grid(held=(0, 0, 0))
    full = replace(full, footprints=tuple(replace(f, overflow_bytes=o, kv_cache_bytes=r)
                                          for f, o, r in zip(full.footprints, over, room, strict=True)))
    found = _pick(full, (), np.ones(3, bool), np.zeros(3, int), np.zeros((3, 3)))
    assert found == (Standing.IMPOSSIBLE, pick, 4)


@pytest.mark.parametrize(("served", "second"), [((4, 4, 4), 2), ((4, 4, 2), 1)])
def test_the_runner_up_is_the_fastest_that_serves_as_many(served, second):
    """100, 90 and 95 tokens/s: the third, unless it serves two requests where four were asked for."""
    made = replace(selected(grid(tokens_per_s=(100, 90, 95)), Standing.MET, 0, 4), served=np.array(served))
    best = choice(made, 0, 4)
    assert _runner_up(made, best).deployment == LAYOUTS[second]


@pytest.mark.parametrize(("kv", "basis", "allowed"), [
    ("fp8", Basis.ESTIMATED, True), ("int4", Basis.ESTIMATED, False), ("int4", Basis.MEASURED, True),
])
def test_from_eight_bits_on_a_cache_known_elsewhere_is_taken(selection, kv, basis, allowed):
    """What is published of caches under 8 bits is of other engines' layouts (ExLlamaV2, QoQ)."""
    d = replace(LAYOUTS[1], kv_cache=KV_FORMATS[kv])
    assert is_allowed(selection.question, d, replace(figure(0.02), basis=basis)) is allowed


def test_batches_go_beyond_what_is_asked():
    assert batches(1500)[-2:] == (1500, 2048) and batches(16)[-1] == 1024


# What is said of it


def test_a_measured_zero_is_no_measurable_loss():
    assert sentences.loss(replace(figure(0.0), basis=Basis.MEASURED)) == "no measurable loss of quality"
    assert sentences.loss(figure(0.0)) == "no loss of quality: the checkpoint's own format"


def test_replicas_share_the_requests_that_memory_is_needed_for(chosen):
    """Four requests over two replicas: two full-length caches on each GPU."""
    two = replace(chosen, deployment=replace(chosen.deployment, dp=2))
    need = chosen.footprint.taken_bytes(2, ASKED.context_tokens) / 2**30
    assert sentences._memory(two, ASKED).startswith(f"it fits, needing {need:,.1f} of ")


@pytest.mark.parametrize(("tokens_per_s", "note"), [
    (75.0, "25 % fewer tokens/s"), (99.0, "1.0 % fewer tokens/s"), (99.96, "within a few percent, at more loss"),
    (101.0, "within a few percent, at more loss"),
])
def test_a_candidate_says_how_many_tokens_fewer_it_makes(selection, chosen, tokens_per_s, note):
    other = replace(choice(selection, 0, 4), output_tokens_per_s=figure(tokens_per_s))
    assert _note(selection, other, True, replace(chosen, output_tokens_per_s=figure(100.0))) == note


@pytest.mark.parametrize(("tokens_per_s", "said"), [
    (80.0, "20 % fewer tokens/s than BF16"), (125.0, "25 % more tokens/s than BF16"),
    (100.0, "0.0 % more tokens/s than BF16"),
])
def test_the_choice_says_what_it_makes_of_sixteen_bits(selection, chosen, tokens_per_s, said):
    baseline = replace(choice(selection, 0, 4), output_tokens_per_s=figure(100.0))
    assert f"makes {said}" in sentences.why_chosen(replace(chosen, output_tokens_per_s=figure(tokens_per_s)), baseline)


@pytest.mark.parametrize(("tpot_s", "said"), [
    (0.02, "TPOT up 100 % to 20.0 ms"), (0.005, "TPOT down 50 % to 5.00 ms"), (0.01009, "BF16 KV cache on 1 × H100"),
])
def test_the_runner_up_says_what_it_trades(selection, chosen, tpot_s, said):
    text = sentences.trade(chosen, replace(choice(selection, 0, 4), tpot=figure(tpot_s)))
    assert said in text and ("TPOT" in text) is (tpot_s != 0.01009)


@pytest.mark.parametrize(("share", "text"), [(0.0994, "9.9 %"), (0.0996, "10 %"), (0.15, "15 %"), (-0.013, "-1.3 %")])
def test_percent_has_a_decimal_below_ten(share, text):
    assert sentences.percent(share) == text


def test_a_limit_beyond_the_knee_says_so(chosen):
    best = replace(chosen, slo_concurrency=300, memory_concurrency=400, decode_bound=Bound.MEMORY)
    assert "from about 128 on decode is compute-bound" in binding_limit(ASKED, best, 128.0)
    assert "compute-bound" not in binding_limit(ASKED, best, 512.0)
    assert "the KV cache holds 300 requests" in binding_limit(ASKED, replace(best, memory_concurrency=300), None)


@pytest.mark.parametrize(
    ("tpot_s", "ttft_s", "target"), [(0.045, 0.8, "TPOT exceeds 50.0 ms"), (0.04, 0.9, "TTFT exceeds 1,000 ms")],
)
def test_the_target_beyond_is_the_nearer_one(chosen, tpot_s, ttft_s, target):
    """Nine tenths of a target are nearer to it than eight."""
    assert _target_beyond(ASKED, replace(chosen, tpot=figure(tpot_s), ttft=figure(ttft_s))) == target


def test_decode_turns_at_the_mean_context_of_a_request(selection, chosen, monkeypatch):
    """A request of 1,024 tokens that answers with 256 is read at 1,024 to 1,280: at 1,152 in the mean."""
    monkeypatch.setattr("core.physics.speed.compute_bound_batch", lambda spec, deployment, context: context)
    assert _knee(selection.question, chosen) == 1024 + 256 / 2


# What would help


@pytest.mark.parametrize(("batch", "offered"), [(109, False), (111, True)])
def test_a_cache_of_unknown_loss_must_bring_a_tenth_more(monkeypatch, batch, offered):
    made = grid(batches=(1, 4, 100, 109, 111))
    monkeypatch.setattr(remedies, "select", lambda question: selected(made, batch=batch))
    asked = selected(made, batch=100)
    assert (remedies._smaller_cache(asked.question, asked) is not None) is offered


def test_the_tolerance_offered_is_the_smallest_that_helps():
    """A 32B model on 24 GB needs four bits: the next tenth of a percent over a published or expected loss."""
    workload = Workload(concurrency=1, ttft_slo_s=9.0)
    question = Question(Losses(catalogue.load("Qwen/Qwen3-32B")), gpus.find("GeForce RTX 4090"), workload, "vllm", (1,))
    remedy = remedies._looser_quality(question, select(question))
    below = replace(workload, quality_loss=remedy.workload.quality_loss - 0.0011)
    assert select(replace(question, workload=remedy.workload)).standing is Standing.MET
    assert select(replace(question, workload=below)).standing is not Standing.MET


def test_replicas_are_rounded_up(selection, chosen):
    """1,000 requests, 300 a replica: three are 900."""
    question = replace(selection.question, workload=replace(ASKED, concurrency=1000))
    found = remedies._replicas(question, selection, replace(chosen, slo_concurrency=300, usd_per_hour=2.5))
    assert found.replicas == 4 and "$10.00 per hour" in found.effect


def test_the_longest_shorter_prompt_is_offered_first(selection, monkeypatch):
    """What 700 tokens of 1,024 would still meet is found to a thirty-second of the prompt."""
    def select(question):
        return replace(selection, standing=Standing.MET if question.workload.input_tokens <= 700 else Standing.LATE)

    monkeypatch.setattr(remedies, "select", select)
    assert 700 - 1024 / 32 < remedies._shorter(selection.question, selection).workload.input_tokens <= 700


@pytest.mark.parametrize(("tps", "count"), [((1,), 2), ((1, 2, 4), 8), ((2, 1), 4)])
def test_more_gpus_are_more_than_were_tried(selection, monkeypatch, tps, count):
    met = replace(selection, standing=Standing.MET)
    monkeypatch.setattr(remedies, "select", lambda question: met)
    assert remedies._more_gpus(replace(selection.question, tps=tps), selection).gpus == count


@pytest.mark.parametrize(("most", "offered"), [(0, False), (3, True), (4, False)])
def test_fewer_requests_are_offered_where_some_are_served(selection, chosen, most, offered):
    found = remedies._fewer(selection.question, selection, replace(chosen, slo_concurrency=most))
    assert (found is not None) is offered


def test_sensitivity_moves_what_it_says():
    moved = dict(remedies._moves(Workload(1000, 200, 16, tpot_slo_s=0.05)))
    assert moved["Twice the requests"].concurrency == 32 and moved["Half as many requests"].concurrency == 8
    assert moved["Twice the prompt"].input_tokens == 2000 and moved["Half the TPOT target"].tpot_slo_s == 0.025


# Over all GPUs


def test_an_offer_of_more_gpus_replaces_one_that_did_not_fit_either():
    two, four = (fleet.Offer(H100, Standing.IMPOSSIBLE, None, "", tried=tried) for tried in (2, 4))
    assert fleet._closer(four, two) and not fleet._closer(two, four)
    assert fleet._closer(replace(two, standing=Standing.LATE, miss=3.0), four)


def test_offers_are_ranked_by_the_hour_before_the_count(chosen):
    """Eight GPUs at $2 an hour in all come before one at $3; one without a price comes last."""
    eight = replace(chosen, deployment=replace(chosen.deployment, tp=8), usd_per_hour=2.0)
    offers = [fleet.Offer(H100, Standing.MET, c, "")
              for c in (replace(chosen, usd_per_hour=None), replace(chosen, usd_per_hour=3.0), eight)]
    assert [offer.choice.usd_per_hour for offer in sorted(offers, key=fleet._rank)] == [2.0, 3.0, None]


def test_a_late_offer_serves_nobody_within_the_targets(chosen):
    (late,) = best_over_gpus(catalogue.load("meta-llama/Llama-3.1-8B"), Workload(tpot_slo_s=0.0005), among=[H100])
    assert late.standing is Standing.LATE and late.choice.slo_concurrency == 0


def test_what_fits_nowhere_names_the_layout_least_over():
    """Llama-3.1-70B on a 24 GB card: 71 GB of FP8 are some 50 GiB over, 141 GB of BF16 some 110."""
    (offer,) = best_over_gpus(catalogue.load("meta-llama/Llama-3.1-70B"), ASKED, tps=(1,),
                              among=[gpus.find("GeForce RTX 4090")])
    assert 40 < float(re.search(r"by ([0-9.]+) GiB", offer.reason)[1]) < 60


def test_an_offer_says_how_much_of_its_cache_is_taken():
    (offer,) = best_over_gpus(catalogue.load("meta-llama/Llama-3.1-8B"), Workload(), among=[H100])
    assert offer.choice.occupancy == pytest.approx(16 / offer.choice.memory_concurrency, rel=0.01)
