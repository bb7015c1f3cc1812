"""What would help prefill and what would help decode, each change run through the speed model."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from core import gpus, memory, quality_prior, speed
from core.formats import FORMATS, KV_FORMATS, Format, KvFormat, kv_unsupported, unsupported
from core.gpus import GpuSpec
from core.models import Attention, LatentAttention, Mixer, ModelSpec
from core.speed import Cases
from core.speed.work import DEFAULT_CHUNK_TOKENS, LAYER_SPLIT
from core.sweep import Refusal, capacities, overflow_text
from core.sweep.layouts import indivisible, split, splits_groups
from core.terms import Deployment, Mode, Workload
from core.units import MS_PER_S

Floats: TypeAlias = NDArray[np.float64]
Phase: TypeAlias = Literal["prefill", "decode"]
Strength: TypeAlias = Callable[[GpuSpec], float]
Turn: TypeAlias = Callable[[Attention], Mixer]

SIXTEEN_BITS: Final = 16.0
WORTH: Final = 1.02              # a smaller gain is none: no estimate can tell it
STEP_UP: Final = 1.2             # a GPU with less more bandwidth than this is no other class
CHUNKS: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768)
BATCH_FACTORS: Final = (2, 4, 8, 16, 32)
_BATCH: Final = "Batch of"
_CHUNKS: Final = "Chunks of"
MOST_GPUS: Final = 8
GROUPED_HEADS: Final = 8         # KV heads of Llama 2 70B, Llama 3 and most since
# Narrow operands speed up the arithmetic of prefill; fewer bits speed up the reading of decode.
NARROW: Final = ("fp8", "w8a8-int8", "nvfp4")
SMALL: Final = ("fp8", "w8a8-int8", "int8", "awq-int4", "w4a8", "nvfp4", "mxfp4", "gguf-Q8_0", "gguf-Q4_K_M")
INSTEAD: Final = {"awq-int4": "gptq-int4"}       # the same bits and kernels, loaded by other engines and GPUs
# DeepSeek-V2, arXiv 2405.04434: latent of 512 and rotary key of 64 values a token, heads of 128.
LATENT, ROPE, HEAD = 512, 64, 128
# Dao et al., "FlashAttention", arXiv 2205.14135, algorithm 0: the scores are written, read for the softmax,
# written as probabilities and read again.
SCORE_PASSES: Final = 4
SCORE_BYTES: Final = 2.0


@dataclass(frozen=True, slots=True)
class Gain:
    """A change and what it is predicted to give; `factor` above 1 is better."""

    label: str
    figure: str                      # TTFT, TPOT or tokens/s
    before: float                    # s, or output tokens/s of the whole deployment
    after: float
    low: float                       # 80 % range of `after`
    high: float
    factor: float
    note: str                        # what it costs or needs


@dataclass(frozen=True, slots=True)
class PhaseAdvice:
    """What helps one phase, largest gain first; what is in use already; what is left out, and why."""

    phase: Phase
    helps: tuple[Gain, ...]
    in_use: tuple[Gain, ...]         # `before`: without it
    left_out: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Something to try."""

    label: str
    spec: ModelSpec
    deployment: Deployment
    concurrency: float
    figure: str
    note: str = ""
    undoes: bool = False             # takes away what the deployment has, as if memory had no end


def advice(
    spec: ModelSpec, deployment: Deployment, workload: Workload, concurrency: float
) -> tuple[PhaseAdvice, PhaseAdvice]:
    """Prefill and decode: every change predicted at the workload, sorted by gain."""
    asked = _Asked(spec, deployment, workload, float(concurrency))
    left: tuple[list[Refusal], list[Refusal]] = ([], [])
    tried = (list(_for_prefill(asked, left[0])), list(_for_decode(asked, left[1])))
    base = Change("as planned", spec, deployment, asked.concurrency, "")
    unlimited = replace(base, undoes=True)
    first, free, *others = _predicted(asked, [base, unlimited, *tried[0], *tried[1]])
    rest = iter(others)
    prefill, decode = (
        _sorted(asked, phase, (first, free), [(change, next(rest)) for change in changes], refusals)
        for phase, changes, refusals in zip(_PHASES, tried, left, strict=True)
    )
    flash = _flash_attention(asked, first)
    return replace(prefill, in_use=(*prefill.in_use, flash) if flash else prefill.in_use), decode


_PHASES: Final[tuple[Phase, Phase]] = ("prefill", "decode")


