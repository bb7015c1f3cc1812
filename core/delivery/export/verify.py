"""The benchmark that would prove a plan, and its result read back: predicted against measured."""

import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from core.basics.units import MS_PER_S
from core.delivery.export.launch import PORT, Launch, command
from core.delivery.export.order import Order
from core.delivery.export.results import Measured
from core.products.engines import find as find_engine
from core.terms import Estimate, Mode, Workload

VERSION: Final = 1
_ROUNDS: Final = 10                 # requests behind each one in flight, so that the start weighs little
_ALIKE: Final = 0.1                 # lengths and requests in flight closer than this are the same load


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A command that measures a deployment at the planned load."""

    tool: str
    words: tuple[str, ...]
    says: str
    result: str = ""                # the file it writes where it is started; empty: it prints the result
    alone: bool = False             # without a server

    @property
    def command(self) -> str:
        """For a POSIX shell."""
        return shlex.join(self.words)


@dataclass(frozen=True, slots=True)
class Asked:
    """Which server is asked, how much of it, and by whose tokens prompts are counted."""

    url: str = f"http://localhost:{PORT}"
    model: str = ""                 # the name it answers to; empty: that of the launch command
    tokenizer: str = ""             # a Hub id or folder; empty: the model's own
    requests: int | None = None     # None: as many as a steady state takes
    seconds: int = 120              # for tools that are bounded by time


USUALLY: Final = Asked()


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
    return answers_to(command(ordered))


def answers_to(made: Launch) -> str:
    """The name under which a launched server answers."""
    words = made.command
    for option in ("--served-model-name", "--alias", "--model-path", "--model"):
        if option in words:
            return words[words.index(option) + 1]
    return made.model


def benchmarks(ordered: Order, asked: Asked = USUALLY) -> tuple[Benchmark, ...]:
    """What can measure a deployment: its engine's own tool first, then those that work on every server."""
    own = _OWN.get(find_engine(ordered.engine).benchmark)
    made = () if own is None else (own(ordered, asked),)
    return (*made, vllm_bench(ordered, asked), guidellm(ordered, asked))


def vllm_bench(ordered: Order, asked: Asked = USUALLY) -> Benchmark:
    """`vllm bench serve` at the planned load (vLLM 0.33, vllm/benchmarks/serve.py)."""
    load = ordered.workload
    return Benchmark("vllm bench serve", (
        "vllm", "bench", "serve", *_requested(load), "--base-url", asked.url,
        "--model", asked.model or served_name(ordered), "--tokenizer", asked.tokenizer or ordered.spec.name,
        "--random-input-len", str(load.input_tokens), "--random-output-len", str(load.output_tokens), "--ignore-eos",
        "--max-concurrency", str(load.concurrency), "--num-prompts", str(_requests(ordered, asked)),
        "--percentile-metrics", "ttft,tpot,itl,e2el", "--metric-percentiles", "50,90,99",
        "--seed", "0", "--save-result", "--result-filename", "result.json",
    ), "Works on every OpenAI-compatible server.", "result.json")


def _requested(load: Workload) -> tuple[str, ...]:
    """What vLLM's benchmark sends: text, or chats with images of one size (vllm/benchmarks/datasets, 0.33)."""
    if load.pictures is None:
        return "--backend", "openai", "--endpoint", "/v1/completions", "--dataset-name", "random"
    count = str(load.images)
    return (
        "--backend", "openai-chat", "--endpoint", "/v1/chat/completions", "--dataset-name", "random-mm",
        "--random-mm-base-items-per-request", count, "--random-mm-num-mm-items-range-ratio", "0",
        "--random-mm-limit-mm-per-prompt", f'{{"image": {count}, "video": 0}}',
        "--random-mm-bucket-config", f"{{({load.image_height}, {load.image_width}, 1): 1.0}}",
    )


def sglang_bench(ordered: Order, asked: Asked = USUALLY) -> Benchmark:
    """SGLang's bench_serving at the planned load (SGLang 0.5, sglang/benchmark/serving.py).

    Range ratio 1: every request at full length; random-ids: no dataset to download.
    """
    load = ordered.workload
    tokenizer = ("--tokenizer", asked.tokenizer) if asked.tokenizer else ()
    return Benchmark("sglang.bench_serving", (
        "python", "-m", "sglang.bench_serving", "--backend", "sglang", "--base-url", asked.url,
        "--model", asked.model or served_name(ordered), *tokenizer, "--dataset-name", "random-ids",
        "--random-input-len", str(load.prompt_tokens), "--random-output-len", str(load.output_tokens),
        "--random-range-ratio", "1", "--max-concurrency", str(load.concurrency),
        "--num-prompts", str(_requests(ordered, asked)), "--output-file", "result.jsonl",
    ), "SGLang's own.", "result.jsonl")


