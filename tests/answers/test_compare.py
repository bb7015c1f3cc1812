"""The comparison: what is left out and why, the front that nobody beats, the picks, the second it may take."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from core.answers import compare, cost
from core.answers.advice import recommend
from core.answers.compare import PRICE_KINDS, SPLITS, Split
from core.delivery.charts.pareto import Offer, pareto
from core.delivery.export.comparison import comparison_csv, comparison_json
from core.products import gpus
from core.products.kernels import kv_unsupported, unsupported
from core.reading import catalogue
from core.terms import Workload

ENGINE = "vllm"


def model(name="meta-llama/Llama-3.1-8B"):
    return catalogue.load(name)


def field_of(name="meta-llama/Llama-3.1-8B", workload=None, engines=(ENGINE,), among=None, **options):
    load = workload or Workload()
    layouts = compare.board(model(name), among or gpus.catalogue(), engines, load.quality_loss, **options)
    return compare.compare(layouts, load)


@pytest.fixture(scope="module")
def field():
    return field_of()


def test_the_layouts_of_the_whole_catalogue_serve_every_load(field):
    """Every GPU, format, split and number of GPUs of one engine: found once, then put under one load and another."""
    assert len(field) > 3_000
    layouts = compare.board(model(), gpus.catalogue(), (ENGINE,))
    again = compare.compare(layouts, Workload(concurrency=17))
    assert again.deployments == field.deployments and len(layouts.desk.parts) < len(again)
    assert (again.tokens_per_s > field.tokens_per_s).mean() > 0.85      # 17 requests in flight against 16


def test_nothing_announced_or_unsupported_is_compared(field):
    announced = {gpu.name for gpu in gpus.catalogue() if gpu.announced}
    assert announced and announced <= set(field.without)
    for d in field.deployments[::37]:
        assert not d.gpu.announced
        assert unsupported(d.weights, d.gpu, d.engine) is None and kv_unsupported(d.kv_cache, d.gpu, d.engine) is None
    assert all(loss is None or loss.value <= field.workload.quality_loss for loss in field.losses)
    assert all(field.without.values())


@pytest.mark.parametrize("name", ["meta-llama/Llama-3.1-8B", "openai/gpt-oss-120b"])
def test_the_front_is_the_set_that_nobody_beats(name):
    """Against the definition, pair by pair."""
    field = field_of(name)
    among = field.meets_slo
    on_front = compare.front(field, among)
    user, dollar = field.tokens_per_s_per_user, field.tokens_per_usd
    ranked = among & np.isfinite(dollar)
    for row in np.flatnonzero(ranked):
        beaten = (user[ranked] > user[row]) & (dollar[ranked] >= dollar[row])
        beaten |= (user[ranked] >= user[row]) & (dollar[ranked] > dollar[row])
        if on_front[row]:
            assert not beaten.any()
        else:
            same = on_front & (user == user[row]) & (dollar == dollar[row])
            assert beaten.any() or same.any()
    assert on_front.any() and not on_front[~ranked].any()


def test_picks_are_what_they_are_called(field):
    found = compare.picks(field, field.meets_slo)
    price = np.where(np.isnan(field.usd_per_hour), np.inf, field.usd_per_hour)
    met = field.meets_slo
    assert price[found.cheapest] == price[met].min()
    assert field.tokens_per_s_per_user[found.fastest] == field.tokens_per_s_per_user[met].max()
    assert field.gpus[found.smallest] == 1
    single = met & (field.gpus == 1)
    assert field.memory_bytes[found.smallest] == field.memory_bytes[single].min()
    for row in (found.cheapest, found.fastest, found.smallest):
        choice = compare.choice_of(field, row)
        assert choice.fits and choice.meets_slo and choice.footprint.fits
        assert choice.memory_concurrency >= field.workload.concurrency


def test_no_price_is_shown_and_never_ranked_by_cost(field):
    unpriced = np.isnan(field.usd_per_hour)
    assert unpriced.any() and np.isnan(field.tokens_per_usd[unpriced]).all()
    only = field_of(among=[gpu for gpu in gpus.catalogue() if gpu.price_usd_per_hour is None])
    found = compare.picks(only, only.meets_slo)
    assert found.cheapest is None and found.fastest is not None
    assert not compare.front(only, only.meets_slo).any()


def test_a_free_gpu_is_the_cheapest():
    own = replace(gpus.find("L40S"), price_usd_per_hour=0.0, price_source="your own price")
    field = field_of(among=[own, gpus.find("H100 SXM5 80GB")])
    found = compare.picks(field, field.meets_slo)
    assert field.deployments[found.cheapest].gpu.name == "L40S" and field.usd_per_hour[found.cheapest] == 0
    assert np.isinf(field.tokens_per_usd[found.cheapest])


def test_cost_is_price_over_tokens(field):
    row = compare.picks(field, field.meets_slo).cheapest
    d = field.deployments[row]
    rate = field.prediction.output_tokens_per_s_per_gpu.value[row]
    assert field.usd_per_million[row] == pytest.approx(
        float(cost.usd_per_million(d.gpu.price_usd_per_hour, rate)), rel=1e-9
    )
    assert field.tokens_per_usd[row] * field.usd_per_hour[row] == pytest.approx(field.tokens_per_s[row])


def test_replicas_are_copies_with_a_share_of_the_load():
    """Two replicas of a dense model at 16 requests answer as one does at 8."""
    h100 = gpus.find("H100 SXM5 80GB")
    two, one = field_of(among=[h100]), field_of(among=[h100], workload=Workload(concurrency=8))
    at = {d: n for n, d in enumerate(one.deployments)}
    pairs = [(n, at[replace(d, dp=1)]) for n, d in enumerate(two.deployments) if d.dp == 2]
    assert pairs
    for mine, single in pairs:
        assert two.prediction.tpot_s.value[mine] == pytest.approx(one.prediction.tpot_s.value[single])
        assert two.tokens_per_s[mine] == pytest.approx(2 * one.tokens_per_s[single])
        assert two.capacity[mine] == 2 * one.capacity[single]


def test_experts_of_replicas_spread_over_all_gpus():
    """vLLM, data parallel deployment: a mixture's experts are sharded over dp x tp, so replicas hold fewer each."""
    field = field_of("openai/gpt-oss-120b", among=[gpus.find("H100 SXM5 80GB")])
    weights = {
        (d.tp, d.pp, d.dp, d.ep): f.term("weights").bytes
        for d, f in zip(field.deployments, field.footprints, strict=True)
    }
    assert weights[1, 1, 4, 1] < 0.5 * weights[1, 1, 1, 1]
    assert {(d.tp, d.dp, d.ep) for d in field.deployments} >= {(2, 1, 2), (1, 2, 2), (1, 8, 8)}


