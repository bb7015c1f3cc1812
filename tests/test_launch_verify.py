"""A benchmark's result read back, and the plan as a page to print."""

import json
import re
import shlex
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from sqlalchemy import create_engine

from core import catalogue, estimate, gpus
from core.advice import recommend
from core.errors import InputError
from core.export.anchored import anchored, speaking_for
from core.export.launch import order
from core.export.report import report
from core.export.verify import checks, guidellm, read_result, record, vllm_bench, wrong_load
from core.store import Kind, Store
from core.terms import Workload

# vllm-project/vllm pull request 33743, gemma-3-27b-it, 16 prompts.
PRINTED = """
============ Serving Benchmark Result ============
Successful requests:                     16
Failed requests:                         0
Maximum request concurrency:             16
Benchmark duration (s):                  20.87
Total input tokens:                      16368
Total generated tokens:                  5600
Output token throughput (tok/s):         268.31
Peak output token throughput (tok/s):    352.00
Total token throughput (tok/s):          1052.55
---------------Time to First Token----------------
Mean TTFT (ms):                          2633.55
Median TTFT (ms):                        2648.65
P99 TTFT (ms):                           4610.48
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          51.78
Median TPOT (ms):                        51.75
P99 TPOT (ms):                           57.57
"""
# The keys that `vllm bench serve --save-result` writes (vllm/benchmarks/serve.py).
SAVED = {"max_concurrency": 16, "completed": 160, "output_throughput": 2050.5, "mean_ttft_ms": 90.0,
         "median_ttft_ms": 81.0, "mean_tpot_ms": 7.8, "median_tpot_ms": 7.7, "request_rate": "inf"}


@pytest.fixture(scope="module")
def plan():
    return recommend(catalogue.load("meta-llama/Llama-3.1-8B"), gpus.find("H100 SXM5 80GB"), Workload())


@pytest.fixture(scope="module")
def ordered(plan):
    return order(plan)


def test_the_printed_table_is_read():
    found = read_result(PRINTED)
    assert (found.ttft_s, found.tpot_s) == (pytest.approx(2.64865), pytest.approx(0.05175))
    assert found.output_tokens_per_s == pytest.approx(268.31) and found.concurrency == 16


def test_sglangs_table_is_read_too():
    """sgl-project/sglang pull request 9812: one token each, so no time per output token."""
    found = read_result("Max request concurrency:                 not set\nOutput token throughput (tok/s):  17.53\n"
                        "Mean TTFT (ms):     25747.35\nMedian TTFT (ms):     25224.20\n")
    assert found.tpot_s is None and found.concurrency is None and found.ttft_s == pytest.approx(25.2242)


def test_the_saved_json_is_read():
    found = read_result(json.dumps(SAVED))
    assert (found.ttft_s, found.tpot_s, found.output_tokens_per_s) == (0.081, 0.0077, 2050.5)
    assert read_result(json.dumps({k: v for k, v in SAVED.items() if "median" not in k})).ttft_s == 0.09


@pytest.mark.parametrize("text", [
    "", "hello", "{", "[]", "{}", '{"median_ttft_ms": NaN, "output_throughput": 3}', '{"median_ttft_ms": true}',
    '{"output_throughput": -4, "median_ttft_ms": 3}', "Median TTFT (ms): 0.0", "{" * 5000, "Median TTFT (ms): ,,,",
])
def test_what_is_no_result_is_refused_in_one_sentence(text):
    with pytest.raises(InputError) as refused:
        read_result(text)
    assert "\n" not in str(refused.value) and str(refused.value).count(". ") <= 1


def test_a_benchmark_with_failures_proves_nothing():
    with pytest.raises(InputError, match="failed"):
        read_result(PRINTED.replace("Failed requests:                         0", "Failed requests:    3"))
    with pytest.raises(InputError, match="longer than"):
        read_result("x" * 2_000_001)


def test_predicted_stands_against_measured(ordered):
    ttft, tpot, rate = checks(ordered, read_result(json.dumps(SAVED)))
    assert tpot.predicted.value == pytest.approx(ordered.choice.tpot.value * 1000)
    assert tpot.ratio == pytest.approx(7.7 / tpot.predicted.value)
    assert tpot.within == (tpot.predicted.low <= 7.7 <= tpot.predicted.high)
    assert ttft.unit == "ms" and rate.measured == 2050.5


def test_another_load_is_said(ordered):
    assert wrong_load(ordered, read_result(json.dumps(SAVED))) == ""
    other = read_result(json.dumps(SAVED | {"max_concurrency": 4}))
    assert "4 requests in flight, the plan is for 16" in wrong_load(ordered, other)


def test_the_record_is_kept_and_anchors_estimates(ordered, tmp_path):
    """What is kept is a row of `estimate --measurements`: estimates of the same case follow it."""
    kept = Store(create_engine(f"sqlite:///{tmp_path}/store.sqlite")).save(
        Kind.MEASUREMENT, "a benchmark", record(ordered, read_result(json.dumps(SAVED | {"median_tpot_ms": 15.4})))
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
    measured = read_result(json.dumps(SAVED | {"median_tpot_ms": 15.4}))
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
    """Options of vLLM docs, CLI reference `vllm bench serve`, and of the README of vllm-project/guidellm."""
    words = shlex.split(vllm_bench(ordered))
    said = {word: words[n + 1] for n, word in enumerate(words[:-1]) if word.startswith("--")}
    assert (said["--random-input-len"], said["--random-output-len"]) == ("1024", "256")
    assert said["--max-concurrency"] == "16" and int(said["--num-prompts"]) >= 160
    words = shlex.split(guidellm(ordered))
    assert words[words.index("--rate") + 1] == "16" and "prompt_tokens=1024,output_tokens=256" in words


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
    assert page.tags.count("svg") == 3 and page.tags.count("table") >= 2
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
