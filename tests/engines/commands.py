"""The commands that plans hand out: models of every kind, on GPUs of every kind, in formats and layouts that differ."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import cycle
from typing import Final

from core.answers import compare
from core.answers.advice import recommend
from core.answers.traffic import Options, Speculation
from core.basics.errors import SweetspotError
from core.delivery.export.launch import command
from core.delivery.export.order import Order, order
from core.delivery.export.verify import benchmarks
from core.products import gpus
from core.products.drafters import Drafter
from core.reading import catalogue
from core.terms import Workload

MODELS: Final = (
    "meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-70B", "Qwen/Qwen3-32B", "Qwen/Qwen3-30B-A3B", "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-235B-A22B-FP8", "Qwen/Qwen3-Next-80B-A3B-Instruct", "Qwen/Qwen3-VL-32B-Instruct", "openai/gpt-oss-20b",
    "openai/gpt-oss-120b", "google/gemma-3-27b-it", "google/gemma-2-9b", "mistralai/Mixtral-8x22B-v0.1",
    "deepseek-ai/DeepSeek-V3", "deepseek-ai/DeepSeek-V2-Lite", "microsoft/Phi-4-mini-instruct", "zai-org/GLM-4.5-Air",
    "tiiuae/Falcon-H1-0.5B-Instruct", "moonshotai/Kimi-K2-Instruct", "mistralai/Mistral-7B-v0.1",
)
CARDS: Final = ("H100 SXM5 80GB", "A100 SXM4 80GB", "B200 SXM 180GB", "L4", "GeForce RTX 4090", "MI300X", "L40S")
LOADS: Final = (
    Workload(quality_loss=0.2), Workload(4096, 512, 64, quality_loss=0.2), Workload(128, 128, 256, quality_loss=0.2),
    Workload(16_384, 256, 4, prefix_hit_rate=0.5, quality_loss=0.2),
)
FORMATS: Final = (None, ["fp8"], ["awq-int4"], ["bf16"], ["gptq-int4"], ["nvfp4"], ["w8a8-int8"])
DRAFTS: Final = (Drafter.EAGLE3, Drafter.MTP, Drafter.DRAFT, Drafter.NGRAM)


@dataclass(frozen=True, slots=True)
class Made:
    """A command, and of what."""

    of: str
    words: tuple[str, ...]


def made(engine: str) -> Iterator[Made]:
    """Launch and benchmark commands of an engine; what cannot be planned is passed over."""
    for ordered, of in (*_planned(engine), *_split(engine)):
        try:
            yield Made(of, command(ordered).command)
            for benchmark in benchmarks(ordered):
                yield Made(f"{of}, {benchmark.tool}", tuple(shlex.split(benchmark.command)))
        except SweetspotError:
            continue


def _planned(engine: str) -> Iterator[tuple[Order, str]]:
    drafts, loads = cycle(DRAFTS), cycle(LOADS)
    for turn, name in enumerate(MODELS):
        for step in range(3):
            fmt, card = FORMATS[(turn + 2 * step) % len(FORMATS)], CARDS[(turn + step) % len(CARDS)]
            ordered = _order(engine, name, card, next(loads), fmt)
            if ordered is not None:
                of = f"{name} on {card}, {ordered.deployment.weights.name}"
                yield ordered, of
                draft = next(drafts)
                drafted = replace(ordered.choice, deployment=replace(ordered.deployment, drafter=draft))
                yield replace(ordered, choice=drafted, options=Options(
                    chunk_tokens=4096, prefix_reuse=0.3, offload=True, speculation=Speculation(0.7, 3),
                )), f"{of}, {draft}"


def _order(engine: str, name: str, card: str, load: Workload, fmt: Sequence[str] | None) -> Order | None:
    spec = catalogue.load(name)
    assert spec is not None, name
    try:
        return order(recommend(spec, gpus.find(card), load, engine=engine, formats=fmt))
    except SweetspotError:
        return None


def _split(engine: str) -> Iterator[tuple[Order, str]]:
    """Every layout of a dense model and a mixture: tensors, stages, replicas, experts."""
    for name in ("Qwen/Qwen3-30B-A3B", "meta-llama/Llama-3.1-70B"):
        spec = catalogue.load(name)
        field = compare.compare(compare.board(spec, [gpus.find(CARDS[0])], [engine]), Workload())
        seen = set()
        for row, d in enumerate(field.deployments):
            layout = (d.tp, d.pp, d.ep, d.dp)
            if layout not in seen:
                seen.add(layout)
                yield Order(spec, field.workload, compare.choice_of(field, row)), f"{name} split {layout}"