@pytest.mark.parametrize(("splits", "allowed"), [
    ((Split.TENSORS,), lambda d: d.dp == d.pp == d.ep == 1),
    ((Split.REPLICAS,), lambda d: d.tp == d.pp == 1),
    ((Split.LAYERS,), lambda d: d.dp == 1 and d.pp == (1 if d.gpus == 1 else 2)),
])
def test_only_the_splits_asked_for(splits, allowed):
    field = field_of(among=[gpus.find("H100 SXM5 80GB")], splits=splits)
    assert len(field) and all(allowed(d) for d in field.deployments)
    assert {d.gpus for d in field.deployments} == {1, 2, 4, 8}


def test_the_same_layout_is_the_same_as_in_a_plan():
    h100 = gpus.find("H100 SXM5 80GB")
    plan = recommend(model(), h100, Workload())
    field = field_of(among=[h100])
    row = field.deployments.index(plan.best.deployment)
    assert field.prediction.tpot_s.value[row] == pytest.approx(plan.best.tpot.value, rel=1e-6)
    assert field.capacity[row] == plan.best.memory_concurrency


def test_a_model_that_fits_nowhere_leaves_no_pick():
    field = field_of("deepseek-ai/DeepSeek-V3", among=[gpus.find("L4"), gpus.find("Apple M2 Ultra")])
    assert not field.fits.any()
    found = compare.picks(field, field.meets_slo)
    assert found.cheapest is found.fastest is found.smallest is None
    assert "does not run on Apple" in field.without["Apple M2 Ultra"]
    assert compare.shortlist(field, field.fits).size == 0


