"""Plan: which precision and batch to deploy for one model, GPU and workload, and why."""

from functools import partial

import streamlit as st

from core.answers.advice import Choice, Plan, Standing, sentences
from core.basics.places import ROOT
from core.basics.units import GIB, MS_PER_S
from core.basics.words import percent, with_article
from core.delivery import charts, export
from core.delivery.export import report
from core.delivery.export.manager import for_manager
from core.delivery.export.order import order
from core.products.engines import launched
from core.products.formats import FORMATS
from core.terms import Workload
from pages.shared import arithmetic, decision, delivery, figures, inputs, keeping, parts, verdict

TRAFFIC_PAGE = ROOT / "pages" / "traffic" / "traffic.py"
QUALITY_PAGE = ROOT / "pages" / "quality" / "quality.py"
HEAT_VIEWS = {"Throughput": "output tokens/s of the whole deployment", "TPOT": "ms per output token"}
# With the figures of their data sheet: an 8B model in 16 bits on an H100 SXM.
TPOT_TEACHES = (
    "Time per output token: how fast an answer flows to one user. 50 ms is 1 s / 50 ms = 20 tokens per second for "
    "each. While few requests wait, a step reads every weight once, so it takes at least their bytes over the "
    "bandwidth: 16 GB / 3.35 TB/s = 4.8 ms for 8B parameters in 16 bits on an H100, a quarter of that in 4 bits. "
    "INT4 stops paying once multiplying takes longer than reading: it multiplies in 16 bits, and unpacking comes on "
    "top."
)
TTFT_TEACHES = (
    "Time to first token: how long a user waits before the answer starts. The prompt goes through the model first, two "
    "operations per parameter and token: 2 × 8B × 1,024 = 16 TFLOP, 17 ms at the 989 TFLOPS of an H100 at best; then "
    "it may wait for other prompts."
)
# One format of each kind, in the order people ask; the others differ by their scales only.
KINDS = ("fp8", "w8a8-int8", "awq-int4", "nvfp4", "int8", "gguf-Q8_0", "gguf-Q4_K_M")


def five_figures(choice: Choice, load: Workload, *, fits: bool) -> None:
    """The figures people compare, each with range and provenance; speeds fade when the plan does not fit."""
    with st.grid(5, min_column_width=150, gap="small"):
        parts.metric(
            "TPOT", choice.tpot, figures.ms, faded=not fits,
            help=TPOT_TEACHES,
        )
        parts.metric(
            "TTFT", choice.ttft, figures.ms, faded=not fits,
            help=TTFT_TEACHES,
        )
        parts.metric(
            "Output", choice.output_tokens_per_s, figures.rate, faded=not fits,
            help="Tokens per second that all users together receive from the whole deployment.",
        )
        parts.memory_metric(choice.footprint, choice.concurrency / choice.deployment.dp, load)
        parts.metric(
            "Cost", choice.cost_usd_per_million_output_tokens, figures.dollars, faded=not fits,
            help="US dollars per million output tokens with this load, at the price of the GPUs.",
        )


def memory(choice: Choice, plan: Plan) -> None:
    """What fills one GPU, against what it has."""
    footprint, workload = choice.footprint, plan.workload
    per_replica = choice.concurrency / choice.deployment.dp
    segments = charts.footprint_segments(footprint, per_replica, workload)
    most = footprint.max_concurrency(workload.context_tokens, workload.shared_tokens) * choice.deployment.dp
    with st.container(border=True, gap="small"):
        parts.section(
            "What fills the memory of each GPU",
            f"{_room(most)} of {workload.context_tokens:,} tokens; this load has {choice.concurrency:,}. Dotted line: "
            f"the engine's limit, {percent(footprint.usable_bytes / footprint.reported_bytes)} of the memory "
            f"({figures.gib(footprint.usable_bytes)}).",
        )
        memory_gib, usable_gib = footprint.reported_bytes / GIB, footprint.usable_bytes / GIB
        parts.chart(
            charts.memory_bar(segments, memory_gib=memory_gib, usable_gib=usable_gib),
            alt=f"{sum(s.gib for s in segments):.1f} GiB on a GPU with {memory_gib:.1f} GiB",
            key="memory",
        )
        parts.legend([(f"{s.name} {s.gib:.1f} GiB", s.colour, s.opacity) for s in segments])


