"""The words of a plan: plain sentences with live numbers, fit for a page, a terminal and a file."""

import math
from typing import Final

from core.answers.advice.plan import Choice, Plan, Standing, batch_limit
from core.basics.units import GB, GIB
from core.basics.words import counted, dollars, ms, number, percent, with_article
from core.models import ModelSpec
from core.physics import memory
from core.physics.network import hosts
from core.products import options
from core.products.formats import Format
from core.terms import Basis, Bound, Deployment, Estimate, Workload

_SIXTEEN: Final = 16
_BOUND_WORDS = {
    Bound.MEMORY: "memory bandwidth",
    Bound.COMPUTE: "compute",
    Bound.OVERHEAD: "launch overhead",
    Bound.COMMUNICATION: "communication between the GPUs",
    Bound.CAPACITY: "the capacity of the KV cache",
}


def requests(count: int) -> str:
    """A number of requests in words: 1 request, 1,024 requests."""
    return counted(count, "request")


def came_in(load: Workload) -> str:
    """The requests of a load: "16 requests in flight of 1,024 + 256 tokens"."""
    found = f", {percent(load.prefix_hit_rate)} of each prompt found in the prefix cache" if load.shared_tokens else ""
    shown = f" with {counted(load.images, 'image')} a prompt" if load.images else ""
    return (f"{requests(load.concurrency)} in flight of {load.prompt_tokens:,} + {load.output_tokens:,} tokens"
            f"{shown}{found}")


def asked(load: Workload) -> str:
    """What is asked, whole: the requests and the targets."""
    return (f"{came_in(load)}; TTFT within {ms(load.ttft_slo_s)}, TPOT within {ms(load.tpot_slo_s)}, loss of quality "
            f"within {percent(load.quality_loss)}")


def short(spec: ModelSpec) -> str:
    """The model's own name, without its owner."""
    return spec.name.rstrip("/").split("/")[-1]


def hardware(deployment: Deployment) -> str:
    """ "1 × H100 SXM5 80GB", "4 × L40S (tensor parallel 4)", "16 × H200 on 2 machines (...)"."""
    split = {"tensor parallel": deployment.tp, "layers over": deployment.pp, "replicas": deployment.dp}
    ways = ", ".join(f"{name} {degree}" for name, degree in split.items() if degree > 1)
    machines = hosts(deployment)
    over = f" on {machines} machines" if machines > 1 else ""
    return f"{deployment.gpus} × {deployment.gpu.name}{over}" + (f" ({ways})" if ways else "")


def formats(deployment: Deployment) -> str:
    """ "FP8 weights and a BF16 KV cache"."""
    return f"{weights(deployment.weights)} and {with_article(f'{deployment.kv_cache.name.upper()} KV cache')}"


def weights(fmt: Format) -> str:
    """ "FP8 weights", "INT8 weight-only quantization", "MXFP4 expert weights"."""
    return f"{fmt.label.removesuffix('s')} {'quantization' if 'weight' in fmt.label else 'weights'}"


def loss(quality: Estimate | None) -> str:
    """What a format costs in quality, and how that is known, in words."""
    if quality is None:
        return "an unknown loss of quality (no published figure)"
    if quality.basis is Basis.MEASURED and quality.value <= 0:
        return "no measurable loss of quality"
    if quality.value == 0:
        return "no loss of quality: the checkpoint's own format"
    known = "expected" if quality.basis is Basis.ESTIMATED else str(quality.basis)
    return f"{percent(quality.value)} {known} loss of quality"


def loss_text(quality: Estimate | None) -> str:
    """The same for a table: "1.0 % published"."""
    return "–" if quality is None else f"{percent(quality.value)} {quality.basis}"


