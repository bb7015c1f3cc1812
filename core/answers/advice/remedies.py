"""The smallest change of each kind that would help, tried and not guessed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from core.answers.advice import sentences
from core.answers.advice.fleet import best_over_gpus
from core.answers.advice.plan import Choice, Plan, Remedy, Sensitivity, Standing
from core.answers.advice.select import Question, Selection, choice, select
from core.basics.words import dollars, ms, number, percent, with_article
from core.products import gpus
from core.products.engines import ENGINES
from core.terms import Workload

_MORE_GPUS: Final = (1, 2, 4, 8, 16)
_SHORTER: Final = (0.75, 0.5, 0.25, 0.125)       # shares of the prompt
_GAIN: Final = 0.10                               # what permission for an unpublished loss must bring


def remedies(question: Question, selection: Selection, shown: Choice | None) -> tuple[Remedy, ...]:
    """Changes that bring the plan nearer to what was asked, smallest first; none when everything is met."""
    if selection.standing is Standing.MET:
        return ()
    tried = (
        _smaller_cache(question, selection), _looser_quality(question, selection), _fewer(question, selection, shown),
        _shorter(question), _more_gpus(question, selection), _replicas(question, selection, shown),
        _looser_slo(question, shown), _another_engine(question, selection), _another_gpu(question),
    )
    return tuple(remedy for remedy in tried if remedy is not None)


def _says(selection: Selection) -> str:
    """The pick of a selection in a few words."""
    assert selection.layout is not None
    made = choice(selection, selection.layout, selection.batch)
    d = made.deployment
    return (f"{d.weights.label} weights, {d.kv_cache.name.upper()} KV cache on {sentences.hardware(d)} serve "
            f"{sentences.requests(made.concurrency)} at TPOT {ms(made.tpot.value)}, "
            f"TTFT {ms(made.ttft.value)}")


def _met(question: Question) -> Selection | None:
    """The selection for a changed question when it meets everything."""
    selection = select(question)
    return selection if selection.standing is Standing.MET else None


def _smaller_cache(question: Question, selection: Selection) -> Remedy | None:
    """A KV cache format nobody has published a loss for, with permission."""
    smaller = [kv for d in selection.grid.deployments if (kv := d.kv_cache).bits_per_value < 16]
    if question.kv_formats is not None or not smaller:
        return None
    names = tuple(dict.fromkeys(d.kv_cache.name for d in selection.grid.deployments))
    changed = select(replace(question, kv_formats=names))
    better = changed.standing > selection.standing or (
        changed.standing is Standing.FEWER and changed.batch >= (1 + _GAIN) * selection.batch
    )
    if not better or changed.layout is None:
        return None
    kv = changed.grid.deployments[changed.layout].kv_cache
    return Remedy(
        f"Cache keys and values in {kv.name.upper()}",
        f"{_says(changed)}; the loss of quality has no published figure: check it on your prompts.",
        kv_formats=(kv.name,),
    )


def _looser_quality(question: Question, selection: Selection) -> Remedy | None:
    """The smallest tolerance at which another weight format meets everything."""
    known = sorted({loss.value for loss in selection.losses if loss and loss.value > question.workload.quality_loss})
    for loss in known:
        tolerance = round(loss + 0.0005, 3)
        workload = replace(question.workload, quality_loss=tolerance)
        if found := _met(replace(question, workload=workload)):
            label = f"Accept {percent(tolerance)} loss of quality"
            return Remedy(label, f"{_says(found)}.", workload=workload)
    return None


def _fewer(question: Question, selection: Selection, shown: Choice | None) -> Remedy | None:
    """The concurrency that is within the targets, or within the memory."""
    most = shown.slo_concurrency if shown else 0
    if not shown or not 0 < most < question.workload.concurrency or selection.standing is not Standing.FEWER:
        return None
    workload = replace(question.workload, concurrency=most)
    return Remedy(f"Serve {sentences.requests(most)} at a time", "Everything asked is met; the others wait their turn.",
                  workload=workload)


def _shorter(question: Question) -> Remedy | None:
    """The longest of a few shorter prompts that meets everything."""
    for share in _SHORTER:
        tokens = int(question.workload.input_tokens * share)
        if tokens < 1:
            return None
        workload = replace(question.workload, input_tokens=tokens)
        if found := _met(replace(question, workload=workload)):
            return Remedy(f"Shorten the prompt to {tokens:,} tokens", f"{_says(found)}.", workload=workload)
    return None


def _more_gpus(question: Question, selection: Selection) -> Remedy | None:
    """The next number of GPUs for one replica that meets everything, else the next that gets nearer."""
    nearer: tuple[int, Selection] | None = None
    for count in (count for count in _MORE_GPUS if count > max(question.tps)):
        found = select(replace(question, tps=(count,)))
        if found.standing is Standing.MET:
            nearer = count, found
            break
        if nearer is None and found.standing > selection.standing:
            nearer = count, found
    if nearer is None:
        return None
    count, found = nearer
    return Remedy(f"Take {count} GPUs", f"{_says(found)}.", gpus=count)


def _replicas(question: Question, selection: Selection, shown: Choice | None) -> Remedy | None:
    """As many copies as share the load within the targets."""
    if selection.standing is not Standing.FEWER or shown is None or not shown.slo_concurrency:
        return None
    count = -(-question.workload.concurrency // shown.slo_concurrency)
    cost = f" at {dollars(count * shown.usd_per_hour)} per hour" if shown.usd_per_hour is not None else ""
    each = sentences.requests(shown.slo_concurrency)
    return Remedy(
        f"Run {count} replicas",
        f"{count} × ({sentences.hardware(shown.deployment)}) with up to {each} each meet everything{cost}.",
        replicas=count,
    )


def _looser_slo(question: Question, shown: Choice | None) -> Remedy | None:
    """The targets at which the plan would be met as it stands."""
    if shown is None or not shown.fits or shown.concurrency < question.workload.concurrency:
        return None
    asked = question.workload
    tpot, ttft = max(asked.tpot_slo_s, _rounded(shown.tpot.value)), max(asked.ttft_slo_s, _rounded(shown.ttft.value))
    parts = [f"{name} of {ms(new)}" for name, new, old in
             (("TPOT", tpot, asked.tpot_slo_s), ("TTFT", ttft, asked.ttft_slo_s)) if new > old]
    if not parts:
        return None
    return Remedy(f"Accept {' and '.join(map(with_article, parts))}", "The plan above then meets everything.",
                  workload=replace(asked, tpot_slo_s=tpot, ttft_slo_s=ttft))


def _rounded(seconds: float) -> float:
    """The next whole millisecond."""
    return (int(seconds * 1000) + 1) / 1000 if seconds == seconds else 0.0


def _another_engine(question: Question, selection: Selection) -> Remedy | None:
    """Where the engine runs nothing on this GPU: the first one that meets everything."""
    if selection.layout is not None:
        return None
    for engine in ENGINES.values():
        if engine.vendors and (found := _met(replace(question, engine=engine.name))):
            return Remedy(f"Serve with {engine.label}", f"{_says(found)}.", engine=engine.name)
    return None


def _another_gpu(question: Question) -> Remedy | None:
    """The cheapest GPU type of the same vendor that meets everything."""
    same = [gpu for gpu in gpus.catalogue()
            if gpu.vendor == question.gpu.vendor and gpu.name != question.gpu.name and not gpu.announced]
    offers = best_over_gpus(question.spec, question.workload, engine=question.engine, tps=question.tps, among=same,
                            measured=question.losses.measured)
    if not offers or offers[0].standing is not Standing.MET or offers[0].choice is None:
        return None
    made = offers[0].choice
    price = f" at {dollars(made.usd_per_hour)} per hour" if made.usd_per_hour is not None else ""
    return Remedy(
        f"Use {sentences.hardware(made.deployment)}",
        f"{sentences.formats(made.deployment)}: TPOT {ms(made.tpot.value)}, TTFT "
        f"{ms(made.ttft.value)}{price}.", gpu=made.deployment.gpu.name,
    )


def sensitivity(question: Question, plan: Plan) -> tuple[Sensitivity, ...]:
    """What the answer becomes with other loads and half the TPOT target, all else as asked."""
    return tuple(_moved(question, plan, what, workload) for what, workload in _moves(plan.workload))


def _moves(workload: Workload) -> Iterator[tuple[str, Workload]]:
    yield "Twice the requests", replace(workload, concurrency=2 * workload.concurrency)
    yield "Half as many requests", replace(workload, concurrency=max(1, workload.concurrency // 2))
    yield "Twice the prompt", replace(workload, input_tokens=2 * workload.input_tokens)
    yield "Half the TPOT target", replace(workload, tpot_slo_s=workload.tpot_slo_s / 2)


def _moved(question: Question, plan: Plan, what: str, workload: Workload) -> Sensitivity:
    selection = select(replace(question, workload=workload))
    if selection.layout is None or selection.standing is Standing.IMPOSSIBLE:
        return Sensitivity(what, "nothing fits any more", plan.best is not None)
    deployment = selection.grid.deployments[selection.layout]
    same = plan.best is not None and deployment == plan.best.deployment
    changed = not same or selection.standing is not plan.standing
    if selection.standing is Standing.MET:
        ending = ""
    elif selection.standing is Standing.FEWER:
        ending = f", {selection.batch:,} of {workload.concurrency:,} within the targets"
    else:
        ending = ", a target is missed"
    start = "the same deployment" if same else f"{sentences.formats(deployment)} on {sentences.hardware(deployment)}"
    made = choice(selection, selection.layout, selection.batch)
    return Sensitivity(what, f"{start}: TPOT {ms(made.tpot.value)}, "
                             f"{number(made.output_tokens_per_s.value)} tokens/s{ending}", changed)
