"""The recommendation: the pick, its reasons, its limits and what else there is."""

from collections.abc import Sequence
from functools import partial
from typing import Final

import numpy as np

from core.answers.advice import sentences
from core.answers.advice.alternatives import alternatives
from core.answers.advice.plan import Candidate, Choice, Plan, Standing, batch_limit
from core.answers.advice.remedies import remedies, sensitivity
from core.answers.advice.select import (
    Question,
    Selection,
    choice,
    choice_on,
    fine_grid,
    largest_batch,
    refusals,
    select,
)
from core.answers.sweep import DEFAULT_ENGINE, DEFAULT_GPU_COUNTS, KERNELS, STRUCTURE, Benchmark, Sweep, overflow_text
from core.basics.bounds import Bounds
from core.basics.errors import InputError
from core.basics.words import ms, percent, with_article
from core.losses import Losses
from core.losses.measured import QualityMeasurement
from core.models import ModelSpec
from core.physics import images, speed
from core.products.formats import Format
from core.products.gpus import GpuSpec
from core.products.kernels import slower
from core.terms import Workload

_GPUS: Final = Bounds(1, 1024, whole=True)
_NO_SLOWER: Final = 0.0005        # what would read as 0.0 % fewer tokens/s


def recommend(
    spec: ModelSpec,
    gpu: GpuSpec,
    workload: Workload,
    *,
    engine: str = DEFAULT_ENGINE,
    tps: Sequence[int] = DEFAULT_GPU_COUNTS,
    formats: Sequence[str] | None = None,
    kv_formats: Sequence[str] | None = None,
    measured: Sequence[QualityMeasurement] = (),
    benchmarks: Sequence[Benchmark] = (),
) -> Plan:
    """What to deploy for a model, a GPU type and a workload.

    `tps` are the numbers of GPUs that one replica may take. Naming `formats` or `kv_formats` limits the
    choice to them and accepts those for which nobody has published a loss of quality; a known loss beyond
    the tolerance stays refused. What was `measured` of the model, newest first, goes before what others
    published; `benchmarks` pull the figures of deployments of their kind. Raises InputError for a workload
    outside what it may be.
    """
    workload.check()
    _check(tps)
    workload = images.resolved(spec, workload)
    question = Question(
        Losses(spec, tuple(measured)), gpu, workload, engine, tuple(tps),
        None if formats is None else tuple(formats), None if kv_formats is None else tuple(kv_formats),
        tuple(benchmarks),
    )
    selection = select(question)
    shown = _shown(selection)
    best = shown if selection.standing is not Standing.IMPOSSIBLE else None
    listed = _candidates(selection, shown)
    runner_up = _runner_up(selection, best)
    knee = _knee(question, shown)
    limit = "" if best is None else binding_limit(workload, best, knee)
    value = None if best is None else best_value(selection.grid, best)
    why = _why(selection, best, listed)
    refused = refused_by(selection)
    if refused == "quality" and best is None and shown is not None:
        headline, details = sentences.fits_but(spec, shown, _widest(selection, shown), workload)
    else:
        headline, details = sentences.verdict(spec, selection.standing, best, workload, limit, why, value)
    return Plan(
        spec=spec, gpu=gpu, workload=workload, engine=engine, standing=selection.standing,
        best=best, nearest=None if best else shown, runner_up=runner_up,
        trade=sentences.trade(best, runner_up) if best and runner_up else "",
        headline=headline, details=details,
        reason=why if best else "", binding_limit=limit, knee=knee,
        candidates=listed, refused=refusals(selection), refused_by=refused,
        at_context=selection.grid, tps=tuple(tps), losses=question.losses,
        seek_remedies=partial(remedies, question, selection, shown), seek_sensitivity=partial(sensitivity, question),
        seek_alternatives=partial(alternatives, selection), best_value_batch=value,
    )


def _check(tps: Sequence[int]) -> None:
    """Raises InputError where no number of GPUs may be tried, or one is absurd."""
    if not tps:
        raise InputError(f"No number of GPUs is named: give at least one from {_GPUS.span}.")
    for count in tps:
        _GPUS.checked("A number of GPUs to try", count)


