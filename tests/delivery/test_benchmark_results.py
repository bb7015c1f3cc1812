"""Results of benchmarks read back, tool by tool, in the forms their own sources write."""

import copy
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.basics.errors import InputError
from core.basics.places import ROOT
from core.delivery.export.results import MAX_TEXT, read_result
from core.terms import Mode

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
# The keys that `vllm bench serve --save-result` writes (vLLM 0.33, vllm/benchmarks/serve.py).
SAVED = {"max_concurrency": 16, "completed": 160, "failed": 0, "total_input_tokens": 163840,
         "total_output_tokens": 40960, "output_throughput": 2050.5, "mean_ttft_ms": 90.0, "median_ttft_ms": 81.0,
         "mean_tpot_ms": 7.8, "median_tpot_ms": 7.7, "request_rate": "inf"}
# A run of GuideLLM 0.8.1 (`guidellm run --profile kind=concurrent,streams=4`) against its own mock server
# with a TTFT of 40 ms and 5 ms between tokens; cut to what is read.
GUIDELLM = json.loads((ROOT / "tests" / "data" / "guidellm.json").read_text())
# trtllm-bench, PERFORMANCE OVERVIEW, as printed by TensorRT-LLM (tensorrt_llm/bench).
TRTLLM_BENCH = """
Number of requests:             100
Number of concurrent requests:  94.6000
Average Input Length (tokens):  128.0000
Average Output Length (tokens): 128.0000
===========================================================
= PERFORMANCE OVERVIEW
===========================================================
Request Throughput (req/sec):                     86.5373
Total Output Throughput (tokens/sec):             11076.7700
Average time-to-first-token [TTFT] (ms):   162.6706
Average time-per-output-token [TPOT] (ms): 7.3272
[TPOT] P50    : 7.6079
[TTFT] P50    : 159.7857
"""
# llama.cpp tools/llama-bench/README.md: the example outputs, prompt of 512 and answer of 128 tokens.
LLAMA_JSON = [{"n_prompt": 512, "n_gen": 0, "n_depth": 0, "avg_ns": 72135640, "avg_ts": 7100.002165},
              {"n_prompt": 0, "n_gen": 128, "n_depth": 0, "avg_ns": 1076767880, "avg_ts": 118.881588}]
LLAMA_MD = """
| llama 7B mostly Q4_0           |   3.56 GiB |     6.74 B | CUDA       |  -1 | pp 512     |  2368.80 ± 93.24 |
| llama 7B mostly Q4_0           |   3.56 GiB |     6.74 B | CUDA       |  -1 | tg 128     |    131.42 ± 0.59 |
"""
# llama.cpp tools/batched-bench/batched-bench.cpp: what it prints with and without --output-format jsonl.
BATCHED_JSONL = """
{"n_kv_max": 20480, "n_batch": 2048, "pp": 1024, "tg": 256, "pl": 4, "n_kv": 5120, "t_pp": 0.5, "speed_pp": 8192.0, \
"t_tg": 2.0, "speed_tg": 512.0, "t": 2.5, "speed": 2048.0}
{"n_kv_max": 20480, "n_batch": 2048, "pp": 1024, "tg": 256, "pl": 16, "n_kv": 20480, "t_pp": 2.0, "speed_pp": 8192.0, \
"t_tg": 4.0, "speed_tg": 1024.0, "t": 6.0, "speed": 3413.3}
"""
BATCHED_MD = """
|    PP |     TG |    B |   N_KV |   T_PP s | S_PP t/s |   T_TG s | S_TG t/s |      T s |    S t/s |
|-------|--------|------|--------|----------|----------|----------|----------|----------|----------|
|  1024 |    256 |   16 |  20480 |    2.000 |  8192.00 |    4.000 |  1024.00 |    6.000 |  3413.30 |
"""


def test_the_printed_table_is_read():
    found = read_result(PRINTED, 16)
    assert (found.ttft_s, found.tpot_s) == (pytest.approx(2.64865), pytest.approx(0.05175))
    assert found.output_tokens_per_s == pytest.approx(268.31) and found.concurrency == 16
    assert (found.input_tokens, found.output_tokens) == (1023, 350)


def test_sglangs_table_is_read_too():
    """sgl-project/sglang pull request 9812: one token each, so no time per output token."""
    found = read_result("Max request concurrency:                 not set\nOutput token throughput (tok/s):  17.53\n"
                        "Mean TTFT (ms):     25747.35\nMedian TTFT (ms):     25224.20\n", 16)
    assert found.tpot_s is None and found.concurrency is None and found.ttft_s == pytest.approx(25.2242)


def test_the_saved_json_is_read():
    found = read_result(json.dumps(SAVED), 16)
    assert (found.ttft_s, found.tpot_s, found.output_tokens_per_s) == (0.081, 0.0077, 2050.5)
    assert (found.tool, found.input_tokens, found.output_tokens) == ("vllm bench serve", 1024, 256)
    assert read_result(json.dumps({k: v for k, v in SAVED.items() if "median" not in k}), 16).ttft_s == 0.09


def test_sglang_appends_a_line_a_run_and_the_nearest_is_taken():
    """sglang/benchmark/serving.py appends JSON lines to its output file."""
    lines = [json.dumps(SAVED | {"random_input_len": 1024, "max_concurrency": c, "median_ttft_ms": 10.0 * c})
             for c in (1, 8, 64)]
    found = read_result("\n".join(lines), 10)
    assert (found.tool, found.concurrency, found.ttft_s, found.runs) == ("sglang.bench_serving", 8, 0.08, 3)


