"""Estimates for many cases at once: set-ups are built once, loads are answered in columns."""

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core.basics.errors import InputError, SweetspotError
from core.basics.units import GIB
from core.calibration.published import assumed_kv_format
from core.delivery.estimate.hosting import hosting
from core.delivery.estimate.phases import apart_cells, is_apart, phases_release
from core.delivery.estimate.rows import Row, Setup
from core.models import ModelSpec
from core.physics import drafter, images, lora, memory
from core.physics.apart import worker
from core.physics.ask import Desk, Load, desk
from core.physics.memory import Footprint
from core.physics.shapes import misfit
from core.physics.speed import Anchors, Cases, Prediction, Range, kwh_per_million
from core.products import cpus, formats, gpus
from core.products.architectures import unrunnable
from core.products.engines import GENERIC, known
from core.products.engines import find as find_engine
from core.products.halves import only_fp32, too_narrow
from core.products.kernels import kernel, kv_sixteen, kv_unsupported, sixteen, unsupported
from core.terms import LOAD, Deployment

Floats: TypeAlias = NDArray[np.float64]
Resolve: TypeAlias = Callable[[str], ModelSpec]

log = logging.getLogger("sweetspot")
_NO_TOKENS: Final = 1024.0
_RAM_GIB: Final = 64.0           # of a host whose memory nobody states
MOST_BUILT: Final = 20_000       # kept at once
STRUCTURE: Final = "structure"
_NONE: Final = Range(np.empty(0), np.empty(0), np.empty(0))


@dataclass(frozen=True, slots=True)
class Refused:
    """Why the engine would not run a case, first things first."""

    by: str                    # structure kernels memory context
    reason: str                # one sentence, the plan's
    is_void: bool = False      # no figure would mean anything: the shapes cannot be split so


@dataclass(frozen=True, slots=True)
class Built:
    """A set-up resolved: its model, deployment and memory."""

    spec: ModelSpec
    deployment: Deployment
    footprint: Footprint
    has_gpu: bool              # False: only what needs no GPU can be said
    refused: Refused | None    # by the shapes, or for the GPU: where it is over its memory, as if it fitted
    cells: Mapping[str, object] = field(repr=False)      # of the output, the same for every load


@dataclass(frozen=True, slots=True)
class Estimates:
    """Answers of all rows: who was answered by what, and the speeds of those with a load."""

    built: tuple[Built | None, ...]          # [rows]
    errors: tuple[str, ...]                  # [rows] empty where answered
    loaded: NDArray[np.intp]                 # rows with speeds
    prediction: Prediction | None            # [loaded]
    rows: tuple[Row | None, ...] = field(repr=False)
    cases: Cases | None = field(repr=False)  # what was asked of the speed model [loaded]


@dataclass(frozen=True, slots=True)
class Bench:
    """Set-ups built so far: cases that share one build it once, in whichever part of a file they stand."""

    resolve: Resolve           # a model's name into its spec; raises SweetspotError when it cannot
    models: dict[str, ModelSpec | str] = field(default_factory=dict)
    setups: dict[Setup, Built | str] = field(default_factory=dict)

    def built(self, setup: Setup) -> Built | str:
        """The set-up, or the sentence why it cannot be."""
        if setup not in self.setups:
            for kept in (self.setups, self.models):
                if len(kept) >= MOST_BUILT:
                    kept.clear()
            self.setups[setup] = _build(setup, self.models, self.resolve)
        return self.setups[setup]


def estimate(cases: Sequence[Row | str], at: Bench, anchors: Anchors | None = None) -> Estimates:
    """Memory and speed of every case; a case that is text is an error already known.

    Speeds follow what was measured nearby (`anchors`).
    """
    built: list[Built | None] = []
    errors: list[str] = []
    for case in cases:
        answer = case if isinstance(case, str) else at.built(case.setup)
        built.append(None if isinstance(answer, str) else answer)
        errors.append(answer if isinstance(answer, str) else "")
    rows = tuple(None if isinstance(case, str) else case for case in cases)
    loaded = np.array([
        i for i, (one, case) in enumerate(zip(built, rows, strict=True))
        if one and one.has_gpu and case and not math.isnan(case.context_tokens) and not _is_void(one)
        and not is_apart(case)
    ], np.intp)
    if not len(loaded):
        return Estimates(tuple(built), tuple(errors), loaded, None, rows, None)
    there, asked = _asked(built, rows, loaded)
    return Estimates(tuple(built), tuple(errors), loaded, there.answer(asked, anchors), rows, asked)