def verdict(
    spec: ModelSpec, standing: Standing, chosen: Choice | None, workload: Workload, limit: str, why: str,
    best_value: int | None,
) -> tuple[str, str]:
    """What to deploy, as a headline; then does it fit, how fast, what it costs, what limits it."""
    if chosen is None or standing is Standing.IMPOSSIBLE:
        return f"{short(spec)} cannot be served here", why
    late = standing is Standing.LATE
    says = "; ".join((_memory(chosen, workload), speed(chosen), *(() if late else (limit,)))) + "."
    what = f"{short(spec)} with {formats(chosen.deployment)} on {hardware(chosen.deployment)}"
    batch = "" if best_value is None else f", {limit_of(chosen)}, best value up to {best_value:,}"
    if standing is Standing.MET:
        return f"Deploy {what}{batch}", says
    if standing is Standing.FEWER:
        return (f"Only {chosen.concurrency:,} of {requests(workload.concurrency)} can be served within the targets. "
                f"Deploy {what}{batch}"), says
    return f"{missed(chosen, workload)} The closest is {what}", says


def fits_but(spec: ModelSpec, nearest: Choice, widest: Format, load: Workload) -> tuple[str, str]:
    """What fits and is refused for its loss of quality alone: headline and figures. `widest`: of the weights that fit.

    "Qwen3-32B fits with 4-bit weights only: AWQ INT4, 2.9 % expected loss of quality, above the 2.0 % you accept"
    """
    d, quality = nearest.deployment, nearest.quality
    if quality is None or quality.value <= load.quality_loss:
        known = "an unknown loss of quality" if quality is None else f"{loss(quality)}, known from other models only"
        headline = f"{short(spec)} fits with {formats(d)}, at {known}: accept it, or check it on your prompts"
    else:
        bits = int(widest.bits_per_weight)
        only = f"with {bits}-bit weights only: {d.weights.label}" if bits < _SIXTEEN else f"with {formats(d)}"
        headline = f"{short(spec)} fits {only}, {loss(quality)}, above the {percent(load.quality_loss)} you accept"
    late = "" if nearest.meets_slo else f" {missed(nearest, load)}"
    return headline, f"On {hardware(d)} {_memory(nearest, load)}; {speed(nearest)}.{late}"


def limit_of(chosen: Choice) -> str:
    """The batch to launch with, and what the engine calls it: "batch limit 362 (--max-num-seqs)"."""
    option = options.names(chosen.deployment.engine).get("max_num_seqs")
    each = "" if chosen.deployment.dp == 1 else " per replica"
    return f"batch limit {batch_limit(chosen):,}{each}" + (f" ({option})" if option else "")


def speed(chosen: Choice) -> str:
    """What users and the bill get: "with 16 concurrent requests the first token arrives after 72 ms, ..."."""
    cost = chosen.cost_usd_per_million_output_tokens
    price = f", {dollars(cost.value)} per million output tokens" if cost else ""
    flows = "" if math.isnan(chosen.tpot.value) else f" and the next ones every {ms(chosen.tpot.value)}"
    return (f"with {counted(chosen.concurrency, 'concurrent request')} the first token arrives after "
            f"{ms(chosen.ttft.value)}{flows}; {number(chosen.output_tokens_per_s.value)} output tokens/s in "
            f"total{price}")


def _memory(chosen: Choice, workload: Workload) -> str:
    """What the load needs of each GPU, of what it has."""
    footprint, requests_each = chosen.footprint, chosen.concurrency / chosen.deployment.dp
    needed = footprint.taken_bytes(requests_each, workload.context_tokens, workload.shared_tokens)
    each = "" if chosen.deployment.gpus == 1 else " on each GPU"
    return f"it fits, needing {needed / GIB:,.1f} of {footprint.reported_bytes / GIB:,.1f} GiB{each}"


def missed(chosen: Choice, workload: Workload) -> str:
    """Which target is missed, and by how much."""
    parts = []
    if chosen.tpot.value > workload.tpot_slo_s:
        parts.append(f"the TPOT target of {ms(workload.tpot_slo_s)} (best {ms(chosen.tpot.value)})")
    if chosen.ttft.value > workload.ttft_slo_s:
        parts.append(f"the TTFT target of {ms(workload.ttft_slo_s)} (best {ms(chosen.ttft.value)})")
    text = " and ".join(parts) or "the targets"
    return f"No setup meets {text} for {requests(chosen.concurrency)}."


def bound(limit: Bound) -> str:
    """What limits a phase, in words: memory bandwidth, compute, ..."""
    return _BOUND_WORDS[limit]