def _shown(selection: Selection) -> Choice | None:
    """The pick at its exact concurrency, with the exact largest batch within the targets."""
    if selection.layout is None:
        return None
    fine = fine_grid(selection.grid, selection.grid.deployments[selection.layout])
    most = largest_batch(fine)
    batch = max(most, selection.batch) if selection.standing is Standing.FEWER else selection.batch
    return choice_on(fine, fine.batches.index(batch), selection.losses[selection.layout], most)


def _knee(question: Question, shown: Choice | None) -> float | None:
    """The batch at which decode turns compute-bound at the mean context of a request."""
    if shown is None:
        return None
    mean = question.workload.prompt_tokens + question.workload.output_tokens / 2
    return speed.compute_bound_batch(question.spec, shown.deployment, mean)


def best_value(grid: Sweep, best: Choice) -> int | None:
    """The batch within the targets at which tokens/s x tokens/s of each user is most: the knee of the two.

    Kleinrock's power of a queue (throughput over delay, ICC 1979): up to it batching gains more tokens than it costs
    each user, beyond it users lose more than is gained. None where no batch keeps the targets.
    """
    if not best.slo_concurrency:
        return None
    fine = fine_grid(grid, best.deployment)
    within = np.asarray(fine.batches) <= batch_limit(best)
    tpot = fine.prediction.tpot_s.value
    delay = np.where(np.isnan(tpot), fine.prediction.ttft_s.value, tpot)
    return fine.batches[int(np.argmax(np.where(within, fine.output_tokens_per_s.value / delay, 0.0)))]


def refused_by(selection: Selection) -> str | None:
    """What stands in the way first: structure kernels memory context quality targets; None when all is met."""
    grid, workload = selection.grid, selection.grid.workload
    if selection.standing is Standing.MET:
        return None
    if not len(grid.deployments):
        return STRUCTURE if grid.refusals and grid.refusals[0].by == STRUCTURE else KERNELS
    if not any(footprint.fits for footprint in grid.footprints):
        return "memory"
    if grid.spec.max_context and workload.context_tokens > grid.spec.max_context:
        return "context"
    holds = grid.cube(grid.fits)[:, 0, grid.batches.index(workload.concurrency)].astype(bool)
    if not holds.any():
        return "memory"
    return "targets" if (holds & selection.allowed).any() else "quality"


def _widest(selection: Selection, shown: Choice) -> Format:
    """The widest weights that hold as many requests on as many GPUs, with the cache of what is shown."""
    grid = selection.grid
    holds = grid.cube(grid.fits)[:, 0, grid.batches.index(shown.concurrency)]
    fitting = [d.weights for d, fits in zip(grid.deployments, holds, strict=True)
               if fits and (d.gpus, d.kv_cache) == (shown.deployment.gpus, shown.deployment.kv_cache)]
    return max(fitting, key=lambda weights: weights.bits_per_weight)


def binding_limit(workload: Workload, best: Choice, knee: float | None) -> str:
    """What stops a larger batch: the memory, a target or, before both, compute."""
    most = best.slo_concurrency
    if not most:
        return f"even one request misses the targets: {sentences.bound(best.decode_bound)} limits it"
    if most >= best.memory_concurrency:
        text = f"the memory limits the batch: the KV cache holds {sentences.requests(best.memory_concurrency)} of " \
               f"{workload.context_tokens:,} tokens"
    else:
        text = f"up to {sentences.requests(most)} stay within the targets, then {_target_beyond(workload, best)}"
    if knee is not None and knee < most:
        text += f", and from about {knee:,.0f} on decode is compute-bound and batching pays less"
    return text


def _target_beyond(workload: Workload, best: Choice) -> str:
    """The target nearer to being missed."""
    nearer_tpot = best.tpot.value / workload.tpot_slo_s >= best.ttft.value / workload.ttft_slo_s
    slo = workload.tpot_slo_s if nearer_tpot else workload.ttft_slo_s
    return f"{'TPOT' if nearer_tpot else 'TTFT'} exceeds {ms(slo)}"


