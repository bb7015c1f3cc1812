"""Results of benchmarks as their tools write them: vLLM, SGLang, GuideLLM, TensorRT-LLM, llama.cpp.

A pasted text may hold several runs, as a sweep does; the one nearest to the plan's concurrency is taken.
"""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Final, TypeGuard

from core.basics.errors import InputError
from core.basics.units import MS_PER_S
from core.basics.words import counted
from core.terms import Mode

MAX_TEXT: Final = 20_000_000        # characters of a result; a GuideLLM report holds every request
READABLE: Final = ("vllm bench serve, sglang.bench_serving, GuideLLM, trtllm-bench, TensorRT-LLM's benchmark_serving, "
                   "llama-bench or llama-batched-bench")
_NS_PER_S: Final = 1e9
_MOST_TESTS: Final = 200            # of llama-bench; every prompt is paired with every answer


@dataclass(frozen=True, slots=True)
class Measured:
    """What one run of a benchmark found. None where the result does not say."""

    tool: str                               # and which of its runs, for people
    ttft_s: float
    tpot_s: float | None                    # None where each answer is a single token
    output_tokens_per_s: float              # of the whole deployment
    concurrency: float | None = None        # requests in flight
    input_tokens: float | None = None       # mean of a prompt
    output_tokens: float | None = None      # mean of an answer
    mode: Mode = Mode.SERVING
    failed: int = 0                         # requests
    runs: int = 1                           # that the text held


def read_result(text: str, concurrency: float) -> Measured:
    """The run nearest to a concurrency. Raises InputError where none is found, or where its requests failed."""
    if len(text) > MAX_TEXT:
        raise InputError(f"This result is longer than {MAX_TEXT:,} characters: paste the summary that was printed.")
    documents = list(_documents(text))
    found = [*_from_json(documents)] if documents else [*_from_print(text)]
    known = [run for run in found if _is_figure(run.ttft_s) and _is_figure(run.output_tokens_per_s)]
    if not known:
        raise InputError("No TTFT and output throughput are found in this text. "
                         f"Paste what one of these printed or saved: {READABLE}.")
    best = min(known, key=lambda run: abs(math.log((run.concurrency or concurrency) / concurrency)))
    if best.failed:
        failed = counted(best.failed, "request")
        raise InputError(f"{failed} of this benchmark failed: repeat it, then paste the result.")
    return replace(best, runs=len(known))