def llama_batched_bench(ordered: Order) -> Benchmark:
    """llama-batched-bench at the planned load (llama.cpp, tools/batched-bench): a batch that starts together."""
    load = ordered.workload
    server = list(command(ordered).command)
    kept = [word for name in ("--model", "--n-gpu-layers", "--split-mode", "--flash-attn", "--cache-type-k",
                              "--cache-type-v") if name in server for word in (name, server[server.index(name) + 1])]
    return Benchmark("llama-batched-bench", (
        "llama-batched-bench", *kept, "--ctx-size", str(load.concurrency * load.context_tokens),
        "-npp", str(load.prompt_tokens), "-ntg", str(load.output_tokens), "-npl", str(load.concurrency),
        "--output-format", "jsonl",
    ), "llama.cpp's own, without a server: a batch that starts together.", alone=True)


# By the benchmark that an engine's row names.
_OWN: Final[Mapping[str, Callable[[Order, Asked], Benchmark]]] = {
    "sglang.bench_serving": sglang_bench, "llama-batched-bench": lambda ordered, _: llama_batched_bench(ordered),
}


def guidellm(ordered: Order, asked: Asked = USUALLY) -> Benchmark:
    """GuideLLM at the planned load (GuideLLM 0.8, `guidellm run --help`).

    Values are JSON, so that no name is taken for a list of settings; without samples the report stays small.
    """
    load = ordered.workload
    settings = {
        "--backend": {"kind": "openai_http", "target": asked.url, "model": asked.model or served_name(ordered)},
        "--tokenizer": {"kind": "huggingface_auto", "model": asked.tokenizer or ordered.spec.name},
        "--profile": {"kind": "concurrent", "streams": load.concurrency},
        "--constraint": {"kind": "max_duration", "seconds": asked.seconds},
        "--data": {"kind": "synthetic_text", "prompt_tokens": load.prompt_tokens, "output_tokens": load.output_tokens},
        "--metrics": {"kind": "generative", "sample_size": 0},
        "--output": {"kind": "json"},
    }
    words = [word for option, value in settings.items() for word in (option, json.dumps(value))]
    return Benchmark(
        "GuideLLM", ("guidellm", "run", *words), "GuideLLM 0.7 and newer; works on every server.", "benchmarks.json"
    )


def _requests(ordered: Order, asked: Asked) -> int:
    return asked.requests or max(50, _ROUNDS * ordered.workload.concurrency)


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
    load = ordered.workload
    apart = [
        f"{found:,.0f} {what} instead of {planned:,}" for what, planned, found in (
            ("requests in flight", load.concurrency, measured.concurrency),
            ("tokens a prompt", load.prompt_tokens, measured.input_tokens),
            ("tokens an answer", load.output_tokens, measured.output_tokens),
        ) if found is not None and abs(found - planned) > _ALIKE * planned
    ]
    if measured.mode is not load.mode:
        apart.append("a batch that starts together" if measured.mode is Mode.STATIC else "requests that come and go")
    return f"The benchmark ran another load than the plan's: {'; '.join(apart)}." if apart else ""


def cells(ordered: Order, measured: Measured) -> dict[str, Any]:
    """What was measured as a row of the `estimate` command."""
    d, load = ordered.deployment, ordered.workload
    chosen = ordered.choice.footprint.cache.chosen
    row: dict[str, Any] = {
        "model": ordered.spec.name, "gpu": d.gpu.name, "tp": d.tp, "pp": d.pp, "ep": d.ep, "dp": d.dp,
        "weights": d.weights.name, "kv_cache": d.kv_cache.name, "engine": d.engine, "engine_version": d.engine_version,
        "mode": str(measured.mode),
        "concurrency": round(measured.concurrency or load.concurrency),
        "input_tokens": round(measured.input_tokens or load.input_tokens),
        "output_tokens": round(measured.output_tokens or load.output_tokens),
        "max_num_batched_tokens": chosen.max_num_batched_tokens,
        "measured_ttft_ms": measured.ttft_s * MS_PER_S,
        "measured_output_tokens_per_s_per_gpu": measured.output_tokens_per_s / d.gpus,
    }
    if measured.tpot_s is not None:
        row["measured_tpot_ms"] = measured.tpot_s * MS_PER_S
    return row


def record(ordered: Order, measured: Measured) -> Mapping[str, Any]:
    """The measurement to keep: its cells, and what was predicted."""
    return {
        "sweetspot_benchmark": VERSION, "date": datetime.now(UTC).isoformat(timespec="seconds"), "tool": measured.tool,
        "cells": cells(ordered, measured),
        "predicted": {check.name: {"value": check.predicted.value, "low": check.predicted.low,
                                   "high": check.predicted.high, "unit": check.unit}
                      for check in checks(ordered, measured)},
    }
