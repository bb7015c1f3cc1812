"""Regime: what limits prefill and decode, where that flips, and what would help each."""

import math

import streamlit as st

from core.answers import regime
from core.answers.advice import Choice, Plan
from core.answers.regime import MemoryBound, PhaseAdvice
from core.basics.words import counted
from core.delivery import charts
from core.physics import speed
from core.terms import Mode
from pages.regime import regime_answers
from pages.shared import arithmetic, figures, parts

LOAD_KINDS = {Mode.SERVING: "requests in flight", Mode.STATIC: "batch"}
PHASES = {"decode": charts.DECODE, "prefill": charts.PREFILL}


def headline(plan: Plan, choice: Choice, answer: MemoryBound) -> None:
    """Both regimes in one sentence, and what they are said of."""
    d, workload = choice.deployment, plan.workload
    decode = (
        "Decode is memory-bound at any batch" if answer.batch is None
        else f"Decode is memory-bound below about {answer.batch:,.0f} requests"
    )
    prefill = (
        f"prefill is compute-bound from about {answer.matrices_batch:,.0f} prompt tokens"
        if answer.matrices_batch else "so is prefill, at any length"
    )
    with st.container(border=True, key="regime", gap="small"):
        st.markdown(
            f":blue-badge[decode limited by {choice.decode_bound}] "
            f":orange-badge[prefill limited by {choice.prefill_bound}] {figures.badge(choice.tpot.basis)}"
            + ("" if plan.best else " :red-badge[:material/close: does not fit: shown as if it did]")
        )
        st.header(f"{decode}; {prefill}", anchor=False)
        st.caption(
            f"{figures.plain(plan.spec.name)}, {d.weights.label} weights, {d.kv_cache.name.upper()} cache on "
            f"{figures.plain(figures.layout(d))}; {counted(choice.concurrency, 'request')} of "
            f"{workload.prompt_tokens:,} + {workload.output_tokens:,} tokens. Another format: “Engine, formats, "
            "price” in the sidebar."
        )
        if d.gpu.measured:
            parts.measured(plan, choice)


def roofline(plan: Plan, choice: Choice, context: float) -> regime.Path:
    """The roofline with every operator and the way over the batch."""
    spec, d, prompt = plan.spec, choice.deployment, plan.workload.prompt_tokens
    roof = regime.roof(spec, d)
    decode, prefill = regime.decode_path(spec, d, context), regime.prefill_path(spec, d, prompt)
    operators = {
        "decode": speed.breakdown(spec, d, "decode", choice.concurrency, context),
        "prefill": speed.breakdown(spec, d, "prefill", 1, prompt),
    }
    with st.container(border=True, gap="small"):
        parts.section(
            "Where both phases stand under the roof of one GPU",
            "Rings: operators, larger the longer they take. Lines: whole steps, decode from batch 1 to "
            f"{decode.sizes[-1]:,}, prefill from {prefill.sizes[0]:,} to {prefill.sizes[-1]:,} tokens; "
            "they run lower because a step also launches kernels. Left of the ridge memory limits, right of it "
            "compute.",
        )
        parts.chart(
            charts.roofline(roof, operators, decode, prefill, batch=choice.concurrency),
            alt=f"Roofline of {d.gpu.name}: ridge at {roof.ridge_flops_per_byte:.0f} FLOP per byte",
            key="roofline",
        )
    return decode


def steps(plan: Plan, choice: Choice, context: float, path: regime.Path) -> None:
    """What a step's time is spent on: both phases now, and decode over the batch."""
    spec, d, prompt = plan.spec, choice.deployment, plan.workload.prompt_tokens
    now = {
        "decode": regime.shares(speed.breakdown(spec, d, "decode", choice.concurrency, context)),
        "prefill": regime.shares(speed.breakdown(spec, d, "prefill", 1, prompt)),
    }
    named = {f"{phase}, {figures.ms(sum(part.seconds for part in shares))}": shares for phase, shares in now.items()}
    with st.container(border=True, gap="small"):
        parts.section(
            "What a step spends its time on",
            f"As bars, one decode step of {counted(choice.concurrency, 'request')} and the prefill of {prompt:,} "
            "tokens; as columns, decode over the batch, with the ms of a step above.",
        )
        left, right = st.columns(2)
        with left:
            parts.chart(charts.step_bars(named), alt="Decode and prefill by what their time is spent on", key="steps")
            used = {part.name for shares in (*now.values(), *path.shares) for part in shares}
            parts.legend([(name, hue, 1.0) for name, hue in charts.PARTS.items() if name in used])
        with right:
            parts.chart(
                charts.shares_over_batch(path, chosen=choice.concurrency),
                alt="Shares of a decode step over the batch", key="shares",
            )