def _build(setup: Setup, models: dict[str, ModelSpec | str], resolve: Resolve) -> Built | str:
    """A set-up resolved, or the sentence why it cannot be."""
    try:
        if setup.model not in models:
            models[setup.model] = _resolved(setup.model, resolve)
        spec = models[setup.model]
        if isinstance(spec, str):
            return spec
        deployment, has_gpu = _deployment(setup, spec)
        unsplit = misfit(spec, deployment)
        if unsplit and spec.is_moe and not misfit(spec, whole := replace(deployment, ep=deployment.tp * deployment.dp)):
            deployment = whole           # the figures are of what people then run: experts whole on each GPU
        footprint = memory.footprint(spec, deployment)
        refused = _refused(spec, deployment, footprint, has_gpu)
        if unsplit and refused is None:
            refused = Refused(STRUCTURE, _sentence(unsplit))
    except SweetspotError as error:
        return str(error)
    return Built(spec, deployment, footprint, has_gpu, refused, _memory_cells(spec, deployment, footprint, has_gpu))


def _refused(spec: ModelSpec, d: Deployment, footprint: Footprint, has_gpu: bool) -> Refused | None:
    """The first rule that the set-up breaks, in the order engines meet them; None when it starts."""
    if reason := misfit(spec, d):
        return Refused(STRUCTURE, _sentence(reason), is_void=True)
    if reason := unrunnable(spec.family, d.engine, d.engine_version):
        return Refused(STRUCTURE, reason)
    if reason := drafter.missing(spec, d) or images.missing(spec, d) or lora.missing(d):
        return Refused(STRUCTURE, _sentence(reason), is_void=True)
    most = find_engine(d.engine).most_seqs
    if most and d.max_num_seqs and d.max_num_seqs > most:
        label = find_engine(d.engine).label
        return Refused(STRUCTURE, f"{label} serves at most {most:,} sequences at once.", is_void=True)
    if has_gpu and d.gpu.vendor != cpus.CPU and (
        reason := unsupported(d.weights, d.gpu, d.engine, d.engine_version)
        or kv_unsupported(d.kv_cache, d.gpu, d.engine) or too_narrow(d.weights, spec.family, d.gpu, d.engine)
    ):
        return Refused("kernels", _sentence(reason))
    if reason := memory.unreachable(d):
        return Refused("memory", reason)
    if has_gpu and not footprint.fits:
        over = footprint.overflow_bytes / GIB
        return Refused("memory", f"Weights and overheads are over the memory by {over:,.1f} GiB per GPU.")
    if has_gpu and d.max_num_seqs and (reason := footprint.cache.too_few_states(footprint.kv_cache_bytes)):
        return Refused("memory", reason)
    if d.max_model_len and spec.max_context and d.max_model_len > spec.max_context:
        return Refused("context",
                       f"max_model_len is {d.max_model_len:,}: the model ends at {spec.max_context:,} tokens.")
    if has_gpu and d.max_model_len and float(footprint.max_concurrency(float(d.max_model_len))) < 1:
        return Refused("memory", f"The KV cache has no room for one request of {d.max_model_len:,} tokens.")
    return None


def _is_void(one: Built) -> bool:
    return one.refused is not None and one.refused.is_void


def _sentence(reason: str) -> str:
    return reason[:1].upper() + reason[1:]


def _too_long(one: Built, case: Row) -> Refused | None:
    """Whether the load itself is longer than the model, or than what the set-up allows."""
    length = case.context_tokens + images.prompt_tokens(one.spec, one.deployment.images)
    most = one.deployment.max_model_len or one.spec.max_context
    if not most or math.isnan(length) or length <= most:
        return None
    limit = "max_model_len allows" if one.deployment.max_model_len else "the model ends at"
    return Refused("context", f"{length:,.0f} tokens are asked for: {limit} {most:,}.")


def _resolved(name: str, resolve: Resolve) -> ModelSpec | str:
    try:
        return resolve(name)
    except SweetspotError as error:
        return str(error)


