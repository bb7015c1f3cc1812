"""A plan as one printable page."""

from collections.abc import Callable
from typing import Final

from core.answers.advice import Choice, Plan
from core.answers.advice.sentences import asked, loss_text
from core.basics.units import GIB, MS_PER_S
from core.basics.words import dollars, ms, number
from core.delivery import charts
from core.delivery.export.launch import command
from core.delivery.export.order import order
from core.delivery.export.page import WIDE_PX, Figure, Page, Picture, Table, render, svg
from core.products.engines import launched
from core.terms import Estimate

_RIVALS: Final = 6                  # formats that a page has room for; all are in the CSV


def report(plan: Plan) -> str:
    """The plan as an HTML page."""
    shown = plan.shown
    tables = [
        *([] if shown is None else [_terms(shown)]), _rivals(plan),
        Table("What would help", (), [(remedy.label, remedy.effect) for remedy in plan.remedies]),
    ]
    return render(Page(
        title=f"{plan.spec.name} on {plan.gpu.name}", sentence=plan.sentence, reason=plan.reason,
        asked=f"{asked(plan.workload)}; engine {plan.engine}.",
        figures=() if shown is None else _figures(shown), charts=() if shown is None else _charts(plan, shown),
        tables=[table for table in tables if table.rows], launch=_launch(plan), sources=_sources(plan),
    ))


def _figures(choice: Choice) -> list[Figure]:
    shown: list[tuple[str, Estimate | None, Callable[[float], str]]] = [
        ("TPOT", choice.tpot, ms), ("TTFT", choice.ttft, ms),
        ("Output", choice.output_tokens_per_s, lambda rate: f"{number(rate)} tok/s"),
        ("Cost per million tokens", choice.cost_usd_per_million_output_tokens, dollars),
    ]
    return [
        Figure(name, str(estimate.basis), write(estimate.value), f"{write(estimate.low)} – {write(estimate.high)}")
        for name, estimate, write in shown if estimate is not None
    ]


def _charts(plan: Plan, choice: Choice) -> list[Picture]:
    footprint = choice.footprint
    segments = charts.footprint_segments(
        footprint, choice.concurrency / choice.deployment.dp, plan.workload
    )
    bar = charts.memory_bar(
        segments, memory_gib=footprint.reported_bytes / GIB, usable_gib=footprint.usable_bytes / GIB
    )
    keys = [{"name": s.name, "gib": f"{s.gib:.1f}", "colour": s.colour, "opacity": s.opacity} for s in segments]
    drawn = [Picture(svg(bar, WIDE_PX), "What fills the memory of each GPU:", wide=True, parts=keys)]
    curve = plan.batch_curve()
    if curve is None or plan.best is None:
        return drawn
    rate, load = curve.output_tokens_per_s, plan.workload
    throughput = charts.throughput_over_batch(
        curve.batch, rate.value, rate.low, rate.high, memory_limit=curve.memory_limit,
        limit=plan.recommended_batch, best_value=plan.best_value_batch, chosen=choice.concurrency,
    )
    times = [
        Picture(svg(charts.time_over_batch(
            curve.batch, time.value * MS_PER_S, time.low * MS_PER_S, time.high * MS_PER_S, name=name,
            memory_limit=curve.memory_limit, limit=plan.recommended_batch, slo_ms=slo_s * MS_PER_S,
            chosen=choice.concurrency,
        )), says)
        for name, time, slo_s, says in (
            ("TPOT", curve.tpot_s, load.tpot_slo_s, "Time per output token over the batch, and its target."),
            ("TTFT", curve.ttft_s, load.ttft_slo_s, "Time to first token over the batch, and its target."),
        )
    ]
    return [
        *drawn,
        Picture(svg(throughput), f"Output tokens/s over the batch; {plan.binding_limit}."),
        *times,
    ]


def _terms(choice: Choice) -> Table:
    footprint = choice.footprint
    terms = [
        (term.name, f"{term.bytes / GIB:.2f}", f"{term.rule}; {term.source} ({term.basis})") for term in footprint.terms
    ]
    pool = ("KV cache pool", f"{footprint.kv_cache_bytes / GIB:.2f}", "what the engine may use, less the above")
    return Table("Memory of each GPU", ("Term", "GiB", "Rule and source"), [*terms, pool], numbers=(1,))


def _rivals(plan: Plan) -> Table:
    rows = [
        (
            c.choice.deployment.weights.label, c.choice.deployment.kv_cache.name, ms(c.choice.tpot.value),
            number(c.choice.output_tokens_per_s.value),
            loss_text(c.choice.quality), c.note or "recommended",
        )
        for c in plan.candidates[:_RIVALS]
    ]
    return Table("Why not another format", ("Weights", "KV cache", "TPOT", "Tokens/s", "Loss", ""), rows,
                 numbers=(2, 3, 4))


def _launch(plan: Plan) -> str:
    if plan.best is None or plan.engine not in launched():
        return ""
    return command(order(plan)).text()


def _sources(plan: Plan) -> str:
    """Where the facts come from."""
    gpu = plan.gpu
    price = f" Price: {gpu.price_source}." if gpu.price_source else " No price is known."
    return f"Model: {plan.spec.source}. GPU: {gpu.source}.{price}"
