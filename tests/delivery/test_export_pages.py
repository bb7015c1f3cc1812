"""The fleet and the comparison to take away: CSV, JSON and pages to print."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from core.answers import compare
from core.answers.advice import recommend
from core.answers.traffic import Lengths, Options, Question, Slo, Speculation, first_look, generate, study
from core.delivery.export.comparison import comparison_csv, comparison_report, offers, ways
from core.delivery.export.fleet import Answer, fleet_json, fleet_report, rates_csv
from core.delivery.export.order import Order
from core.products import gpus
from core.products.drafters import Drafter
from core.reading import catalogue
from core.terms import Workload

EVIL = "=cmd|'/c calc'!A1<script>alert(1)</script>{{ 7*7 }}"
FIXED = Lengths("fixed", 512, 0.0, 64, 0.0, "test")


@pytest.fixture(scope="module")
def answer():
    plan = recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB"), Workload())
    options = Options(prefix_reuse=0.3, speculation=Speculation(0.7))
    trace = generate(30.0, 60.0, FIXED)
    deployment = replace(plan.best.deployment, drafter=Drafter.EAGLE3)
    question = Question(plan.spec, deployment, options, trace, Slo(1.0, 0.05), windows=3)
    parts = list(study(question, lambda done, note: None))
    kinds = {kind: [part for part in parts if type(part).__name__ == kind] for kind in ("RatePoint", "Effect")}
    hours, splits = (part for part in parts if isinstance(part, tuple))
    order = Order(plan.spec, plan.workload, replace(plan.best, deployment=deployment), options, times=parts[0].to_buy)
    return Answer(question, order, parts[0], kinds["RatePoint"], hours, splits, kinds["Effect"])


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.words = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.words.append(data)


def evil(answer):
    spec = replace(answer.question.spec, name=EVIL)
    return replace(answer, question=replace(answer.question, spec=spec), ordered=replace(answer.ordered, spec=spec))


def test_the_fleet_as_json_says_what_was_asked_and_found(answer):
    document = json.loads(fleet_json(answer))
    assert document["asked"]["requests"] == len(answer.question.trace) == document["fleet"]["served"]["requests"]
    assert document["fleet"]["to_buy"] == answer.fleet.to_buy > document["fleet"]["needed"]
    gpu = answer.question.deployment.gpu
    hourly = document["cost_usd"]["to_buy"]["per_hour"]
    assert hourly == pytest.approx(answer.fleet.to_buy * gpu.price_usd_per_hour)
    assert document["cost_usd"]["source"] == gpu.price_source and len(document["rates"]) == 9
    assert {effect["name"] for effect in document["effects"]} == {"Speculative decoding", "Prefix caching"}
    assert len(document["autoscaled"]) == 3 and document["splits"][0]["prefill"] == 0


def test_every_rate_is_a_row(answer):
    rows = list(csv.DictReader(io.StringIO(rates_csv(answer))))
    found = [float(row["requests_per_s"]) for row in rows]
    assert found == pytest.approx([point.requests_per_s for point in answer.points], 1e-5)
    assert all(float(row["ttft_p50_ms"]) <= float(row["ttft_p99_ms"]) for row in rows)
    assert {row["holds"] for row in rows} <= {"True", "False"}


def test_the_fleets_page_holds_charts_figures_and_the_launch(answer):
    page = Tags(fleet_report(answer))
    text = " ".join(" ".join(page.words).split())
    assert page.tags.count("svg") == 2 and page.tags.count("table") == 4 and "script" not in page.tags
    assert answer.sentence in text and "--speculative-config" in text
    assert "Following the load" in text and "Prefill and decode" in text


def test_a_first_look_is_enough_for_files(answer):
    fleet, points = first_look(answer.question)
    text = fleet_report(replace(answer, fleet=fleet, points=points, hours=(), splits=(), effects=()))
    assert "Following the load" not in text and text.count("<svg") == 2


def test_answers_of_one_token_have_no_time_per_token(answer):
    one = Lengths("one", 512, 0.0, 1, 0.0, "test")
    question = replace(answer.question, trace=generate(5.0, 60.0, one), options=Options())
    fleet, points = first_look(question)
    found = Answer(question, answer.ordered, fleet, points)
    assert fleet_report(found).count("<svg") == 1
    assert json.loads(fleet_json(found))["fleet"]["served"]["tpot"]["p99"] is None


def test_a_fleet_without_a_price_names_none(answer):
    gpu = replace(answer.question.deployment.gpu, price_usd_per_hour=None, price_source="")
    free = replace(answer, question=replace(
        answer.question, deployment=replace(answer.question.deployment, gpu=gpu)))
    assert json.loads(fleet_json(free))["cost_usd"]["to_buy"] is None and "per hour" not in free.sentence
    assert "Per month" not in fleet_report(free)


def test_a_hostile_name_is_text_everywhere(answer):
    bad = evil(answer)
    assert next(csv.DictReader(io.StringIO(rates_csv(bad))))["model"].startswith("'=")
    assert json.loads(fleet_json(bad))["asked"]["model"] == EVIL
    page = Tags(fleet_report(bad))
    assert "script" not in page.tags and any("{{ 7*7 }}" in word for word in page.words)


@pytest.fixture(scope="module")
def field():
    among = [gpus.find(name) for name in ("H100 SXM5 80GB", "L40S", "L4")]
    return compare.compare(compare.board(catalogue.load("meta-llama/Llama-3.1-8B"), among, ["vllm"]), Workload())


def test_the_comparison_as_a_page(field):
    within = field.meets_slo
    found, front = compare.picks(field, within), compare.front(field, within)
    rows = np.flatnonzero(within).tolist()
    page = Tags(comparison_report(field, rows, front, found))
    text = " ".join(" ".join(page.words).split())
    assert f"Cheapest within the targets: {ways(field.deployments[found.cheapest])}." in text
    assert page.tags.count("svg") == 1
    assert f"14 of {len(rows)} rows" in text and page.tags.count("tr") == 15
    assert len(offers(field, rows, front)) == len(rows)


def test_a_comparison_that_keeps_no_target_is_a_page_too(field):
    nothing = compare.Picks(None, None, None)
    rows = np.flatnonzero(field.fits).tolist()[:5]
    assert "Nothing compared keeps the targets" in comparison_report(field, rows, np.zeros(len(field), bool), nothing)


def test_a_hostile_name_is_text_in_a_comparison(field):
    bad = replace(field, spec=replace(field.spec, name=EVIL))
    front = np.zeros(len(field), bool)
    assert next(csv.DictReader(io.StringIO(comparison_csv(bad, [0], front))))["model"].startswith("'=")
    assert "script" not in Tags(comparison_report(bad, [0], front, compare.Picks(0, 0, 0))).tags