def _deployment(setup: Setup, spec: ModelSpec) -> tuple[Deployment, bool]:
    """The deployment with its defaults, and whether its GPU is named."""
    host, placement = hosting(setup, spec)
    if host is not None and setup.gpu.lower() in (cpus.NONE, "cpu"):
        gpu, found, taken = cpus.alone(host, (setup.ram_gib or _RAM_GIB) * GIB), None, 1
    else:
        found = gpus.meant(setup.gpu or gpus.DEFAULT_GPU)
        taken, gpu = setup.tp * setup.pp * setup.dp, found.spec
    if found and found.names_count and found.count != taken:
        raise InputError(f"'{setup.gpu}' is {found.count} x {found.name}, but tp x pp x dp is {taken}: "
                         "name one GPU, or make them agree.")
    if setup.reported_gib is not None:
        gpu = replace(gpu, memory_bytes=int(setup.reported_gib * GIB))
    engine = known(setup.engine or GENERIC)
    weights = formats.find(setup.weights or (spec.shipped.format if spec.shipped else "bf16"))
    kv_cache = formats.find_kv(setup.kv_cache or _kv_format(setup, spec, weights.name, engine))
    if weights.name == "bf16":
        single = only_fp32(spec.family, gpu, engine)
        weights = formats.find("fp32") if single else sixteen(weights.name, gpu, engine, setup.engine_version)
    if kv_cache.name == "bf16":
        kv_cache = formats.find_kv("fp32") if weights.name == "fp32" else kv_sixteen(kv_cache.name, gpu, engine)
    ranks = setup.tp * setup.dp
    if setup.ep > ranks:
        raise InputError(f"ep is {setup.ep}: experts cannot spread over more than tp x dp = {ranks} GPUs.")
    deployment = Deployment(
        gpu=gpu, weights=weights, kv_cache=kv_cache, tp=setup.tp, pp=setup.pp, ep=setup.ep, dp=setup.dp,
        engine=engine, engine_version=setup.engine_version, memory_fraction=setup.memory_fraction,
        max_model_len=setup.max_model_len, max_num_batched_tokens=setup.max_num_batched_tokens,
        max_num_seqs=setup.max_num_seqs, drafter=setup.drafter, host=host, placement=placement,
        nodes=setup.nodes, network_gbit_per_s=setup.network_gbit_per_s,
        images=setup.images, adapters=setup.adapters,
    )
    if setup.decode is not None:       # of its own kind of workers: the first way to split one that holds the model
        deployment = worker(spec, phases_release(deployment), setup.decode.gpus)[0]
    return deployment, bool(setup.gpu)


def _kv_format(setup: Setup, spec: ModelSpec, weights: str, engine: str) -> str:
    """The KV cache of a row that does not state it: what benchmarks use under a load, else the engine's own.

    By itself only TensorRT-LLM applies the scales a checkpoint declares; vLLM's and SGLang's start-up logs
    show 16 bits for such checkpoints too (vLLM on nvidia/Gemma-4-31B-IT-NVFP4).
    """
    if setup.has_load:
        return assumed_kv_format(weights, engine)
    shipped = spec.shipped
    if find_engine(engine).declared_cache and shipped and shipped.format == weights and shipped.kv_format:
        return shipped.kv_format
    return "fp32" if weights == "fp32" else "bf16"


def _asked(built: Sequence[Built | None], rows: Sequence[Row | None], loaded: NDArray[np.intp]) -> tuple[Desk, Cases]:
    """The loaded rows as the speed model takes them, each set-up once."""
    pairs: dict[int, int] = {}
    chosen: list[Built] = []
    loads: list[Row] = []
    which = np.empty(len(loaded), np.intp)
    for n, index in enumerate(loaded.tolist()):
        one, case = built[index], rows[index]
        assert one is not None and case is not None
        if id(one) not in pairs:
            pairs[id(one)] = len(chosen)
            chosen.append(one)
        which[n] = pairs[id(one)]
        loads.append(case)
    at = desk((one.spec, one.deployment) for one in chosen)
    return at, at.cases(Load(
        np.array([case.static for case in loads]),
        **{one.name: np.array([case.load[one.name] for case in loads], float) for one in LOAD},
    ), which)


def answers(cases: Sequence[Row | str], names: Sequence[str], at: Bench,
            anchors: Anchors | None) -> list[Mapping[str, object]]:
    """One row of output cells per case, in the order of the cases.

    What an odd case breaks, for all our care, are its own figures: the others are answered without it.
    """
    try:
        return columns(estimate(cases, at, anchors), names)
    except Exception:
        if len(cases) == 1:
            log.exception("case %s", names[0])
            return [{"case": names[0], "error": "Internal error: please report this row."}]
    half = len(cases) // 2
    return [*answers(cases[:half], names[:half], at, anchors), *answers(cases[half:], names[half:], at, anchors)]