def _room(requests: float) -> str:
    """How many requests the cache holds: "Room for 376 requests", "No room for a single request"."""
    return f"Room for {figures.whole(requests)} request{'' if 1 <= requests < 2 else 's'}" if requests >= 1 else (
        "No room for a single request")


def batching(choice: Choice, plan: Plan) -> None:
    """Throughput and both times over the batch, with the batch to run, the targets and the memory's end."""
    curve, load = plan.batch_curve(), plan.workload
    with st.container(border=True, gap="small"):
        drafts = f" {plan.speculation.sentence}" if plan.speculation else ""
        parts.section("Which batch to run", _batch_advice(choice, plan) + drafts)
        rate = curve.output_tokens_per_s
        places = st.columns(3)
        with places[0]:
            parts.chart(
                charts.throughput_over_batch(
                    curve.batch, rate.value, rate.low, rate.high, memory_limit=curve.memory_limit,
                    limit=plan.recommended_batch, best_value=plan.best_value_batch, chosen=choice.concurrency,
                ),
                alt="Output tokens per second, by batch, with the batch limit",
                key="throughput",
            )
        for place, name, time, slo_s in ((places[1], "TPOT", curve.tpot_s, load.tpot_slo_s),
                                         (places[2], "TTFT", curve.ttft_s, load.ttft_slo_s)):
            with place:
                parts.chart(
                    charts.time_over_batch(
                        curve.batch, time.value * MS_PER_S, time.low * MS_PER_S, time.high * MS_PER_S, name=name,
                        memory_limit=curve.memory_limit, limit=plan.recommended_batch, slo_ms=slo_s * MS_PER_S,
                        chosen=choice.concurrency,
                    ),
                    alt=f"{name}, by batch, with its target",
                    key=f"{name.lower()}_curve",
                )
        st.caption("Shaded: 80 % prediction range.")


def _batch_advice(choice: Choice, plan: Plan) -> str:
    """The batch limit and why it is that, then how far a batch is worth what it costs each user."""
    if plan.best_value_batch is None:
        return figures.plain(f"{figures.opened(plan.binding_limit)}.")
    limit = sentences.limit_of(choice)
    return figures.plain(
        f"Run with {with_article(limit)}: {plan.binding_limit}. Best value up to {plan.best_value_batch:,}: from there "
        "on a larger batch costs each user more speed than it gains in total."
    )


def formats(choice: Choice, plan: Plan) -> None:
    """When each weight format stops being faster than the baseline."""
    curves = plan.format_curves()
    names = dict.fromkeys([curves.baseline, curves.chosen, *(FORMATS[kind].label for kind in KINDS)])
    held = [n for n, batch in enumerate(curves.batch) if batch <= max(16, choice.memory_concurrency)]
    batches = [curves.batch[n] for n in held]
    lines = {_short(name): curves.relative[name][held] for name in names if name in curves.relative}
    leads = [
        f"**{name}** " + (f"from about {batch:,}" if n else "leads at one request")
        for n, (batch, name) in enumerate(charts.leaders(batches, lines))
    ]
    with st.container(border=True, gap="small", height="stretch"):
        parts.section(
            "When each weight format stops being faster",
            f"Decode speed relative to {curves.baseline}, estimated; above 1 is faster. {', then '.join(leads)}. "
            f"A dot marks where a format becomes slower than {curves.baseline}.",
        )
        parts.chart(
            charts.formats_over_batch(
                batches, lines, baseline=_short(curves.baseline), chosen=_short(curves.chosen), at=choice.concurrency
            ),
            alt="Decode speed of each weight format relative to 16 bits, by batch",
            key="formats",
        )


def _short(label: str) -> str:
    """A format's name as it fits beside a line on a phone."""
    return label.replace("weight-only", "weights")