@dataclass(frozen=True, slots=True)
class _Asked:
    spec: ModelSpec
    deployment: Deployment
    workload: Workload
    concurrency: float

    def change(self, label: str, figure: str, note: str = "", **fields: object) -> Change:
        """This deployment with other fields."""
        made = replace(self.deployment, **fields)       # type: ignore[arg-type]  # names are checked by replace
        return Change(label, self.spec, made, self.concurrency, figure, note)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A change predicted: (value, low, high) by figure, and why it cannot be, if so."""

    figures: dict[str, tuple[float, float, float]]
    reason: str


def _for_prefill(asked: _Asked, left: list[Refusal]) -> Iterator[Change]:
    yield from _formats(asked, NARROW, "TTFT", left)
    yield from _chunks(asked)
    yield from _more_gpus(asked, "TTFT", left)
    yield from _other_gpus(asked, "TTFT", "16-bit rate", lambda gpu: gpu.peak("bf16") or 0.0)


def _for_decode(asked: _Asked, left: list[Refusal]) -> Iterator[Change]:
    yield from _formats(asked, SMALL, "TPOT", left)
    yield from _caches(asked, left)
    yield from _smaller_caches(asked)
    yield from _more_gpus(asked, "TPOT", left)
    yield from _other_gpus(asked, "TPOT", "bandwidth", lambda gpu: gpu.bandwidth_bytes_per_s)
    yield from _larger_batches(asked, left)


def _formats(asked: _Asked, names: Sequence[str], figure: str, left: list[Refusal]) -> Iterator[Change]:
    """Narrower weights than the deployment has; against 16 bits where it has one of them already."""
    own, gpu, engine = asked.deployment.weights, asked.deployment.gpu, asked.deployment.engine
    if own.bits_per_weight < SIXTEEN_BITS:
        wide = next((FORMATS[n] for n in ("bf16", "fp16") if not unsupported(FORMATS[n], gpu, engine)), None)
        if wide:
            yield replace(asked.change(_named(own), figure, "against 16 bits", weights=wide), undoes=True)
    for name in names:
        fmt, reason = FORMATS[name], unsupported(FORMATS[name], gpu, engine)
        if reason and name in INSTEAD:
            fmt, reason = FORMATS[INSTEAD[name]], unsupported(FORMATS[INSTEAD[name]], gpu, engine)
        smaller = fmt.bits_per_weight < own.bits_per_weight or (figure == "TTFT" and own.weight_only)
        if not smaller or fmt == own or (fmt.experts_only and not asked.spec.is_moe):
            continue
        if not reason:
            yield asked.change(_named(fmt), figure, _quality(asked, fmt, asked.deployment.kv_cache), weights=fmt)
        elif fmt.scope != "file":                # a file of another engine is no option that was missed
            left.append(Refusal(_named(fmt), reason))


def _named(fmt: Format) -> str:
    return fmt.label if "weight" in fmt.label else f"{fmt.label} weights"


def _quality(asked: _Asked, fmt: Format, kv: KvFormat) -> str:
    """What formats are expected to cost in quality."""
    loss = quality_prior.expected_loss(asked.spec, fmt, kv)
    return "loss of quality not published" if loss is None else f"perplexity +{100 * loss.value:.1f} %"


def _caches(asked: _Asked, left: list[Refusal]) -> Iterator[Change]:
    d = asked.deployment
    for kv in KV_FORMATS.values():
        if kv.bits_per_value >= d.kv_cache.bits_per_value:
            continue
        label = f"{kv.name.upper()} KV cache"
        if reason := kv_unsupported(kv, d.gpu, d.engine):
            left.append(Refusal(label, reason))
        else:
            yield asked.change(label, "TPOT", _quality(asked, d.weights, kv), kv_cache=kv)
    if d.kv_cache.bits_per_value < SIXTEEN_BITS:
        wide = KV_FORMATS["bf16"]
        label = f"{d.kv_cache.name.upper()} KV cache"
        yield replace(asked.change(label, "TPOT", "against 16 bits", kv_cache=wide), undoes=True)


def _chunks(asked: _Asked) -> Iterator[Change]:
    """Scheduler steps with more or fewer prompt tokens: the prefill is cut, or packed, accordingly."""
    own = asked.deployment.max_num_batched_tokens or DEFAULT_CHUNK_TOKENS
    for tokens in CHUNKS:
        if tokens != own:
            note = f"max_num_batched_tokens, now {own:,}"
            yield asked.change(f"{_CHUNKS} {tokens:,} tokens", "TTFT", note, max_num_batched_tokens=tokens)


def _more_gpus(asked: _Asked, figure: str, left: list[Refusal]) -> Iterator[Change]:
    d, count = asked.deployment, asked.deployment.gpus
    while (count := 2 * count) <= MOST_GPUS:
        label = f"{count} GPUs" + ("" if d.engine in LAYER_SPLIT else f", tp {count}")
        reason = indivisible(asked.spec, d.engine, count) or splits_groups(asked.spec, d.weights, d.engine, count)
        if reason:
            left.append(Refusal(label, reason))
            continue
        over = replace(split(d, count), max_num_batched_tokens=d.max_num_batched_tokens)
        times = count // d.gpus
        yield Change(label, asked.spec, over, asked.concurrency, figure, f"{times} × the GPUs")


def _other_gpus(asked: _Asked, figure: str, what: str, strength: Strength) -> Iterator[Change]:
    """The next stronger GPU of this maker that can be rented, and the strongest."""
    d = asked.deployment
    stronger = sorted(
        (gpu for gpu in gpus.catalogue()
         if gpu.vendor == d.gpu.vendor and not gpu.announced and gpu.price_usd_per_hour is not None
         and strength(gpu) > STEP_UP * strength(d.gpu)
         and not unsupported(d.weights, gpu, d.engine) and not kv_unsupported(d.kv_cache, gpu, d.engine)),
        key=strength,
    )
    for gpu in dict.fromkeys([*stronger[:1], *stronger[-1:]]):
        times = strength(gpu) / strength(d.gpu)
        yield asked.change(gpu.name, figure, f"another GPU, {times:.1f} × the {what}", gpu=gpu)


def _smaller_caches(asked: _Asked) -> Iterator[Change]:
    """The same model, had its attention grouped or latent keys and values; its matrices stay."""
    heads = [m for m, _ in asked.spec.mixers() if isinstance(m, Attention)]
    if any(m.kv_heads > GROUPED_HEADS for m in heads):
        spec = _with_mixers(asked.spec, lambda m: replace(m, kv_heads=min(m.kv_heads, GROUPED_HEADS)))
        yield _elsewhere(asked, spec, f"A model with GQA, {GROUPED_HEADS} KV heads")
    if any(2 * m.kv_heads * m.qk_dim > LATENT + ROPE and m.window is None for m in heads):
        def latent(m: Attention) -> Mixer:
            return m if m.window else LatentAttention(m.heads, LATENT, ROPE, HEAD, HEAD)
        yield _elsewhere(asked, _with_mixers(asked.spec, latent), "A model with MLA")


def _elsewhere(asked: _Asked, spec: ModelSpec, label: str) -> Change:
    note = "another model: this one with that cache"
    return Change(label, spec, asked.deployment, asked.concurrency, "TPOT", note)


def _with_mixers(spec: ModelSpec, change: Turn) -> ModelSpec:
    layers = tuple(
        replace(layer, mixers=tuple(change(m) if isinstance(m, Attention) else m for m in layer.mixers))
        for layer in spec.layers
    )
    return replace(spec, layers=layers)


def _larger_batches(asked: _Asked, left: list[Refusal]) -> Iterator[Change]:
    """More requests at once, as far as the memory holds them: tokens per second, at the price of TPOT."""
    taken = memory.footprint(asked.spec, asked.deployment)
    most = float(taken.max_concurrency(asked.workload.context_tokens)) * asked.deployment.dp
    for factor in BATCH_FACTORS:
        requests = factor * asked.concurrency
        if requests <= most:
            label = f"{_BATCH} {requests:,.0f}"
            yield Change(label, asked.spec, asked.deployment, requests, "tokens/s")
        else:
            left.append(Refusal(f"{_BATCH} {requests:,.0f}", f"The KV cache holds {most:,.0f}."))
            return


def _predicted(asked: _Asked, changes: Sequence[Change]) -> list[_Seen]:
    """All changes in one call of the speed model."""
    footprints = [memory.footprint(change.spec, change.deployment) for change in changes]
    n, load = len(changes), asked.workload
    deployments = [change.deployment for change in changes]
    held = capacities(footprints, deployments, np.array([float(load.context_tokens)]))[:, 0]
    replicas = np.array([d.dp for d in deployments], float)
    out = speed.predict(Cases(
        pairs=tuple((change.spec, change.deployment) for change in changes),
        which=np.arange(n), static=np.full(n, load.mode is Mode.STATIC),
        concurrency=np.array([change.concurrency for change in changes]),
        input_tokens=np.full(n, float(load.input_tokens)),
        output_tokens=np.full(n, max(2.0, float(load.output_tokens))),      # a single token has no TPOT
        kv_tokens=np.where(
            [change.undoes for change in changes], np.inf, np.maximum(held / replicas, 1.0) * load.context_tokens
        ),
    ))
    count = np.array([d.gpus for d in deployments], float)
    columns = {"TTFT": (out.ttft_s, np.ones(n)), "TPOT": (out.tpot_s, np.ones(n)),
               "tokens/s": (out.output_tokens_per_s_per_gpu, count)}
    return [
        _Seen(
            {name: (float(r.value[i] * by[i]), float(r.low[i] * by[i]), float(r.high[i] * by[i]))
             for name, (r, by) in columns.items()},
            f"It is {overflow_text(footprint)}." if not footprint.fits else "",
        )
        for i, footprint in enumerate(footprints)
    ]


def _sorted(
    asked: _Asked, phase: Phase, bases: tuple[_Seen, _Seen], tried: Sequence[tuple[Change, _Seen]],
    left_out: Sequence[Refusal],
) -> PhaseAdvice:
    """Changes that help by size; the rest with its reason. Of batches and chunks only the best is named.

    `bases`: the plan as it is, and without limit of memory, which is what undone changes are held against.
    """
    helps, in_use, left = [], [], list(left_out)
    chunks: list[Gain] = []
    batches: list[Gain] = []
    for change, seen in tried:
        made = _gain(change, bases[change.undoes], seen)
        if change.undoes:
            in_use.append(made)
        elif reason := seen.reason or _late(asked, change, seen):
            left.append(Refusal(change.label, reason))
        elif change.label.startswith(_CHUNKS):
            chunks.append(made)
        elif change.label.startswith(_BATCH):
            batches.append(made)
        elif made.factor >= WORTH:
            helps.append(made)
        else:
            left.append(Refusal(change.label, _no_gain(made)))
    if chunks:
        best = max(chunks, key=lambda gain: gain.factor)
        if best.factor >= WORTH:
            helps.append(best)
        else:
            left.append(Refusal("Other chunk sizes", _no_gain(best)))
    helps += sorted(batches, key=lambda gain: -gain.factor)[:1]
    helps.sort(key=lambda gain: -gain.factor)
    return PhaseAdvice(phase, tuple(helps), tuple(in_use), tuple(left))


def _late(asked: _Asked, change: Change, seen: _Seen) -> str:
    """Why a larger batch is too large: the target it would miss."""
    if not change.label.startswith(_BATCH):
        return ""
    targets = (("TTFT", asked.workload.ttft_slo_s), ("TPOT", asked.workload.tpot_slo_s))
    for figure, slo_s in targets:
        value = seen.figures[figure][0]
        if value > slo_s:
            return f"{figure} would be {MS_PER_S * value:,.0f} ms, the target is {MS_PER_S * slo_s:,.0f} ms."
    return ""


def _no_gain(gain: Gain) -> str:
    worse = 1 / gain.factor - 1
    if worse > WORTH - 1:
        return f"{gain.figure} would be {100 * worse:.0f} % worse."
    return f"It gains less than {100 * (WORTH - 1):.0f} % of {gain.figure} here."


def _gain(change: Change, base: _Seen, seen: _Seen) -> Gain:
    before, after = (base, seen) if not change.undoes else (seen, base)
    old, (new, low, high) = before.figures[change.figure][0], after.figures[change.figure]
    factor = new / old if change.figure == "tokens/s" else old / new
    note = change.note
    if change.undoes and seen.reason:
        note += ", which would be " + seen.reason.removeprefix("It is ").rstrip(".")
    if change.figure == "tokens/s":
        slower = after.figures["TPOT"][0] / before.figures["TPOT"][0] - 1
        note = f"TPOT +{100 * slower:.0f} %"
    return Gain(change.label, change.figure, old, new, low, high, factor, note)


def _flash_attention(asked: _Asked, base: _Seen) -> Gain | None:
    """What never writing the scores saves of TTFT: every engine here does so, and the estimate counts on it."""
    d, tokens = asked.deployment, float(asked.workload.input_tokens)
    scores = sum(
        count * m.heads / d.tp * float(m.prefill_flops(tokens)) / (2 * m.heads * (m.qk_dim + m.v_dim))
        for m, count in asked.spec.mixers() if isinstance(m, Attention)
    )
    if not scores:
        return None
    saved_s = SCORE_PASSES * SCORE_BYTES * scores / d.gpu.bandwidth_bytes_per_s
    value, low, high = base.figures["TTFT"]
    return Gain("FlashAttention", "TTFT", value + saved_s, value, low, high, 1 + saved_s / value,
                "the scores never reach memory")