def test_the_shortlist_holds_every_gpu_once_for_each_count_and_aim(field):
    rows = compare.shortlist(field, field.fits)
    listed = {field.deployments[row].gpu.name for row in rows}
    assert listed == {d.gpu.name for d, fits in zip(field.deployments, field.fits, strict=True) if fits}
    keys = [(field.deployments[row].gpu.name, int(field.gpus[row])) for row in rows]
    assert max(keys.count(key) for key in set(keys)) <= 2
    assert compare.picks(field, field.meets_slo).fastest in rows


@pytest.mark.parametrize("kind", [kind for kind in PRICE_KINDS if kind != "reference"])
def test_other_kinds_of_price_are_the_listed_ones(kind):
    kinds = {"cheapest": {"on-demand", "serverless"}, "spot": {"spot"}}[kind]
    for gpu in compare.priced(gpus.catalogue(), kind):
        listed = [quote.usd_per_gpu_hour for quote in gpus.quotes(gpu.name) if quote.kind in kinds]
        assert gpu.price_usd_per_hour == (min(listed) if listed else None)
        assert bool(gpu.price_source) == bool(listed)
    assert compare.priced(gpus.catalogue(), "reference") == gpus.catalogue()


def test_every_price_is_dated_and_sourced():
    for quote in gpus.all_quotes():
        assert quote.source and quote.as_of and quote.usd_per_gpu_hour > 0
    assert {quote.kind for quote in gpus.all_quotes()} >= {"on-demand", "spot"}
    assert len({quote.provider for quote in gpus.all_quotes() if quote.kind == "on-demand"}) >= 4


def test_splits_are_all_tried(field):
    assert set(SPLITS) == set(Split)
    one_machine = [d for d in field.deployments if d.gpu.link_gpus >= 8]       # others put a stage on each
    assert {d.tp for d in one_machine} == {1, 2, 4, 8}
    assert {d.pp for d in one_machine} == {1, 2} and {d.dp for d in one_machine} == {1, 2, 4, 8}


def test_the_comparison_as_csv_and_json(field):
    on_front = compare.front(field, field.meets_slo)
    rows = compare.shortlist(field, field.fits)
    evil = replace(field, spec=replace(field.spec, name="=1+1"))
    listed = list(csv.DictReader(io.StringIO(comparison_csv(evil, rows, on_front))))
    assert len(listed) == len(rows) and {row["model"] for row in listed} == {"'=1+1"}
    first = listed[0]
    assert float(first["tpot_ms_low"]) <= float(first["tpot_ms"]) <= float(first["tpot_ms_high"])
    assert all(row["price_source"] for row in listed if row["usd_per_hour"])
    document = json.loads(comparison_json(field, rows, on_front), parse_constant=pytest.fail)
    assert len(document["deployments"]) == len(rows) and document["left_out"] == field.without
    assert any(row["usd_per_hour"] is None for row in document["deployments"])


# -- the picture --------------------------------------------------------------------------------------


def test_the_picture_names_the_front_and_the_picks():
    offers = [
        Offer(20, 900, "A", 1, "", 1.0, meets=True, on_front=True),
        Offer(90, 300, "B 80GB", 2, "", 2.0, meets=True, on_front=True),
        Offer(150, 100, "D 40GB", 1, "", 2.0, meets=True, on_front=True),
        Offer(170, 40, "D 80GB", 1, "", 2.0, meets=True, on_front=True),
        Offer(15, 200, "C", 1, "", 3.0, meets=False, on_front=False),
    ]
    spec = pareto(offers, [(offers[0], "cheapest")], target=18, title="Tokens")
    texts = [row for layer in spec["layer"] for row in layer["data"]["values"] if layer["mark"]["type"] == "text"]
    assert {row.get("name") for row in texts} >= {"A", "2 × B", "D 40GB", "D 80GB"}     # memory tells the last apart
    assert {row.get("word") for row in texts} >= {"cheapest"}
    assert any(row.get("label") == "target 18" for row in texts)
    assert pareto([], [], target=18, title="Tokens")["layer"] == []
