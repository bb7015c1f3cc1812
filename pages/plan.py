"""Plan: which precision and batch to deploy for one model, GPU and workload, and why."""

import streamlit as st

from core import charts, curves
from core.advice import Choice, Plan
from core.units import GIB, MS_PER_S
from pages import arithmetic, figures, parts

HEAT_VIEWS = {"Throughput": "tokens/s over the deployment", "TPOT": "ms per token", "Cache": "% of the KV cache filled"}


def five_figures(choice: Choice, *, fits: bool) -> None:
    """The figures people compare, each with range and provenance; speeds fade when the plan does not fit."""
    with st.grid(5, min_column_width=150, gap="small"):
        parts.metric(
            "TPOT", choice.tpot, figures.ms, faded=not fits,
            help="Time per output token: how fast an answer flows to one user.",
        )
        parts.metric(
            "TTFT", choice.ttft, figures.ms, faded=not fits,
            help="Time to first token: how long a user waits before the answer starts.",
        )
        parts.metric(
            "Output", choice.output_tokens_per_s, figures.rate, faded=not fits,
            help="Tokens per second that all users together receive from the whole deployment.",
        )
        parts.memory_metric(choice.footprint)
        parts.metric(
            "Cost", choice.cost_usd_per_million_output_tokens, figures.dollars, faded=not fits,
            help="US dollars per million output tokens with this load, at the price of the GPUs.",
        )


def memory(choice: Choice, plan: Plan) -> None:
    """What fills one GPU, against what it has."""
    footprint, workload = choice.footprint, plan.workload
    per_replica = choice.concurrency / choice.deployment.dp
    segments = charts.footprint_segments(footprint, per_replica, workload.context_tokens)
    most = footprint.max_concurrency(workload.context_tokens) * choice.deployment.dp
    with st.container(border=True, gap="small"):
        parts.section(
            "What fills the memory of each GPU",
            f"Room for {figures.whole(most)} requests of {workload.context_tokens:,} tokens; "
            f"this load holds {choice.concurrency:,}.",
        )
        memory_gib, usable_gib = footprint.reported_bytes / GIB, footprint.usable_bytes / GIB
        parts.chart(
            charts.memory_bar(segments, memory_gib=memory_gib, usable_gib=usable_gib),
            alt=f"{sum(s.gib for s in segments):.1f} GiB on a GPU with {memory_gib:.1f} GiB",
            key="memory",
        )
        parts.legend([(f"{s.name} {s.gib:.1f} GiB", s.colour, s.opacity) for s in segments])


def batching(choice: Choice, plan: Plan) -> None:
    """Throughput and time per token over the batch, with the knee, the target and the memory limit."""
    workload = plan.workload
    curve = curves.batch_curve(plan.spec, choice.deployment, workload)
    knee = f"From about {curve.knee:.0f} requests on, " if curve.knee else "Over the whole range, "
    says = knee + ("batching pays less: doubling adds under 41 %." if curve.knee else "batching keeps its pace.")
    with st.container(border=True, gap="small"):
        parts.section("How far batching pays", f"{says} Bands hold 8 of 10 cases; faint beyond the memory.")
        left, right = st.columns(2)
        rate, tpot = curve.output_tokens_per_s, curve.tpot_s
        with left:
            parts.chart(
                charts.throughput_over_batch(
                    curve.batches, rate.value, rate.low, rate.high,
                    memory_limit=curve.memory_limit, knee=curve.knee, chosen=choice.concurrency,
                ),
                alt="Output tokens per second over requests in flight",
                key="throughput",
            )
        with right:
            parts.chart(
                charts.tpot_over_batch(
                    curve.batches, tpot.value * MS_PER_S, tpot.low * MS_PER_S, tpot.high * MS_PER_S,
                    memory_limit=curve.memory_limit, slo_ms=workload.tpot_slo_s * MS_PER_S,
                    chosen=choice.concurrency,
                ),
                alt="Time per output token over requests in flight, with its target",
                key="tpot_curve",
            )


def formats(choice: Choice, plan: Plan) -> None:
    """Where each weight format stops paying."""
    lines = curves.format_curves(plan.spec, choice.deployment, plan.workload)
    leaders = [
        f"**{fmt.label}** " + (f"from about {batch:,} requests" if n else "leads at one request")
        for n, (batch, fmt) in enumerate(lines.leaders)
    ]
    with st.container(border=True, gap="small", height="stretch"):
        parts.section(
            "Where INT4 and FP8 stop paying",
            f"Decode step against {lines.formats[0].label}. {', then '.join(leaders)}. Dots: the gain is gone.",
        )
        parts.chart(
            charts.formats_over_batch(
                lines.batches,
                {fmt.label: line for fmt, line in zip(lines.formats, lines.relative, strict=True)},
                baseline=lines.formats[0].label,
                chosen=choice.deployment.weights.label,
                at=choice.concurrency,
            ),
            alt="Decode speed of each weight format relative to 16 bits, over requests in flight",
            key="formats",
        )


@st.fragment
def heat(choice: Choice, plan: Plan) -> None:
    """What the deployment does at other batches and contexts."""
    grid = curves.context_grid(plan.spec, choice.deployment, plan.workload)
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("Batch against context")
        view = st.segmented_control(
            "Show", list(HEAT_VIEWS), default="Throughput", required=True, key="heat", bind="query-params",
            label_visibility="collapsed",
        )
        values = {
            "Throughput": grid.output_tokens_per_s,
            "TPOT": grid.tpot_s * MS_PER_S,
            "Cache": 100 * grid.memory_used,
        }[view or "Throughput"]
        parts.chart(
            charts.batch_by_context(
                grid.batches, grid.contexts, values,
                fits=grid.fits, meets=grid.meets, title=HEAT_VIEWS[view or "Throughput"],
                chosen=(choice.concurrency, plan.workload.context_tokens),
            ),
            alt=f"{view} over requests in flight and context length",
            key="heat_map",
        )
        unit = HEAT_VIEWS[view or "Throughput"]
        st.caption(f"In {unit}. Dim: misses a target. Dash: does not fit. Framed: this load.")


def sensitivity(choice: Choice, plan: Plan) -> None:
    """How the figures move when the load is not what was asked for."""
    now = plan.workload
    rows = ["| If it were … | TPOT | TTFT | Output |", "|---|---|---|---|"]
    rows += [
        f"| {v.says} | {parts.against(figures.ms(v.tpot_s), v.tpot_s <= now.tpot_slo_s)} "
        f"| {parts.against(figures.ms(v.ttft_s), v.ttft_s <= now.ttft_slo_s)} "
        f"| {figures.rate(v.output_tokens_per_s) if v.fits else ':red[does not fit]'} |"
        for v in curves.variations(plan.spec, choice.deployment, now)
    ]
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("What it is sensitive to", "The same deployment under another load. Orange misses a target.")
        st.markdown("\n".join(rows))


plan = parts.current_plan()
shown = plan.best or plan.nearest
parts.verdict(plan)
if shown is not None:
    five_figures(shown, fits=plan.best is not None)
    memory(shown, plan)
    batching(shown, plan)
    left, right = st.columns(2)
    with left:
        formats(shown, plan)
    with right:
        heat(shown, plan)
    left, right = st.columns(2)
    with left:
        sensitivity(shown, plan)
    details = st.expander("Show the arithmetic", icon=":material/calculate:", on_change="rerun", key="arithmetic")
    if details.open:
        with details:
            arithmetic.show(plan.spec, shown, plan.workload)
