"""Changes worth trying on a deployment: one of each kind that may help a phase, those that do not run apart."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from core.answers.sweep import Refusal
from core.answers.sweep.layouts import parted
from core.losses import Losses
from core.models import Attention, LatentAttention, Mixer, ModelSpec
from core.physics import memory
from core.physics.speed.work import chunk_tokens
from core.products import gpus
from core.products.engines import find as find_engine
from core.products.formats import FORMATS, KV_FORMATS, Format, KvFormat
from core.products.gpus import GpuSpec
from core.products.kernels import kv_unsupported, pointless, unsupported
from core.terms import Deployment, Workload

Strength: TypeAlias = Callable[[GpuSpec], float]
Turn: TypeAlias = Callable[[Attention], Mixer]

SIXTEEN_BITS: Final = 16.0
STEP_UP: Final = 1.2             # a GPU less far ahead than this is of the same class
CHUNKS: Final = (512, 1024, 2048, 4096, 8192, 16384, 32768)
BATCH_FACTORS: Final = (2, 4, 8, 16, 32)
BATCH_LABEL: Final = "Batch of"
CHUNK_LABEL: Final = "Chunks of"
MOST_GPUS: Final = 8
GROUPED_HEADS: Final = 8         # KV heads of Llama 2 70B, Llama 3 and most since
# Narrow operands speed up the arithmetic of prefill; fewer bits speed up the reading of decode.
NARROW: Final = ("fp8", "w8a8-int8", "nvfp4")
SMALL: Final = ("fp8", "w8a8-int8", "int8", "awq-int4", "w4a8", "nvfp4", "mxfp4", "gguf-Q8_0", "gguf-Q4_K_M")
INSTEAD: Final = {"awq-int4": "gptq-int4"}       # the same bits and kernels, loaded by other engines and GPUs
# DeepSeek-V2, arXiv 2405.04434: latent of 512 and rotary key of 64 values per token, heads of 128.
LATENT, ROPE, HEAD = 512, 64, 128


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


@dataclass(frozen=True, slots=True)
class Asked:
    """The deployment and the load it is to be improved for."""

    losses: Losses
    deployment: Deployment
    workload: Workload
    concurrency: float

    @property
    def spec(self) -> ModelSpec:
        """The model that is asked about, as its losses know it."""
        return self.losses.spec

    def change(self, label: str, figure: str, made: Deployment, note: str) -> Change:
        """Another deployment of the same model under the same requests."""
        return Change(label, self.spec, made, self.concurrency, figure, note)


def for_prefill(asked: Asked, left: list[Refusal]) -> Iterator[Change]:
    """What may shorten the prompt's way to the first token; what does not run is added to `left`."""
    yield from _formats(asked, NARROW, "TTFT", left)
    yield from _chunks(asked)
    yield from _more_gpus(asked, "TTFT", left)
    yield from _other_gpus(asked, "TTFT", "16-bit rate", lambda gpu: gpu.peak("bf16") or 0.0)


def for_decode(asked: Asked, left: list[Refusal]) -> Iterator[Change]:
    """What may shorten or fill a decode step; what does not run is added to `left`."""
    yield from _formats(asked, SMALL, "TPOT", left)
    yield from _caches(asked, left)
    yield from _smaller_caches(asked)
    yield from _more_gpus(asked, "TPOT", left)
    yield from _other_gpus(asked, "TPOT", "bandwidth", lambda gpu: gpu.bandwidth_bytes_per_s)
    yield from _larger_batches(asked, left)


def _formats(asked: Asked, names: Sequence[str], figure: str, left: list[Refusal]) -> Iterator[Change]:
    """Narrower weights than the deployment has; against 16 bits where it has one of them already."""
    d = asked.deployment
    own, gpu, engine = d.weights, d.gpu, d.engine
    if own.bits_per_weight < SIXTEEN_BITS:
        wide = next((FORMATS[n] for n in ("bf16", "fp16") if not unsupported(FORMATS[n], gpu, engine)), None)
        if wide:
            yield replace(asked.change(_named(own), figure, replace(d, weights=wide), "against 16 bits"), undoes=True)
    for name in names:
        fmt, reason = FORMATS[name], pointless(FORMATS[name], gpu, engine)
        if reason and name in INSTEAD:
            fmt, reason = FORMATS[INSTEAD[name]], pointless(FORMATS[INSTEAD[name]], gpu, engine)
        smaller = fmt.bits_per_weight < own.bits_per_weight or (figure == "TTFT" and own.weight_only)
        if not smaller or fmt == own or (fmt.scope == "experts" and not asked.spec.is_moe):
            continue
        if not reason:
            yield asked.change(_named(fmt), figure, replace(d, weights=fmt), _quality(asked, fmt, d.kv_cache))
        elif fmt.scope != "file":                # a file of another engine is no option that was missed
            left.append(Refusal(_named(fmt), reason))