def why_chosen(chosen: Choice, baseline: Choice | None) -> str:
    """Why this layout: against 16 bits where that is a choice, with live numbers."""
    phase = f"decode is limited by {bound(chosen.decode_bound)}, prefill by {bound(chosen.prefill_bound)}"
    held = chosen.footprint.term("weights").bytes / GIB
    if baseline is None or baseline.deployment.weights == chosen.deployment.weights:
        return (f"{chosen.deployment.weights.label} takes {number(held)} GiB per GPU at {loss(chosen.quality)}; "
                f"at {requests(chosen.concurrency)} {phase}.")
    other = baseline.footprint.term("weights").bytes / GIB
    label = chosen.deployment.weights.label
    holds = f"{label} shrinks the weights from {number(other)} to {number(held)} GiB per GPU"
    end = f"at {loss(chosen.quality)}; at {requests(chosen.concurrency)} {phase}."
    if not baseline.fits:
        return f"{holds}, {end} {baseline.deployment.weights.label} would not fit."
    faster = chosen.output_tokens_per_s.value / baseline.output_tokens_per_s.value - 1
    speed = f"{percent(faster)} more tokens/s" if faster >= 0 else f"{percent(-faster)} fewer tokens/s"
    same = "" if chosen.deployment.gpus == baseline.deployment.gpus else f" on {hardware(baseline.deployment)}"
    return f"{holds} and makes {speed} than {baseline.deployment.weights.label}{same} {end}"


def trade(chosen: Choice, other: Choice) -> str:
    """What the runner-up gives and takes against the choice."""
    gains = []
    ratio = other.tpot.value / chosen.tpot.value - 1
    if math.isfinite(ratio) and abs(ratio) >= 0.01:
        gains.append(f"TPOT {'up' if ratio > 0 else 'down'} {percent(abs(ratio))} to {ms(other.tpot.value)}")
    if other.deployment.gpus != chosen.deployment.gpus:
        gains.append(f"{other.deployment.gpus} GPUs instead of {chosen.deployment.gpus}")
    if other.memory_concurrency != chosen.memory_concurrency:
        gains.append(f"room for {other.memory_concurrency:,} instead of {requests(chosen.memory_concurrency)}")
    gains.append(loss(other.quality))
    return f"{formats(other.deployment)} on {hardware(other.deployment)}: {', '.join(gains)}."


def seen(spec: ModelSpec, load: Workload) -> str | None:
    """What is planned of images, for a model that sees them; None for one that does not."""
    if not spec.sees:
        return None
    if load.pictures is None:
        return f"This plans text alone: {short(spec)} sees images too, which make prompts longer; say how many under " \
               "Images in a prompt." if spec.eyes else f"This plans text alone: how {short(spec)} turns images into " \
               "tokens is not known."
    each = f"{load.image_tokens:,} tokens" if load.images == 1 else f"{load.image_tokens:,} tokens each"
    size = f"{load.image_width:,} × {load.image_height:,} pixels"
    return (f"{counted(load.images, 'image')} of {size} in each prompt: {each}, {load.prompt_tokens:,} tokens a prompt "
            "with its text.")


def notes(plan: Plan) -> tuple[str, ...]:
    """What the plan leaves out or takes for granted of the model."""
    sight = seen(plan.spec, plan.workload)
    return (*plan.spec.notes, *((sight,) if sight else ()))


def on_host(spec: ModelSpec, deployment: Deployment) -> str | None:
    """What of the weights stays in host memory, and at what bandwidth it is read; None where nothing does."""
    held = memory.hosted(spec, deployment)
    if held is None or not held.host_bytes or deployment.host is None:
        return None
    placement, layers = held.placement, spec.n_layers
    parts = ((f"the experts of {counted(placement.cpu_experts, 'layer')}", placement.cpu_experts > 0),
             (f"{counted(layers - placement.gpu_layers, 'layer')}", placement.gpu_layers < layers))
    what = " and ".join(part for part, is_there in parts if is_there) or "the output"
    return (f"{number(held.host_bytes / GIB)} GiB of the weights stay in host memory ({what}), read at "
            f"{number(deployment.host.bandwidth_bytes_per_s / GB)} GB/s at most.")
