"""Why a server did not start, or what it left unused: a pasted log, error or command line against our own rules.

What the text says comes first. Where it names no failure, the deployment it describes is checked as a plan would be:
shapes, kernels, context, memory.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import isfinite
from typing import Final

from core.basics.errors import SweetspotError
from core.basics.units import GIB, MIB
from core.losses import Losses
from core.models import ModelSpec
from core.physics import memory
from core.physics.shapes import misfit
from core.products import formats, gpus, kernels
from core.products.engines import find as find_engine
from core.products.gpus import GpuSpec
from core.reading import logs
from core.terms import Deployment

NOT_UNDERSTOOD: Final = ("This text was not understood: paste the start-up log, the error or the command line of "
                         "an inference engine.")
_LENGTHS: Final = tuple(1024 * 2**n for n in range(12))     # of a context that a suggestion names
MAX_BYTES: Final = 20_000_000        # of a log file; of a longer one only the beginning is read
_MEMORY: Final = ("weights", "kv", "activations", "graphs")
Resolve = Callable[[str], ModelSpec]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What the text was about, what is wrong, what helps, and what it measured."""

    understood: bool
    engine: str | None
    model: str | None
    gpu: str | None
    problem: str                       # one sentence
    changes: tuple[str, ...]           # the smallest first
    measured: dict[str, float]         # terms of the log in GiB and tokens


def diagnose(text: str, resolve: Resolve) -> Diagnosis:
    """Reads a text; `resolve` finds a model by name and raises SweetspotError where it cannot."""
    log = logs.read(text)
    if not log.is_understood:
        return Diagnosis(False, None, None, None, NOT_UNDERSTOOD, (), {})
    spec, gpu = _model(log, resolve), _gpu(log)
    deployment = _deployment(log, spec, gpu)
    own = _own_findings(spec, deployment, bool(gpu)) if spec and deployment else None
    sentence, changes = (log.problem.sentence, log.problem.changes) if log.problem else own or (_unused(log), ())
    if log.problem and log.problem.kind in ("memory", "context") and spec and deployment and gpu:
        changes = (*changes, *_that_fit(spec, deployment))
    return Diagnosis(
        True, log.engine or None, spec.name if spec else log.texts.get("model"), gpu.name if gpu else None,
        sentence, tuple(dict.fromkeys(changes)), measured(log),
    )


def _model(log: logs.Log, resolve: Resolve) -> ModelSpec | None:
    try:
        return resolve(log.texts["model"])
    except (KeyError, SweetspotError):
        return None


def _gpu(log: logs.Log) -> GpuSpec | None:
    """The card by name, with the memory the log reports."""
    try:
        found = gpus.find(log.texts["gpu"])
    except (KeyError, SweetspotError):
        return None
    reported = log.numbers.get("reported_gib")
    return replace(found, memory_bytes=int(reported * GIB)) if reported else found


def _deployment(log: logs.Log, spec: ModelSpec | None, gpu: GpuSpec | None) -> Deployment | None:
    """The deployment the text describes, on the default card where it names none."""
    if spec is None or not log.engine:
        return None
    number = log.numbers
    tp, dp = int(number.get("tp", 1)), int(number.get("dp", 1))
    shipped = spec.shipped.format if spec.shipped else "bf16"
    try:
        return Deployment(
            gpu or gpus.find(gpus.DEFAULT_GPU), formats.find(log.texts.get("weights", shipped)),
            formats.find_kv(log.texts.get("kv_cache", "bf16").split("_")[0]), tp=tp, pp=int(number.get("pp", 1)),
            dp=dp, ep=tp * dp if "expert_parallel" in log.texts else 1, engine=find_engine(log.engine).name,
            engine_version=log.texts.get("version", ""), memory_fraction=number.get("memory_fraction"),
            max_model_len=int(number["max_model_len"]) if number.get("max_model_len") else None,
            max_num_seqs=int(number["max_num_seqs"]) if number.get("max_num_seqs") else None,
        )
    except SweetspotError:          # a method name of the engine that is no format: fall back on the checkpoint's own
        return None if log.texts.get("weights") is None else _deployment(
            replace(log, texts={k: v for k, v in log.texts.items() if k != "weights"}), spec, gpu)