def _named(fmt: Format) -> str:
    return fmt.label if "weight" in fmt.label else f"{fmt.label} weights"


def _quality(asked: Asked, fmt: Format, kv: KvFormat) -> str:
    """What formats are expected to cost in quality."""
    loss = asked.losses.of(fmt, kv)
    return "loss of quality not published" if loss is None else f"perplexity {100 * loss.value:+.1f} %, {loss.basis}"


def _caches(asked: Asked, left: list[Refusal]) -> Iterator[Change]:
    d = asked.deployment
    for kv in KV_FORMATS.values():
        if kv.bits_per_value >= d.kv_cache.bits_per_value:
            continue
        label = f"{kv.name.upper()} KV cache"
        if reason := kv_unsupported(kv, d.gpu, d.engine):
            left.append(Refusal(label, reason))
        else:
            yield asked.change(label, "TPOT", replace(d, kv_cache=kv), _quality(asked, d.weights, kv))
    if d.kv_cache.bits_per_value < SIXTEEN_BITS:
        wide = KV_FORMATS["bf16"]
        label = f"{d.kv_cache.name.upper()} KV cache"
        yield replace(asked.change(label, "TPOT", replace(d, kv_cache=wide), "against 16 bits"), undoes=True)


def _chunks(asked: Asked) -> Iterator[Change]:
    """Scheduler steps with more or fewer prompt tokens: the prefill is cut, or packed, accordingly."""
    own = chunk_tokens(asked.deployment)
    for tokens in CHUNKS:
        if tokens != own:
            note = f"max_num_batched_tokens, now {own:,}"
            made = replace(asked.deployment, max_num_batched_tokens=tokens)
            yield asked.change(f"{CHUNK_LABEL} {tokens:,} tokens", "TTFT", made, note)


def _more_gpus(asked: Asked, figure: str, left: list[Refusal]) -> Iterator[Change]:
    d, count = asked.deployment, asked.deployment.gpus
    while (count := 2 * count) <= MOST_GPUS:
        label = f"{count} GPUs" + ("" if find_engine(d.engine).splits_layers else f", tp {count}")
        way = parted(asked.spec, d, count)
        if isinstance(way, str):
            left.append(Refusal(label, way))
            continue
        over = replace(way, max_num_batched_tokens=d.max_num_batched_tokens)
        times = count // d.gpus
        yield asked.change(label, figure, over, f"{times} × the GPUs")


def _other_gpus(asked: Asked, figure: str, what: str, strength: Strength) -> Iterator[Change]:
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
        yield asked.change(gpu.name, figure, replace(d, gpu=gpu), f"another GPU, {times:.1f} × the {what}")


def _smaller_caches(asked: Asked) -> Iterator[Change]:
    """The same model, had its attention grouped or latent keys and values; its matrices stay."""
    heads = [m for m, _ in asked.spec.mixers() if isinstance(m, Attention)]
    if any(m.kv_heads > GROUPED_HEADS for m in heads):
        spec = _with_mixers(asked.spec, lambda m: replace(m, kv_heads=min(m.kv_heads, GROUPED_HEADS)))
        yield _elsewhere(asked, spec, f"A model with GQA, {GROUPED_HEADS} KV heads")
    if any(2 * m.kv_heads * m.qk_dim > LATENT + ROPE and m.window is None for m in heads):
        def latent(m: Attention) -> Mixer:
            return m if m.window else LatentAttention(m.heads, LATENT, ROPE, HEAD, HEAD)
        yield _elsewhere(asked, _with_mixers(asked.spec, latent), "A model with MLA")


def _elsewhere(asked: Asked, spec: ModelSpec, label: str) -> Change:
    note = "another model: this one with that cache"
    return Change(label, spec, asked.deployment, asked.concurrency, "TPOT", note)


def _with_mixers(spec: ModelSpec, change: Turn) -> ModelSpec:
    layers = tuple(
        replace(layer, mixers=tuple(change(m) if isinstance(m, Attention) else m for m in layer.mixers))
        for layer in spec.layers
    )
    return replace(spec, layers=layers)


def _larger_batches(asked: Asked, left: list[Refusal]) -> Iterator[Change]:
    """More requests at once, as far as the memory holds them: tokens per second, at the price of TPOT."""
    taken = memory.footprint(asked.spec, asked.deployment)
    load = asked.workload
    most = float(taken.max_concurrency(load.context_tokens, load.shared_tokens)) * asked.deployment.dp
    for factor in BATCH_FACTORS:
        requests = factor * asked.concurrency
        if requests <= most:
            label = f"{BATCH_LABEL} {requests:,.0f}"
            yield Change(label, asked.spec, asked.deployment, requests, "tokens/s")
        else:
            left.append(Refusal(f"{BATCH_LABEL} {requests:,.0f}", f"The KV cache holds {most:,.0f}."))
            return