def test_guidellms_report_is_read():
    """Its inter-token latency is the TPOT; its "time per output token" has the first token in it."""
    found = read_result(json.dumps(GUIDELLM), 4)
    assert found.tool == "GuideLLM 0.8.1, concurrent at 4 requests" and found.concurrency == 4
    assert found.ttft_s == pytest.approx(0.0448, rel=0.01) and found.tpot_s == pytest.approx(0.0052, rel=0.01)
    assert found.output_tokens_per_s == pytest.approx(577.7, rel=0.001)
    assert (found.input_tokens, found.output_tokens, found.failed) == (121, 32, 0)


def test_guidellms_older_reports_name_their_strategy_elsewhere():
    """GuideLLM 0.2 and 0.3, guidellm/benchmark/benchmark.py: `args.strategy`, no version in the metadata."""
    old = copy.deepcopy(GUIDELLM)
    for benchmark in old["benchmarks"]:
        benchmark["args"] = benchmark.pop("config")
    del old["metadata"]
    assert read_result(json.dumps(old), 4).tool == "GuideLLM, concurrent at 4 requests"


def test_of_a_sweep_the_run_nearest_to_the_plan_is_taken():
    report = copy.deepcopy(GUIDELLM)
    for streams in (1, 16, 64):
        more = copy.deepcopy(GUIDELLM["benchmarks"][0])
        more["config"]["strategy"]["streams"] = streams
        report["benchmarks"].append(more)
    found = read_result(json.dumps(report), 20)
    assert (found.concurrency, found.runs) == (16, 4) and "concurrent at 16" in found.tool


def test_trtllm_bench_is_read():
    found = read_result(TRTLLM_BENCH, 95)
    assert found.tool == "trtllm-bench" and found.output_tokens_per_s == pytest.approx(11076.77)
    assert (found.ttft_s, found.tpot_s) == (pytest.approx(0.1597857), pytest.approx(0.0076079))
    assert (found.concurrency, found.input_tokens, found.output_tokens) == (94.6, 128, 128)


@pytest.mark.parametrize(("text", "prompt_s", "token_s"), [
    (json.dumps(LLAMA_JSON), 0.07213564, 1.07676788 / 128),
    ("\n".join(map(json.dumps, LLAMA_JSON)), 0.07213564, 1.07676788 / 128),
    (LLAMA_MD, 512 / 2368.80, 1 / 131.42),
])
def test_llama_bench_is_one_sequence(text, prompt_s, token_s):
    found = read_result(text, 16)
    assert (found.ttft_s, found.tpot_s) == (pytest.approx(prompt_s), pytest.approx(token_s))
    assert found.output_tokens_per_s == pytest.approx(128 / (prompt_s + 128 * token_s))
    assert (found.concurrency, found.input_tokens, found.output_tokens, found.mode) == (1, 512, 128, Mode.STATIC)


@pytest.mark.parametrize(("text", "runs"), [(BATCHED_JSONL, 2), (BATCHED_MD, 1)])
def test_llama_batched_bench_starts_its_batch_together(text, runs):
    found = read_result(text, 16)
    assert (found.ttft_s, found.tpot_s) == (2.0, 4.0 / 256) and found.mode is Mode.STATIC
    assert found.output_tokens_per_s == pytest.approx(16 * 256 / 6)
    assert (found.concurrency, found.input_tokens, found.output_tokens, found.runs) == (16, 1024, 256, runs)


@pytest.mark.parametrize("text", [
    "", "hello", "{", "[]", "{}", '{"median_ttft_ms": NaN, "output_throughput": 3}', '{"median_ttft_ms": true}',
    '{"output_throughput": -4, "median_ttft_ms": 3}', "Median TTFT (ms): 0.0", "{" * 5000, "[" * 100_000,
    "Median TTFT (ms): ,,,", '{"benchmarks": [{}, 3, null]}', '{"benchmarks": [{"metrics": {"a": 1}}]}',
    '{"output_throughput": 1e999, "median_ttft_ms": 3}', "Median TTFT (ms): 1e5",
    f'{{"output_throughput": {"9" * 5000}, "median_ttft_ms": 3}}',
])
def test_what_is_no_result_is_refused_in_one_sentence(text):
    with pytest.raises(InputError) as refused:
        read_result(text, 16)
    assert "\n" not in str(refused.value) and str(refused.value).count(". ") <= 1


def test_a_benchmark_with_failures_proves_nothing():
    with pytest.raises(InputError, match="3 requests of this benchmark failed"):
        read_result(PRINTED.replace("Failed requests:                         0", "Failed requests:    3"), 16)
    with pytest.raises(InputError, match="failed"):
        report = copy.deepcopy(GUIDELLM)
        report["benchmarks"][0]["metrics"]["request_totals"]["errored"] = 2
        read_result(json.dumps(report), 4)
    with pytest.raises(InputError, match="longer than"):
        read_result("x" * (MAX_TEXT + 1), 16)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(
        st.sampled_from(["benchmarks", "metrics", "config", "strategy", "streams", "t_tg", "avg_ns", "n_gen",
                         "n_prompt", "output_throughput", "median_ttft_ms", "successful", "median", "mean", "completed",
                         "pl", "tg", "time_to_first_token_ms", "output_tokens_per_second", "metadata",
                         "max_concurrency"]),
        inner, max_size=8),
    max_leaves=20,
)


@settings(max_examples=200)
@given(JSON)
def test_no_json_breaks_the_reader(document):
    try:
        found = read_result(json.dumps(document), 16)
    except InputError:
        return
    assert found.ttft_s > 0 and found.output_tokens_per_s > 0