def _candidates(selection: Selection, shown: Choice | None) -> tuple[Candidate, ...]:
    """The best layout of each weight format on as many GPUs as the pick, allowed ones first."""
    if shown is None:
        return ()
    grid, found = selection.grid, []
    for name in dict.fromkeys(d.weights.name for d in grid.deployments):
        rows = [i for i, d in enumerate(grid.deployments)
                if d.weights.name == name and d.gpus == shown.deployment.gpus]
        if not rows:
            continue
        same = [i for i in rows if grid.deployments[i].kv_cache == shown.deployment.kv_cache]
        index = (same or rows)[0]
        at = min(grid.batches, key=lambda b: abs(b - shown.concurrency))
        made = choice(selection, index, at)
        allowed = bool(selection.allowed[index])
        found.append(Candidate(made, allowed, _note(selection, made, allowed, shown)))
    return tuple(sorted(found, key=lambda c: (not c.allowed, not c.choice.fits, -c.choice.output_tokens_per_s.value)))


def _note(selection: Selection, made: Choice, allowed: bool, shown: Choice) -> str:
    """Why a candidate is not the choice."""
    workload = selection.grid.workload
    if made.deployment == shown.deployment:
        return overflow_text(made.footprint)
    if made.quality is None and not allowed:
        return "no published figure for its loss of quality"
    if made.quality is not None and not allowed and made.quality.value <= workload.quality_loss:
        cache = made.deployment.kv_cache.name.upper()
        return f"{with_article(cache)} cache is published for other models only: measure or name it"
    if made.quality is not None and not allowed:
        return f"{sentences.loss(made.quality)}, above the {percent(workload.quality_loss)} accepted"
    if not made.footprint.fits:
        return overflow_text(made.footprint)
    if not made.fits:
        return f"the KV cache holds {sentences.requests(made.memory_concurrency)}"
    if not made.meets_slo:
        return f"TPOT {ms(made.tpot.value)}, TTFT {ms(made.ttft.value)}: a target is missed"
    slower = 1 - made.output_tokens_per_s.value / shown.output_tokens_per_s.value
    if slower < _NO_SLOWER:
        return "within a few percent" if made.quality is None else "within a few percent, at more loss"
    return f"{percent(slower)} fewer tokens/s"


def _runner_up(selection: Selection, best: Choice | None) -> Choice | None:
    """The next best layout with other weights, another KV cache or more GPUs that meets as much."""
    if best is None:
        return None
    grid = selection.grid
    at = grid.batches.index(min(grid.batches, key=lambda b: abs(b - best.concurrency)))
    others = [
        i for i, d in enumerate(grid.deployments)
        if selection.allowed[i] and selection.served[i] >= min(grid.batches[at], best.slo_concurrency)
        and d != best.deployment and d.weights != best.deployment.weights and selection.served[i] > 0
    ] or [
        i for i, d in enumerate(grid.deployments)
        if selection.allowed[i] and selection.served[i] >= grid.batches[at] and d != best.deployment
    ]
    if not others:
        return None
    rate = grid.cube(grid.output_tokens_per_s.value)[:, 0, at]
    winner = min(others, key=lambda i: (grid.deployments[i].gpus, -float(np.asarray(rate[i]))))
    return choice(selection, winner, grid.batches[at])


def _why(selection: Selection, best: Choice | None, listed: Sequence[Candidate]) -> str:
    """The reasons, and how the format runs where that is not as it is meant to."""
    spec, workload, grid = selection.question.spec, selection.question.workload, selection.grid
    if best is not None:
        widest = max(listed, key=lambda c: c.choice.deployment.weights.bits_per_weight, default=None)
        d = best.deployment
        said = (sentences.why_chosen(best, widest.choice if widest else None), slower(d.weights, d.gpu, d.engine),
                sentences.on_host(spec, d))
        return " ".join(filter(None, said))
    if not grid.deployments:
        return grid.refusals[0].reason if grid.refusals else "no weight format runs on this GPU."
    if spec.max_context and workload.context_tokens > spec.max_context:
        return (f"{workload.context_tokens:,} tokens of prompt and answer are beyond the model's context of "
                f"{spec.max_context:,}.")
    assert selection.layout is not None
    nearest = grid.footprints[selection.layout]
    layout = f"{sentences.formats(grid.deployments[selection.layout])} on " \
             f"{sentences.hardware(grid.deployments[selection.layout])}"
    if nearest.fits:
        return f"{layout} leave no room for one request of {workload.context_tokens:,} tokens."
    return f"even {layout} are {overflow_text(nearest)}."
