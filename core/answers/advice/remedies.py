"""The smallest change of each kind that would help, tried and not guessed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from core.answers.advice import sentences
from core.answers.advice.engine import usual_engine
from core.answers.advice.fleet import best_over_gpus
from core.answers.advice.plan import Choice, Plan, Remedy, Sensitivity, Standing
from core.answers.advice.select import Question, Selection, choice, select
from core.basics.words import dollars, ms, number, percent, with_article
from core.products import gpus
from core.products.engines import ENGINES
from core.products.engines import find as find_engine
from core.terms import Workload

_MORE_GPUS: Final = (1, 2, 4, 8, 16)
_SHORTEST: Final = 0.125                          # of the prompt: shorter ones are another question
_HALVINGS: Final = 5                              # of what is left to search: a prompt is found to 3 %
_UNCHECKED: Final = "nobody has published what that loses: check it on your prompts."
_GAIN: Final = 0.10                               # what permission for an unpublished loss must bring


def remedies(question: Question, selection: Selection, shown: Choice | None) -> tuple[Remedy, ...]:
    """Changes that bring the plan nearer to what was asked, smallest first; none when everything is met."""
    if selection.standing is Standing.MET:
        return ()
    cache, unknown = _smaller_cache(question, selection), _unknown_loss(question, selection)
    tried = (
        cache, None if cache and unknown and cache.effect == unknown.effect else unknown,
        _looser_quality(question, selection), _fewer(question, selection, shown), _shorter(question, selection),
        _more_gpus(question, selection), _replicas(question, selection, shown),
        _looser_slo(question, selection, shown), _another_engine(question, selection), _another_gpu(question),
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
    label = f"Cache keys and values in {kv.name.upper()}"
    return Remedy(label, f"{_says(changed)}; {_UNCHECKED}", kv_formats=(kv.name,))


def _unknown_loss(question: Question, selection: Selection) -> Remedy | None:
    """Formats whose loss nobody has published, where those bring the plan nearer."""
    if question.workload.unknown_loss:
        return None
    workload = replace(question.workload, unknown_loss=1)
    changed = select(replace(question, workload=workload))
    if changed.standing <= selection.standing or changed.layout is None:
        return None
    return Remedy("Accept an unknown loss of quality", f"{_says(changed)}; {_UNCHECKED}", workload=workload)


def _looser_quality(question: Question, selection: Selection) -> Remedy | None:
    """The smallest tolerance at which another format meets everything; or fits, where nothing did."""
    known = sorted({loss.value for loss in selection.losses if loss and loss.value > question.workload.quality_loss})
    for aim in (Standing.MET, *([Standing.LATE] if selection.standing is Standing.IMPOSSIBLE else [])):
        for loss in known:
            tolerance = round(loss + 0.0005, 3)
            workload = replace(question.workload, quality_loss=tolerance)
            found = select(replace(question, workload=workload))
            if found.standing >= aim:
                return Remedy(f"Accept {percent(tolerance)} loss of quality", f"{_says(found)}.", workload=workload)
    return None


def _fewer(question: Question, selection: Selection, shown: Choice | None) -> Remedy | None:
    """The concurrency that is within the targets, or within the memory."""
    if shown is None or selection.standing not in (Standing.FEWER, Standing.LATE):
        return None
    most = shown.slo_concurrency or shown.concurrency
    if not most < question.workload.concurrency:
        return None
    met = "Everything asked is met" if shown.slo_concurrency else "All then fit, though a target is missed"
    return Remedy(f"Serve {sentences.requests(most)} at a time", f"{met}; the others wait their turn.",
                  workload=replace(question.workload, concurrency=most))


def _shorter(question: Question, selection: Selection) -> Remedy | None:
    """The longest of the shorter prompts that meets everything, else that at least fits."""
    whole = question.workload.input_tokens
    aims = (Standing.MET, Standing.LATE) if selection.standing is Standing.IMPOSSIBLE else (Standing.MET,)

    def asked(tokens: int) -> Selection:
        return select(replace(question, workload=replace(question.workload, input_tokens=tokens)))

    least = max(1, int(whole * _SHORTEST))
    shortest = asked(least)
    aim = next((aim for aim in aims if shortest.standing >= aim), None)
    if aim is None or least == whole:
        return None
    good, too_long, found = least, whole, shortest
    for _ in range(_HALVINGS):
        middle = _round_tokens((good + too_long) // 2)
        if not good < middle < too_long:
            break
        tried = asked(middle)
        if tried.standing >= aim:
            good, found = middle, tried
        else:
            too_long = middle
    late = "" if aim is Standing.MET else "; a target is still missed"
    return Remedy(f"Shorten the prompt to {good:,} tokens", f"{_says(found)}{late}.",
                  workload=replace(question.workload, input_tokens=good))


def _round_tokens(tokens: int) -> int:
    """A number of tokens that people would say: whole hundreds where there are thousands."""
    return tokens // 100 * 100 if tokens >= 2000 else tokens


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


def _looser_slo(question: Question, selection: Selection, shown: Choice | None) -> Remedy | None:
    """The targets at which the plan would be met as it stands."""
    if shown is None or selection.standing is Standing.IMPOSSIBLE or shown.concurrency < question.workload.concurrency:
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
    """Another engine that meets everything, or fits where nothing did: the usual one on this card, else any."""
    if selection.standing is not Standing.IMPOSSIBLE:
        return None
    usual = usual_engine(question.spec, question.gpu).engine
    others = [engine.name for engine in ENGINES.values() if engine.vendors] if selection.layout is None else []
    for engine in dict.fromkeys(name for name in (usual, *others) if name != question.engine):
        found = select(replace(question, engine=engine))
        if found.standing is Standing.MET or (engine == usual and found.standing is not Standing.IMPOSSIBLE):
            late = "" if found.standing is Standing.MET else "; a target is still missed"
            return Remedy(f"Serve with {find_engine(engine).label}", f"{_says(found)}{late}.", engine=engine)
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
