"""A benchmark's result read back, and the plan as a page to print."""

import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from sqlalchemy import create_engine

from core.answers.advice import recommend
from core.delivery import estimate
from core.delivery.export.anchored import anchored, speaking_for
from core.delivery.export.order import order
from core.delivery.export.report import report
from core.delivery.export.results import read_result
from core.delivery.export.verify import benchmarks, checks, guidellm, record, vllm_bench, wrong_load
from core.machinery.store import Kind, Store
from core.products import gpus
from core.reading import catalogue
from core.terms import Workload

SAVED = {"max_concurrency": 16, "output_throughput": 2050.5, "median_ttft_ms": 81.0, "median_tpot_ms": 7.7}


@pytest.fixture(scope="module")
def plan():
    return recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB"), Workload())


@pytest.fixture(scope="module")
def ordered(plan):
    return order(plan)


def test_predicted_stands_against_measured(ordered):
    ttft, tpot, rate = checks(ordered, read_result(json.dumps(SAVED), 16))
    assert tpot.predicted.value == pytest.approx(ordered.choice.tpot.value * 1000)
    assert tpot.ratio == pytest.approx(7.7 / tpot.predicted.value)
    assert tpot.within == (tpot.predicted.low <= 7.7 <= tpot.predicted.high)
    assert ttft.unit == "ms" and rate.measured == 2050.5


def test_another_load_is_said(ordered):
    assert wrong_load(ordered, read_result(json.dumps(SAVED), 16)) == ""
    other = read_result(json.dumps(SAVED | {"max_concurrency": 4}), 16)
    assert "4 requests in flight instead of 16" in wrong_load(ordered, other)
    batch = read_result('{"pp": 512, "tg": 256, "pl": 16, "t_pp": 1.0, "t_tg": 2.0}', 16)
    assert "512 tokens a prompt instead of 1,024; a batch that starts together" in wrong_load(ordered, batch)
    kept = record(ordered, batch)["cells"]
    assert (kept["input_tokens"], kept["mode"], kept["concurrency"]) == (512, "static", 16)
    assert len(speaking_for(ordered, [record(ordered, batch)])) == 1      # told apart by its mode, as by `estimate`


def test_the_record_is_kept_and_anchors_estimates(ordered, tmp_path):
    """What is kept is a row of `estimate --measurements`: estimates of the same case follow it."""
    kept = Store(create_engine(f"sqlite:///{tmp_path}/store.sqlite")).save(
        Kind.MEASUREMENT, "a benchmark", record(ordered, read_result(json.dumps(SAVED | {"median_tpot_ms": 15.4}), 16))
    )
    cells = {name: str(value) for name, value in kept.body["cells"].items()}
    assert set(cells) - set(estimate.COLUMNS) == {
        "measured_ttft_ms", "measured_tpot_ms", "measured_output_tokens_per_s_per_gpu"}
    for name, columns in (("cases", list(estimate.COLUMNS)), ("measured", list(cells))):
        rows = [",".join(columns), ",".join(cells.get(column, "") for column in columns)]
        (tmp_path / f"{name}.csv").write_text("\n".join(rows) + "\n")

    def tpot(**options):
        out = tmp_path / "out.csv"
        _, failed = estimate.answer_file(tmp_path / "cases.csv", out, catalogue.load, **options)
        assert not failed
        header, row = (line.split(",") for line in out.read_text().splitlines())
        return float(row[header.index("tpot_ms")])

    alone, anchored = tpot(), tpot(measurements=tmp_path / "measured.csv")
    assert alone == pytest.approx(ordered.choice.tpot.value * 1000, rel=0.02)
    assert abs(anchored - 15.4) < 0.5 * abs(alone - 15.4)


def test_kept_benchmarks_pull_the_prediction(ordered):
    """A measurement of this very load leaves its error within the noise of a repeat; strangers move nothing."""
    measured = read_result(json.dumps(SAVED | {"median_tpot_ms": 15.4}), 16)
    mine = json.loads(json.dumps(record(ordered, measured)))
    stranger = mine | {"cells": mine["cells"] | {"gpu": "L4"}}
    broken = [{}, {"cells": 3}, mine | {"cells": mine["cells"] | {"tp": "x"}}]
    cells = speaking_for(ordered, [mine, stranger, *broken])
    assert len(cells) == 1
    after = anchored(ordered, cells)
    assert after.tpot.value == pytest.approx(0.0154, rel=0.25)
    assert after.tpot.high / after.tpot.low < ordered.choice.tpot.high / ordered.choice.tpot.low
    assert after.output_tokens_per_s.value == pytest.approx(2050.5, rel=0.1)


def test_the_benchmark_is_the_planned_load(ordered):
    """Options of vllm/benchmarks/serve.py (0.33) and of `guidellm run --help` (0.8.1)."""
    words = shlex.split(vllm_bench(ordered).command)
    said = {word: words[n + 1] for n, word in enumerate(words[:-1]) if word.startswith("--")}
    assert (said["--random-input-len"], said["--random-output-len"]) == ("1024", "256")
    assert said["--max-concurrency"] == "16" and int(said["--num-prompts"]) >= 160
    words = shlex.split(guidellm(ordered).command)
    said = {word: json.loads(words[n + 1]) for n, word in enumerate(words[:-1]) if word.startswith("--")}
    assert words[:2] == ["guidellm", "run"] and said["--profile"] == {"kind": "concurrent", "streams": 16}
    assert (said["--data"]["prompt_tokens"], said["--data"]["output_tokens"]) == (1024, 256)


@pytest.mark.parametrize(("engine", "tools"), [
    ("vllm", ["vllm bench serve", "GuideLLM"]), ("sglang", ["sglang.bench_serving", "vllm bench serve", "GuideLLM"]),
    ("llamacpp", ["llama-batched-bench", "vllm bench serve", "GuideLLM"]), ("trtllm", ["vllm bench serve", "GuideLLM"]),
])
def test_every_engine_has_a_benchmark_at_the_planned_load(engine, tools):
    made = order(recommend(
        catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB"), Workload(), engine=engine))
    found = benchmarks(made)
    assert [one.tool for one in found] == tools
    own = shlex.split(found[0].command)
    assert {"1024", "256", "16"} <= set(own)


# -- the report ---------------------------------------------------------------------------------------


class Tags(HTMLParser):
    """Collects tags, attributes and text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.words.append(data)


def test_the_report_says_the_plan_with_its_charts(plan):
    page = Tags(report(plan))
    text = " ".join(" ".join(page.words).split())
    assert plan.sentence in text and "vllm serve meta-llama/Llama-3.1-8B" in text
    assert page.tags.count("svg") == 4 and page.tags.count("table") >= 2
    assert "estimated" in text and plan.gpu.price_source in text


def test_the_report_needs_nothing_from_elsewhere(plan):
    text = report(plan)
    page = Tags(text)
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    assert not [value for name, value in page.attributes if name in ("src", "href", "xlink:href") and value]
    assert not re.search(r"url\((?!#)|@import", text)


def test_hostile_names_are_text_in_a_report(plan):
    evil = "<script>alert(1)</script>{{ 7*7 }}<img src=x onerror=alert(1)>\"'"
    page = Tags(report(replace(plan, spec=replace(plan.spec, name=evil))))
    assert "script" not in page.tags and "img" not in page.tags
    assert any("{{ 7*7 }}" in word for word in page.words)


def test_a_plan_for_nothing_is_reported_too():
    nothing = recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("Apple M2 Ultra"), Workload())
    text = " ".join(" ".join(Tags(report(nothing)).words).split())
    assert "does not run on Apple GPUs" in text
