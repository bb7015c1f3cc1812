"""What a change of the question moved in the answer: before and after, in one sentence."""

from collections.abc import Iterator

from core.answers.advice.plan import Plan
from core.basics.words import counted, ms
from core.terms import INPUTS


def moved(before: Plan, after: Plan) -> str:
    """ "Prompt tokens 1024 → 8192: TPOT 9.2 → 11.0 ms, batch limit 296 → 120."; empty where nothing was changed."""
    causes = ", ".join(_causes(before, after))
    if not causes:
        return ""
    effects = ", ".join(_effects(before, after))
    return f"{causes}: {effects or 'the answer stays the same'}."


def _causes(before: Plan, after: Plan) -> Iterator[str]:
    names = (("Model", before.spec.name, after.spec.name), ("GPU", before.gpu.name, after.gpu.name),
             ("Engine", before.engine, after.engine))
    inputs = ((one.label, one.shown(getattr(before.workload, one.name)), one.shown(getattr(after.workload, one.name)))
              for one in INPUTS)
    for label, old, new in (*names, *inputs):
        if old != new:
            yield f"{label} {'open' if old is None else old} → {'open' if new is None else new}"


def _effects(before: Plan, after: Plan) -> Iterator[str]:
    old, new = before.best, after.best
    if old is None or new is None:
        if (old is None) is not (new is None):
            yield "now it can be served" if new else "now nothing can be recommended"
        return
    for name, was, now in (("TPOT", ms(old.tpot.value), ms(new.tpot.value)),
                           ("TTFT", ms(old.ttft.value), ms(new.ttft.value)),
                           ("batch limit", before.recommended_batch, after.recommended_batch)):
        if was != now:
            yield f"{name} {'none' if was is None else was} → {'none' if now is None else now}"
    if old.deployment.gpus != new.deployment.gpus:
        yield f"now {counted(new.deployment.gpus, 'GPU')}"
    if old.deployment.weights != new.deployment.weights:
        yield f"now {new.deployment.weights.label} weights"