@st.fragment
def operator_table(plan: Plan, choice: Choice, context: float) -> None:
    """Every operator of a phase."""
    with st.container(border=True, gap="small"):
        parts.section("Operator by operator", "One GPU's share, all layers of a kind together.")
        phase = st.segmented_control(
            "Phase", list(PHASES), default="decode", required=True, key="regime_phase", bind="query-params",
            label_visibility="collapsed",
        )
        batch, length = (1, plan.workload.prompt_tokens) if phase == "prefill" else (choice.concurrency, context)
        arithmetic.operators(speed.breakdown(plan.spec, choice.deployment, phase or "decode", batch, length))


def advice(plan: Plan, choice: Choice) -> None:
    """What would help each phase, by predicted gain."""
    found = regime.advice(plan.losses, choice.deployment, plan.workload, choice.concurrency)
    for column, phase in zip(st.columns(2), reversed(found), strict=True):
        with column, st.container(border=True, height="stretch", gap="small"):
            phase_advice(phase)


def phase_advice(phase: PhaseAdvice) -> None:
    """One phase: gains as bars, what is in use already, what is left out and why."""
    what = "TPOT, or tokens per second" if phase.phase == "decode" else "TTFT"
    parts.section(
        f"What would help {phase.phase}",
        f"Each change run through the estimate at this load; gain in {what}. Hover for the range.",
    )
    if phase.helps:
        parts.chart(
            charts.gain_bars(phase.helps, PHASES[phase.phase]),
            alt="; ".join(f"{gain.label} {gain.factor:.2f} times" for gain in phase.helps),
            key=f"gains {phase.phase}",
        )
    else:
        st.caption("Nothing tried here gains more than 2 %.")
    for gain in phase.in_use:
        st.markdown(f":material/check: **{gain.label}** in use: {gain.factor:.2f} × "
                    f":gray[{figures.plain(gain.note)}, {charts.moves(gain)}]")
    if phase.left_out:
        with st.expander(f"Left out: {len(phase.left_out)}, and why", icon=":material/block:"):
            st.markdown("\n".join(
                f"- **{figures.plain(refusal.choice)}**: {figures.plain(refusal.reason)}" for refusal in phase.left_out
            ))


def ranges(plan: Plan, choice: Choice) -> None:
    """Why the ranges are as wide as they are."""
    with st.expander("Why the ranges are this wide", icon=":material/swap_horiz:"):
        for name, metric, estimate, write in (
            ("TPOT", "tpot", choice.tpot, figures.ms),
            ("TTFT", "ttft", choice.ttft, figures.ms),
            ("Output", "throughput", choice.output_tokens_per_s, figures.rate),
        ):
            why = speed.why_wide(plan.spec, choice.deployment, metric, LOAD_KINDS[plan.workload.mode])
            st.markdown(
                f"- **{name} {write(estimate.value)}** {figures.badge(estimate.basis)} "
                f"{figures.span(estimate, write)}: {figures.plain(why)}"
            )
        st.caption("How far estimates of published figures have been off, case by case: the Accuracy page.")


plan = parts.current_plan()
shown = plan.shown
if shown is None:
    parts.verdict(plan)
else:
    mean_context = plan.workload.prompt_tokens + plan.workload.output_tokens / 2
    time = shown.tpot if math.isfinite(shown.tpot.value) else shown.ttft      # a single token has no TPOT
    bound = regime.memory_bound(
        plan.spec, shown.deployment, shown.concurrency, mean_context, doubt=math.log(time.high / time.value)
    )
    headline(plan, shown, bound)
    path = roofline(plan, shown, mean_context)
    regime_answers.show(plan, shown, bound)
    steps(plan, shown, mean_context, path)
    operator_table(plan, shown, mean_context)
    advice(plan, shown)
    ranges(plan, shown)
