"""A plan as one printable page: self-contained HTML, its charts inside as SVG, every word escaped."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core import charts
from core.advice import Choice, Plan
from core.advice.sentences import dollars, loss_text, ms, number, percent, requests
from core.charts import Spec
from core.export.launch import LAUNCHERS, command, order
from core.terms import Estimate
from core.units import GIB, MS_PER_S

_ASSETS: Final = Path(__file__).resolve().parents[2] / "assets"
_CHART_PX, _WIDE_PX = 270, 620
_RIVALS: Final = 6                  # formats that a page has room for; all are in the CSV


def report(plan: Plan) -> str:
    """The plan as an HTML page that needs nothing else: no script, no font, no address."""
    page = Environment(
        loader=FileSystemLoader(_ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html")
    shown = plan.shown
    return page.render(
        title=f"{plan.spec.name} on {plan.gpu.name}",
        sentence=plan.sentence, reason=plan.reason, asked=_asked(plan),
        figures=[] if shown is None else _figures(shown),
        charts=[] if shown is None else _charts(plan, shown),
        terms=[] if shown is None else _terms(shown),
        rivals=_rivals(plan), remedies=plan.remedies, launch=_launch(plan), sources=_sources(plan),
        date=datetime.now(UTC).strftime("%Y-%m-%d"),
    )


def svg(spec: Spec, width: int = _CHART_PX) -> Markup:
    """A Vega-Lite chart as SVG in the colours of the page, drawn by vl-convert without a browser."""
    import vl_convert  # half a second to load: only where a report is asked for

    return Markup(vl_convert.vegalite_to_svg({**spec, "width": width}))      # Vega escapes the text in it


def _asked(plan: Plan) -> str:
    load = plan.workload
    return (f"{requests(load.concurrency)} in flight of {load.input_tokens:,} + {load.output_tokens:,} tokens; "
            f"TTFT within {ms(load.ttft_slo_s)}, TPOT within {ms(load.tpot_slo_s)}, loss of quality within "
            f"{percent(load.quality_loss)}; engine {plan.engine}.")


def _figures(choice: Choice) -> list[dict[str, str]]:
    shown: list[tuple[str, Estimate | None, Callable[[float], str]]] = [
        ("TPOT", choice.tpot, ms), ("TTFT", choice.ttft, ms),
        ("Output", choice.output_tokens_per_s, lambda rate: f"{number(rate)} tok/s"),
        ("Cost per million tokens", choice.cost_usd_per_million_output_tokens, dollars),
    ]
    return [
        {"name": name, "basis": str(estimate.basis), "value": write(estimate.value),
         "span": f"{write(estimate.low)} – {write(estimate.high)}"}
        for name, estimate, write in shown if estimate is not None
    ]


def _charts(plan: Plan, choice: Choice) -> list[dict[str, object]]:
    footprint = choice.footprint
    segments = charts.footprint_segments(
        footprint, choice.concurrency / choice.deployment.dp, plan.workload.context_tokens
    )
    bar = charts.memory_bar(
        segments, memory_gib=footprint.reported_bytes / GIB, usable_gib=footprint.usable_bytes / GIB
    )
    keys = [{"name": s.name, "gib": f"{s.gib:.1f}", "colour": s.colour, "opacity": s.opacity} for s in segments]
    drawn: list[dict[str, object]] = [
        {"svg": svg(bar, _WIDE_PX), "says": "What fills the memory of each GPU:", "wide": True, "parts": keys}
    ]
    curve = plan.batch_curve()
    if curve is None or plan.best is None:
        return drawn
    rate, tpot = curve.output_tokens_per_s, curve.tpot_s
    throughput = charts.throughput_over_batch(
        curve.batch, rate.value, rate.low, rate.high, memory_limit=curve.memory_limit,
        knee=charts.pays_less_from(curve.batch, rate.value), chosen=choice.concurrency,
    )
    times = charts.tpot_over_batch(
        curve.batch, tpot.value * MS_PER_S, tpot.low * MS_PER_S, tpot.high * MS_PER_S,
        memory_limit=curve.memory_limit, slo_ms=plan.workload.tpot_slo_s * MS_PER_S, chosen=choice.concurrency,
    )
    return [
        *drawn,
        {"svg": svg(throughput), "says": f"Output tokens/s over the batch; {plan.binding_limit}.", "wide": False,
         "parts": ()},
        {"svg": svg(times), "says": "Time per output token over the batch, and its target.", "wide": False,
         "parts": ()},
    ]


def _terms(choice: Choice) -> list[dict[str, str]]:
    footprint = choice.footprint
    terms = [
        {"name": term.name, "gib": f"{term.bytes / GIB:.2f}", "rule": term.rule,
         "source": f"{term.source} ({term.basis})"}
        for term in footprint.terms
    ]
    pool = {"name": "KV cache pool", "gib": f"{footprint.kv_cache_bytes / GIB:.2f}",
            "rule": "what the engine may use, less the above", "source": ""}
    return [*terms, pool]


def _rivals(plan: Plan) -> list[dict[str, Any]]:
    return [
        {
            "weights": c.choice.deployment.weights.label, "cache": c.choice.deployment.kv_cache.name,
            "tpot": ms(c.choice.tpot.value), "rate": number(c.choice.output_tokens_per_s.value),
            "loss": loss_text(c.choice.quality),
            "note": c.note or "recommended",
        }
        for c in plan.candidates[:_RIVALS]
    ]


def _launch(plan: Plan) -> str:
    if plan.best is None or plan.engine not in LAUNCHERS:
        return ""
    return command(order(plan)).text()


def _sources(plan: Plan) -> str:
    """Where the facts come from."""
    gpu = plan.gpu
    price = f" Price: {gpu.price_source}." if gpu.price_source else " No price is known."
    return f"Model: {plan.spec.source}. GPU: {gpu.source}.{price}"