def _own_findings(spec: ModelSpec, d: Deployment, on_named_gpu: bool) -> tuple[str, tuple[str, ...]] | None:
    """The first rule the deployment breaks: shapes, kernels, context, memory; None when it should start."""
    if reason := misfit(spec, d):
        return _sentence(reason), ()
    if not on_named_gpu:
        return None
    if reason := kernels.unsupported(d.weights, d.gpu, d.engine) or kernels.kv_unsupported(d.kv_cache, d.gpu, d.engine):
        return _sentence(reason), ()
    if spec.max_context and d.max_model_len and d.max_model_len > spec.max_context:
        return (f"A context of {d.max_model_len:,} tokens was asked for; the model's own is {spec.max_context:,}.",
                (f"Lower the context to {spec.max_context:,} tokens.",))
    footprint = memory.footprint(spec, d)
    if not footprint.fits:
        return (f"Weights and overheads are over the memory by {footprint.overflow_bytes / GIB:,.1f} GiB per GPU.",
                tuple(_that_fit(spec, d)))
    length = float(d.max_model_len or spec.max_context or 0)
    if length and float(footprint.max_concurrency(length)) < 1:
        need, left = float(footprint.cache.sequence_bytes(length)) / GIB, footprint.kv_cache_bytes / GIB
        return (f"One request of {length:,.0f} tokens needs {need:,.1f} GiB of KV cache; {left:,.1f} GiB are left "
                "beside the weights.", tuple(_that_fit(spec, d)))
    return None


def _that_fit(spec: ModelSpec, d: Deployment) -> Iterator[str]:
    """The smallest changes after which one request fits, each with its price."""
    here = memory.footprint(spec, d)
    held = [n for n in _LENGTHS if here.fits and float(here.max_concurrency(float(n))) >= 1
            and n <= (spec.max_context or n)]
    if held and held[-1] < (d.max_model_len or spec.max_context or 0):
        yield f"A context of {held[-1]:,} tokens fits as it is; longer prompts are then refused."
    smaller = [replace(d, kv_cache=kv) for kv in formats.KV_FORMATS.values()
               if 8 <= kv.bits_per_value < d.kv_cache.bits_per_value]
    smaller += [replace(d, weights=fmt) for fmt in formats.FORMATS.values()
                if fmt.bits_per_weight < d.weights.bits_per_weight and not spec.shipped]
    losses = Losses(spec)
    known = [(loss.value, way) for way in smaller
             if (loss := losses.of(way.weights, way.kv_cache)) and _holds(spec, way)]
    for expected, way in sorted(known, key=lambda pair: pair[0])[:2]:
        yield f"{_narrowed(d, way)} fit, at an expected loss of quality of {max(0.0, 100 * expected):.1f} %."
    for more in (replace(d, tp=d.tp * times) for times in (2, 4, 8)):
        if _holds(spec, more):
            times = more.gpus // d.gpus
            yield f"Over {more.gpus} GPUs (tensor parallel {more.tp}) it fits, at {times} times the price."
            return


def _holds(spec: ModelSpec, d: Deployment) -> bool:
    """Whether the deployment runs and one request of full length fits."""
    if misfit(spec, d) or kernels.unsupported(d.weights, d.gpu, d.engine) \
            or kernels.kv_unsupported(d.kv_cache, d.gpu, d.engine):
        return False
    found = memory.footprint(spec, d)
    length = float(d.max_model_len or spec.max_context or _LENGTHS[0])
    return found.fits and float(found.max_concurrency(length)) >= 1


def _narrowed(d: Deployment, way: Deployment) -> str:
    """What is smaller in a changed deployment, as a subject in the plural."""
    if way.weights != d.weights:
        return f"{way.weights.label} weights"
    return f"{way.kv_cache.name.upper()} keys and values"


def _unused(log: logs.Log) -> str:
    """Nothing is wrong: what the server has, and what of it waits."""
    tokens, length = log.numbers.get("kv_tokens"), log.numbers.get("max_model_len")
    if tokens and isfinite(tokens):
        room = f", room for {tokens / length:,.1f} requests of {length:,.0f}" if length else ""
        return f"It started: the KV cache holds {tokens:,.0f} tokens{room}."
    return "Nothing in it is wrong as far as the text says."


def measured(log: logs.Log) -> dict[str, float]:
    """Memory terms of one GPU in GiB, KV tokens, and requests of full length."""
    found = {f"{term}_gib": log.numbers[f"{term}_gib"] for term in _MEMORY if f"{term}_gib" in log.numbers}
    found |= {f"{term}_gib": log.numbers[f"{term}_mib"] * MIB / GIB for term in _MEMORY if f"{term}_mib" in log.numbers}
    return found | {name: log.numbers[name] for name in ("kv_tokens", "max_concurrency") if name in log.numbers}


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]