def _documents(text: str) -> Iterator[Any]:
    """JSON values of a text: one, or one a line; none where it is no JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return
    try:
        yield json.loads(text)
        return
    except RecursionError:
        return
    except ValueError:
        pass
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except (ValueError, RecursionError):
            continue


def _from_json(documents: list[Any]) -> Iterator[Measured]:
    """Runs of every tool that writes JSON; what is none of them is passed over."""
    parts = [part for one in documents for part in (one if isinstance(one, list) else [one])]
    objects = [part for part in parts if isinstance(part, dict)]
    for document in objects:
        if isinstance(document.get("benchmarks"), list):
            yield from _guidellm(document)
        elif "t_tg" in document:
            yield from _batched_bench(document)
        elif "output_throughput" in document:
            yield _bench_serving(document)
    yield from _llama_bench(
        (int(_number(test, "n_prompt")), int(_number(test, "n_gen")), _number(test, "avg_ns") / _NS_PER_S)
        for test in objects if "avg_ns" in test and not test.get("n_depth")
    )


def _bench_serving(document: Mapping[str, Any]) -> Measured:
    """`vllm bench serve --save-result` (vllm/benchmarks/serve.py, 0.33) and SGLang's JSONL (benchmark/serving.py, 0.5).

    Medians where they are, because all requests of a test start at once.
    """
    completed = _number(document, "completed")
    sglang = "random_input_len" in document
    ttft, tpot = (_first(document, f"median_{name}_ms", f"mean_{name}_ms") for name in ("ttft", "tpot"))
    prompt, answer = (
        _number(document, key) / completed or None if completed else None
        for key in ("total_input_tokens", "total_output_tokens")
    )
    return Measured(
        "sglang.bench_serving" if sglang else "vllm bench serve", ttft / MS_PER_S, tpot / MS_PER_S if tpot else None,
        _number(document, "output_throughput"), _number(document, "max_concurrency") or None, prompt, answer,
        failed=int(_number(document, "failed")),
    )


def _guidellm(document: Mapping[str, Any]) -> Iterator[Measured]:
    """benchmarks.json of GuideLLM 0.2 to 0.8 (schemas in guidellm/benchmark).

    Its inter-token latency is what others call TPOT; its own "time per output token" counts the first one in.
    """
    metadata = document.get("metadata")
    version = metadata.get("guidellm_version", "") if isinstance(metadata, dict) else ""
    for benchmark in document["benchmarks"]:
        metrics = _inside(benchmark, "metrics")
        strategy = _inside(benchmark, "config", "strategy") or _inside(benchmark, "args", "strategy")
        streams = _number(strategy, "streams") or _successful(metrics, "request_concurrency", "mean")
        kind = str(strategy.get("type_", "run"))[:20]
        tpot = _successful(metrics, "inter_token_latency_ms", "median")
        yield Measured(
            f"GuideLLM {str(version)[:20]}".strip() + f", {kind} at {streams:,.3g} requests",
            _successful(metrics, "time_to_first_token_ms", "median") / MS_PER_S, tpot / MS_PER_S if tpot else None,
            _successful(metrics, "output_tokens_per_second", "mean"), streams or None,
            _successful(metrics, "prompt_token_count", "mean") or None,
            _successful(metrics, "output_token_count", "mean") or None,
            failed=int(_number(_inside(metrics, "request_totals"), "errored")),
        )


def _successful(metrics: Mapping[str, Any], name: str, statistic: str) -> float:
    return _number(_inside(metrics, name, "successful"), statistic)


def _batched_bench(test: Mapping[str, Any]) -> Iterator[Measured]:
    """A line of `llama-batched-bench --output-format jsonl` (tools/batched-bench/batched-bench.cpp)."""
    prompt, answer, batch, prompt_s, answer_s = (_number(test, key) for key in ("pp", "tg", "pl", "t_pp", "t_tg"))
    if batch and answer and prompt_s and answer_s:
        yield _batch("llama-batched-bench", prompt, answer, batch, prompt_s, answer_s)


def _batch(tool: str, prompt: float, answer: float, batch: float, prompt_s: float, answer_s: float) -> Measured:
    """Sequences that start together: all prompts first, then all answers."""
    return Measured(
        f"{tool}, batch of {batch:,.0f}", prompt_s, answer_s / answer, batch * answer / (prompt_s + answer_s), batch,
        prompt, answer, Mode.STATIC,
    )


def _llama_bench(tests: Iterable[tuple[int, int, float]]) -> Iterator[Measured]:
    """Prompt tests and answer tests of llama-bench, one sequence each, put together pair by pair.

    (prompt tokens, answer tokens, seconds); tests of both at once tell them not apart and are passed over.
    """
    known = list(tests)[:_MOST_TESTS]
    prompts = [(prompt, seconds) for prompt, answer, seconds in known if prompt and not answer]
    answers = [(answer, seconds) for prompt, answer, seconds in known if answer and not prompt]
    for (prompt, prompt_s), (answer, answer_s) in product(prompts, answers):
        yield _batch("llama-bench", prompt, answer, 1, prompt_s, answer_s)


# -- printed tables -----------------------------------------------------------------------------------

# vLLM, SGLang and TensorRT-LLM's benchmark_serving print alike; trtllm-bench has a form of its own
# (tensorrt_llm/bench, PERFORMANCE OVERVIEW).
_PRINTED: Final[Mapping[str, tuple[str, ...]]] = {
    "ttft_ms": (r"Median TTFT \(ms\)", r"Mean TTFT \(ms\)", r"\[TTFT\] P50",
                r"Average time-to-first-token \[TTFT\] \(ms\)"),
    "tpot_ms": (r"Median TPOT \(ms\)", r"Mean TPOT \(ms\)", r"\[TPOT\] P50",
                r"Average time-per-output-token \[TPOT\] \(ms\)"),
    "rate": (r"Output token throughput \(tok/s\)", r"Total Output Throughput \(tokens/sec\)"),
    "concurrency": (r"Maximum request concurrency", r"Max request concurrency", r"Number of concurrent requests"),
    "failed": (r"Failed requests",),
    "completed": (r"Successful requests",),
    "total_input": (r"Total input tokens",),
    "total_output": (r"Total generated tokens",),
    "input": (r"Average Input Length \(tokens\)",),
    "output": (r"Average Output Length \(tokens\)",),
}
_NUMBER: Final = r"\s*:?[ \t]+([0-9][0-9.,]*)"
_LLAMA_BENCH_ROW: Final = re.compile(r"\|\s*(pp|tg)\s?(\d{1,7})\s*\|\s*(\d[\d.]*)\s*±")
_BATCHED_ROW: Final = re.compile(r"^\|" + r"\s*(\d[\d.]*)\s*\|" * 10, re.MULTILINE)


def _from_print(text: str) -> Iterator[Measured]:
    """Runs of a printed table."""
    yield from _llama_bench(
        (int(tokens) if kind == "pp" else 0, int(tokens) if kind == "tg" else 0, int(tokens) / rate)
        for kind, tokens, words in _LLAMA_BENCH_ROW.findall(text) if (rate := _float(words))
    )
    for row in _BATCHED_ROW.findall(text):
        prompt, answer, batch, _, prompt_s, _, answer_s, *_ = map(_float, row)
        if batch and answer and prompt_s and answer_s:
            yield _batch("llama-batched-bench", prompt, answer, batch, prompt_s, answer_s)
    found = {name: _printed(text, labels) for name, labels in _PRINTED.items()}
    completed, tpot = found["completed"], found["tpot_ms"]
    yield Measured(
        "trtllm-bench" if "PERFORMANCE OVERVIEW" in text else "serving benchmark", found["ttft_ms"] / MS_PER_S,
        tpot / MS_PER_S if tpot else None, found["rate"], found["concurrency"] or None,
        found["input"] or (found["total_input"] / completed if completed else 0.0) or None,
        found["output"] or (found["total_output"] / completed if completed else 0.0) or None,
        failed=int(found["failed"]),
    )


def _printed(text: str, labels: Iterable[str]) -> float:
    """The number behind the first of the labels that is there; 0 without."""
    for label in labels:
        if (match := re.search(label + _NUMBER, text)) and (value := _float(match[1])):
            return value
    return 0.0


def _float(digits: str) -> float:
    try:
        value = float(digits.replace(",", ""))
    except ValueError:
        return 0.0
    return value if math.isfinite(value) else 0.0


# -- cells of a stranger's JSON -----------------------------------------------------------------------


def _inside(document: object, *keys: str) -> Mapping[str, Any]:
    """The object at a path of keys; empty where there is none."""
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document if isinstance(document, dict) else {}


def _number(document: Mapping[str, Any], key: str) -> float:
    """A positive number of an object, else 0."""
    value = document.get(key)
    return float(value) if _is_figure(value) else 0.0


def _first(document: Mapping[str, Any], *keys: str) -> float:
    return next((value for key in keys if (value := _number(document, key))), 0.0)


def _is_figure(value: object) -> TypeGuard[float]:
    """Whether it is a positive number within what a double holds."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < 1e300