def quality(choice: Choice, plan: Plan) -> None:
    """What each format loses against what it gives, and those nobody has a figure for."""
    known = [candidate.choice for candidate in plan.candidates if candidate.choice.quality is not None]
    if not known:
        return
    silent = [_short(c.choice.deployment.weights.label) for c in plan.candidates if c.choice.quality is None]
    bases = dict.fromkeys(other.quality.basis for other in known)
    missing = f" No published figure, so not drawn: {', '.join(silent)}." if silent else ""
    with st.container(border=True, gap="small"):
        parts.section(
            "Quality against speed and memory",
            "Increase of perplexity of each weight format with "
            f"{with_article(choice.deployment.kv_cache.name.upper())} KV cache; "
            f"the ring is the recommendation. Lines: 80 % prediction ranges.{missing}",
        )
        parts.legend([(f"loss {basis}", charts.HUES[basis], 1.0) for basis in bases])
        columns = st.columns(2)
        for column, title, unit, key, measure in (
            (columns[0], "TPOT", "ms", "loss_tpot", lambda other: other.tpot.value * MS_PER_S),
            (columns[1], "memory needed of each GPU", "GiB", "loss_memory", lambda other: _needed_gib(other, plan)),
        ):
            with column:
                parts.chart(
                    charts.loss_against(
                        [charts.Weighed(_short(other.deployment.weights.label), measure(other), other.quality,
                                        other.deployment.weights == choice.deployment.weights) for other in known],
                        title, unit, plan.workload.quality_loss,
                    ), alt=f"Loss of quality of each weight format against {title}", key=key,
                )
        st.page_link(QUALITY_PAGE, label="Measure it on your own prompts", icon=":material/fact_check:")


def _needed_gib(choice: Choice, plan: Plan) -> float:
    """What the load needs of each GPU in a format."""
    requests = choice.concurrency / choice.deployment.dp
    return choice.footprint.taken_bytes(requests, plan.workload.context_tokens, plan.workload.shared_tokens) / GIB


@st.fragment
def heat(choice: Choice, plan: Plan) -> None:
    """What the deployment does at other batches and contexts."""
    grid = plan.batch_by_context()
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("Batch against context")
        view = st.segmented_control(
            "Show", list(HEAT_VIEWS), default="Throughput", required=True, key="heat", bind="query-params",
            label_visibility="collapsed",
        )
        values = grid.tpot_s * MS_PER_S if view == "TPOT" else grid.output_tokens_per_s
        unit = HEAT_VIEWS[view or "Throughput"]
        parts.chart(
            charts.batch_by_context(
                grid.batches, grid.contexts, values, fits=grid.fits, meets=grid.meets_slo, title=unit,
                chosen=(choice.concurrency, plan.workload.context_tokens),
            ),
            alt=f"{view} by batch and context",
            key="heat_map",
        )
        st.caption(f"In {unit}. Dim: misses a target. Dash: does not fit. Framed: this load.")


def remedies(plan: Plan) -> None:
    """The smallest changes that help; a click makes one."""
    with st.container(border=True, gap="small", height="stretch"):
        if not plan.remedies:
            parts.section("Nothing close by would help", "Pick another model or GPU.")
            return
        parts.section("What would help", "Each was tried; the smallest change first.")
        for number, remedy in enumerate(plan.remedies):
            change = inputs.changed_by(remedy)
            words, button = st.columns([4, 1], vertical_alignment="center")
            words.markdown(f"**{figures.plain(remedy.label)}**  \n{figures.plain(remedy.effect)}")
            if change:
                button.button("Apply", key=f"remedy {number}", on_click=parts.apply, args=(change,), width="stretch")
            elif remedy.replicas is not None:
                button.page_link(TRAFFIC_PAGE, label="Traffic", icon=":material/traffic:", width="stretch",
                                 help="Start that many copies of the launch command below behind a load balancer; "
                                 "the Traffic page says how many your requests per second need.")


def runner_up(plan: Plan) -> None:
    """The next best choice and what it trades."""
    other = plan.runner_up
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("Runner-up")
        if other is None:
            st.caption("Nothing else fits and runs here.")
            return
        st.markdown(figures.plain(plan.trade))
        shown = (("TPOT", other.tpot, figures.ms), ("TTFT", other.ttft, figures.ms),
                 ("Output", other.output_tokens_per_s, figures.rate))
        st.markdown(
            "\n".join(
                f"- {name} **{write(e.value)}** ({figures.span(e, write)}) {figures.badge(e.basis)}"
                for name, e, write in shown
            )
        )