def columns(estimates: Estimates, names: Sequence[str]) -> list[Mapping[str, object]]:
    """One row of output cells per case, in the order of the cases; unanswered cells are missing."""
    p = estimates.prediction
    energy = _NONE if p is None else kwh_per_million(p.watts_per_gpu, p.output_tokens_per_s_per_gpu)
    place = {int(index): n for n, index in enumerate(estimates.loaded)}
    most = _concurrency(estimates).tolist()
    out: list[Mapping[str, object]] = []
    for index, name in enumerate(names):
        cells: dict[str, object] = {"case": name, "error": estimates.errors[index]}
        one, case = estimates.built[index], estimates.rows[index]
        if one is not None and case is not None:
            refused = one.refused or _too_long(one, case)
            if refused:
                cells |= {"error": refused.reason, "refused_by": refused.by}
            if _is_void(one):
                out.append(cells)
                continue
            cells |= {**one.cells, "max_concurrency": most[index]}
            cells["fits"] = cells.get("fits") and refused is None
            if is_apart(case):
                cells |= apart_cells(one.spec, one.deployment, case)
            if index in place and estimates.prediction is not None:
                cells |= _speed_cells(estimates.prediction, energy, place[index])
        out.append(cells)
    return out


def _memory_cells(spec: ModelSpec, d: Deployment, footprint: Footprint, has_gpu: bool) -> Mapping[str, object]:
    """What a set-up takes, whatever its load."""
    terms = {term.name: term.bytes for term in footprint.terms}
    cells: dict[str, object] = {
        "weights_gib_per_gpu": terms["weights"] / GIB,
        "kv_bytes_per_token_per_gpu": footprint.kv_bytes_per_token,
        "total_params": spec.total_params,
        "active_params": spec.active_params,
        "state_bytes_per_sequence": spec.state_bytes(2.0, d.tp),
    }
    return cells if not has_gpu else cells | {
        "kernel": kernel(d.weights, d.gpu, d.engine),
        "fits": footprint.fits,
        "kv_cache_tokens": footprint.kv_tokens,
        "activations_gib": terms.get("activations", math.nan) / GIB,
        "overhead_gib": sum(v for k, v in terms.items() if k not in ("weights", "activations")) / GIB,
    }


def _concurrency(estimates: Estimates) -> Floats:
    """The most requests of each row's length that its cache holds, all replicas together, [rows]; NaN without a GPU."""
    most = np.full(len(estimates.rows), np.nan)
    lengths: dict[int, dict[int, float]] = {}        # by set-up: of each row
    for index, (one, case) in enumerate(zip(estimates.built, estimates.rows, strict=True)):
        if one is not None and case is not None and one.has_gpu:
            unasked = one.spec.max_context or _NO_TOKENS
            length = case.context_tokens + images.prompt_tokens(one.spec, one.deployment.images)
            said = unasked if math.isnan(length) else length
            lengths.setdefault(id(one), {})[index] = float(one.deployment.max_model_len or said)
    for rows in lengths.values():
        at = np.fromiter(rows, np.intp)
        held = estimates.built[at[0]]
        assert held is not None
        most[at] = held.footprint.max_concurrency(np.fromiter(rows.values(), float)) * held.deployment.dp
    return most


def _speed_cells(prediction: Prediction, energy: Range, n: int) -> dict[str, object]:
    cells: dict[str, object] = {}
    for name, column in (("ttft", prediction.ttft_s), ("tpot", prediction.tpot_s)):
        cells |= {
            f"{name}_ms": column.value[n] * 1000,
            f"{name}_low_ms": column.low[n] * 1000,
            f"{name}_high_ms": column.high[n] * 1000,
        }
    watts, rate = float(prediction.watts_per_gpu.value[n]), float(prediction.output_tokens_per_s_per_gpu.value[n])
    return cells | {
        "watts_per_gpu": watts, "output_tokens_per_joule": rate / watts,
        "kwh_per_million_output_tokens": energy.value[n], "kwh_low_per_million_output_tokens": energy.low[n],
        "kwh_high_per_million_output_tokens": energy.high[n],
        "output_tokens_per_s_per_gpu": prediction.output_tokens_per_s_per_gpu.value[n],
        "prefill_bound": str(prediction.prefill_bound[n]),
        "decode_bound": str(prediction.decode_bound[n]),
    }
