"""The benchmark that would prove a plan, and its result read back: predicted against measured."""

import json
import math
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from core.errors import InputError
from core.export.launch import PORT, Order, command
from core.terms import Estimate
from core.units import MS_PER_S

VERSION: Final = 1
MAX_TEXT: Final = 2_000_000         # characters of a pasted result
_ROUNDS: Final = 10                 # requests behind each one in flight, so that the start weighs little
_SECONDS: Final = 120
# What the figures are called: in the JSON of `vllm bench serve --save-result`, and in the table it prints,
# which SGLang's bench_serving prints alike. Medians, because all requests of a test start at once.
_JSON: Final = {"ttft_ms": ("median_ttft_ms", "mean_ttft_ms"), "tpot_ms": ("median_tpot_ms", "mean_tpot_ms"),
                "rate": ("output_throughput",)}
_PRINTED: Final = {
    "ttft_ms": (r"Median TTFT \(ms\)", r"Mean TTFT \(ms\)"),
    "tpot_ms": (r"Median TPOT \(ms\)", r"Mean TPOT \(ms\)"),
    "rate": (r"Output token throughput \(tok/s\)",),
    "concurrency": (r"Maximum request concurrency", r"Max request concurrency"),
    "failed": (r"Failed requests",),
}
_NUMBER: Final = r":?\s+([0-9][0-9.,]*)"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a benchmark found."""

    ttft_s: float
    tpot_s: float | None            # None where each answer is a single token
    output_tokens_per_s: float      # of the whole deployment
    concurrency: float | None       # requests in flight, where the result says


@dataclass(frozen=True, slots=True)
class Check:
    """One figure, predicted and measured, in the unit shown."""

    name: str
    unit: str
    predicted: Estimate
    measured: float

    @property
    def ratio(self) -> float:
        """Measured over predicted."""
        return self.measured / self.predicted.value

    @property
    def within(self) -> bool:
        """Whether the measurement lies in the predicted range, which holds 8 of 10."""
        return self.predicted.low <= self.measured <= self.predicted.high


def served_name(ordered: Order) -> str:
    """The name under which the server of the launch command answers."""
    words = command(ordered).command
    return words[2] if words[0] == "vllm" else words[1] if words[0] == "trtllm-serve" else _after(words, "--model")


def _after(words: tuple[str, ...], option: str) -> str:
    return words[next(n for n, word in enumerate(words) if word.startswith(option)) + 1]


def vllm_bench(ordered: Order) -> str:
    """`vllm bench serve` at the planned load (vLLM docs, CLI reference); works on any OpenAI-compatible server."""
    load = ordered.workload
    return shlex.join((
        "vllm", "bench", "serve", "--backend", "openai", "--base-url", f"http://localhost:{PORT}",
        "--endpoint", "/v1/completions", "--model", served_name(ordered), "--tokenizer", ordered.spec.name,
        "--dataset-name", "random", "--random-input-len", str(load.input_tokens),
        "--random-output-len", str(load.output_tokens), "--ignore-eos",
        "--max-concurrency", str(load.concurrency), "--num-prompts", str(max(50, _ROUNDS * load.concurrency)),
        "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,99",
        "--seed", "0", "--save-result", "--result-filename", "result.json",
    ))


def guidellm(ordered: Order) -> str:
    """GuideLLM at the planned load (vllm-project/guidellm README)."""
    load = ordered.workload
    return shlex.join((
        "guidellm", "benchmark", "--target", f"http://localhost:{PORT}", "--model", served_name(ordered),
        "--processor", ordered.spec.name, "--profile", "concurrent", "--rate", str(load.concurrency),
        "--data", f"prompt_tokens={load.input_tokens},output_tokens={load.output_tokens}",
        "--max-seconds", str(_SECONDS),
    ))


def read_result(text: str) -> Measured:
    """The figures of a pasted result: JSON of `vllm bench serve --save-result`, or its printed table.

    Raises InputError where it is neither, or a figure is missing or no positive number.
    """
    if len(text) > MAX_TEXT:
        raise InputError(f"This result is longer than {MAX_TEXT:,} characters: paste the table that was printed.")
    found = _from_json(text) if text.lstrip().startswith("{") else _from_print(text)
    if found.get("failed"):
        raise InputError(f"{found['failed']:,.0f} requests of this benchmark failed: repeat it, then paste the result.")
    missing = [name for name in ("ttft_ms", "rate") if not found.get(name)]
    if missing:
        raise InputError("This is no result of vllm bench serve: TTFT and output throughput are looked for. "
                         "Paste the printed table or the saved JSON.")
    tpot = found.get("tpot_ms")
    return Measured(
        found["ttft_ms"] / MS_PER_S, tpot / MS_PER_S if tpot else None, found["rate"], found.get("concurrency")
    )


def _from_json(text: str) -> dict[str, float]:
    try:
        data = json.loads(text, parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        raise InputError("This result is no JSON: paste the whole file, or the table that was printed.") from None
    if not isinstance(data, dict):
        raise InputError("This JSON is no result of vllm bench serve: an object is looked for.")
    found = {name: next((float(data[key]) for key in keys if _is_figure(data.get(key))), 0.0)
             for name, keys in {**_JSON, "concurrency": ("max_concurrency",), "failed": ("failed",)}.items()}
    return {name: value for name, value in found.items() if value}


def _is_figure(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _from_print(text: str) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, labels in _PRINTED.items():
        for label in labels:
            if match := re.search(label + _NUMBER, text):
                value = _float(match[1])
                if value > 0:
                    found[name] = value
                    break
    return found


def _float(digits: str) -> float:
    try:
        return float(digits.replace(",", ""))
    except ValueError:
        return 0.0


def checks(ordered: Order, measured: Measured) -> tuple[Check, ...]:
    """Each predicted figure beside its measurement."""
    choice = ordered.choice
    made = [Check("TTFT", "ms", _scaled(choice.ttft, MS_PER_S), measured.ttft_s * MS_PER_S)]
    if measured.tpot_s is not None:
        made.append(Check("TPOT", "ms", _scaled(choice.tpot, MS_PER_S), measured.tpot_s * MS_PER_S))
    made.append(Check("Output", "tokens/s", choice.output_tokens_per_s, measured.output_tokens_per_s))
    return tuple(made)


def _scaled(estimate: Estimate, scale: float) -> Estimate:
    value, low, high = (end * scale for end in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high, estimate.basis, estimate.source)


def wrong_load(ordered: Order, measured: Measured) -> str:
    """Why the measurement does not speak for the plan; empty when it does."""
    planned = ordered.workload.concurrency
    if measured.concurrency is None or measured.concurrency == planned:
        return ""
    return f"The benchmark kept {measured.concurrency:,.0f} requests in flight, the plan is for {planned:,}."


def record(ordered: Order, measured: Measured) -> Mapping[str, Any]:
    """The measurement to keep: a row of the `estimate` command with what was measured, and what was predicted."""
    d, load = ordered.deployment, ordered.workload
    chosen = ordered.choice.footprint.cache.chosen
    cells: dict[str, Any] = {
        "model": ordered.spec.name, "gpu": d.gpu.name, "tp": d.tp, "pp": d.pp, "ep": d.ep, "dp": d.dp,
        "weights": d.weights.name, "kv_cache": d.kv_cache.name, "engine": d.engine, "mode": str(load.mode),
        "concurrency": measured.concurrency or load.concurrency, "input_tokens": load.input_tokens,
        "output_tokens": load.output_tokens, "max_num_batched_tokens": chosen.max_num_batched_tokens,
        "measured_ttft_ms": measured.ttft_s * MS_PER_S,
        "measured_output_tokens_per_s_per_gpu": measured.output_tokens_per_s / d.gpus,
    }
    if measured.tpot_s is not None:
        cells["measured_tpot_ms"] = measured.tpot_s * MS_PER_S
    return {
        "sweetspot_benchmark": VERSION, "date": datetime.now(UTC).isoformat(timespec="seconds"), "cells": cells,
        "predicted": {check.name: {"value": check.predicted.value, "low": check.predicted.low,
                                   "high": check.predicted.high, "unit": check.unit}
                      for check in checks(ordered, measured)},
    }