def sensitivity(plan: Plan) -> None:
    """What the answer becomes when an input moves."""
    same = "the same deployment: "
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("If the load were different",
                      "All estimated. Unless marked, the recommended deployment stays the same.")
        st.markdown(
            "\n".join(
                f"- **{figures.plain(move.what)}:** {figures.plain(move.effect.removeprefix(same))}"
                + (" :orange-badge[changes the answer]" if move.changes_answer else "")
                for move in plan.sensitivity
            )
        )


def take_away(plan: Plan) -> None:
    """The tables, the report, and the files that launch the plan."""
    with st.container(border=True, gap="small"):
        parts.section("Export and share",
                      "The address of this page holds every input: send it, and it opens this plan.")
        name = figures.file_name(plan.spec.name, plan.gpu.name)
        with st.container(horizontal=True):
            keeping.save_plan(plan)
            parts.download("Recommendation, CSV", partial(export.recommendation_csv, plan), f"{name}.csv")
            parts.download("Whole sweep, CSV", partial(export.sweep_csv, plan), f"{name}-sweep.csv")
            parts.download("Plan, JSON", partial(export.plan_json, plan), f"{name}.json")
            parts.download("Report to print, HTML", partial(report.report, plan), f"{name}.html")
        if paragraph := for_manager(plan):
            st.markdown(f"**For your manager.** {figures.plain(paragraph)}")
    if plan.best is not None and plan.engine in launched():
        delivery.files(order(plan), key="plan")


@st.fragment
def others(plan: Plan) -> None:
    """Every other format: why it is not the answer. A table's code is large, so it comes when it is opened."""
    closed = st.expander("All formats, and why each was not chosen", icon=":material/list:", on_change="rerun",
                         key="formats_tried")
    if not closed.open:
        return
    with closed:
        st.dataframe(
            _tried(plan),
            hide_index=True,
            placeholder="–",
            alt="Weight formats with their speeds, expected loss of quality, and why each is not recommended",
            column_config={
                "TPOT, ms": st.column_config.NumberColumn(format="%.1f"),
                "Output tokens/s": st.column_config.NumberColumn(format="%,d"),
                "Quality loss, %": st.column_config.NumberColumn(format="%.1f"),
            },
        )


def _tried(plan: Plan) -> list[dict[str, object]]:
    """A format a row: its figures, or the reason why it cannot run."""
    rows: list[dict[str, object]] = [
        {
            "Weights": candidate.choice.deployment.weights.label,
            "KV cache": candidate.choice.deployment.kv_cache.name,
            "GPUs": candidate.choice.deployment.gpus,
            "TPOT, ms": candidate.choice.tpot.value * MS_PER_S,
            "TPOT range": figures.span(candidate.choice.tpot, figures.ms),
            "Output tokens/s": candidate.choice.output_tokens_per_s.value,
            "Quality loss, %": candidate.choice.quality and 100 * candidate.choice.quality.value,
            "Loss is": candidate.choice.quality and str(candidate.choice.quality.basis),
            "Why not": candidate.note or "recommended",
        }
        for candidate in plan.candidates
    ]
    return rows + [{"Weights": refusal.choice, "Why not": refusal.reason} for refusal in plan.refused]


def fitting(choice: Choice, plan: Plan) -> None:
    """All that can be said of a deployment that fits."""
    batching(choice, plan)
    left, right = st.columns(2)
    with left:
        formats(choice, plan)
    with right:
        heat(choice, plan)
    quality(choice, plan)
    left, right = st.columns(2)
    with left:
        if plan.standing is not Standing.MET:
            remedies(plan)
        runner_up(plan)
    with right:
        sensitivity(plan)
    take_away(plan)


plan = parts.current_plan()
shown = plan.shown
verdict.show(plan)
if shown is not None:
    five_figures(shown, plan.workload, fits=plan.best is not None)
    decision.side_by_side(plan)
    memory(shown, plan)
if plan.best is not None:
    fitting(plan.best, plan)
else:
    remedies(plan)
    keeping.save_plan(plan)
decision.ladder(plan)
others(plan)
if shown is not None:
    details = st.expander("Show the arithmetic", icon=":material/calculate:", on_change="rerun", key="arithmetic")
    if details.open:
        with details:
            arithmetic.show(plan.spec, shown, plan.workload)
