"""Bottleneck: what limits prefill and decode, where that flips, and what would help each."""

import math
from collections.abc import Sequence

import streamlit as st

from core.answers import regime
from core.answers.advice import Choice, Plan
from core.answers.regime import Gain, MemoryBound, PhaseAdvice, Steps
from core.basics.words import counted
from core.delivery import charts
from core.physics import speed
from core.terms import Mode
from pages.regime import regime_answers
from pages.shared import arithmetic, figures, parts, verdict

LOAD_KINDS = {Mode.SERVING: "requests in flight", Mode.STATIC: "batch"}
PHASES = {"decode": charts.DECODE, "prefill": charts.PREFILL}


def headline(plan: Plan, choice: Choice, now: Steps, answer: MemoryBound) -> None:
    """What both phases spend their time on, as the chart below shows it, and where that turns."""
    d, workload = choice.deployment, plan.workload
    decode = (
        "At no batch does arithmetic outweigh memory traffic in decode" if answer.batch is None
        else f"From about {answer.batch:,.0f} requests on arithmetic outweighs memory traffic in decode"
    )
    prefill = (
        f"the matrices of a prefill do from about {answer.matrices_batch:,.0f} new tokens"
        if answer.matrices_batch else "nor does it in a prefill, at any length"
    )
    with st.container(border=True, key="regime", gap="small"):
        st.markdown(
            figures.badge(choice.tpot.basis)
            + ("" if plan.best else " :red-badge[:material/close: does not fit: shown as if it did]")
        )
        st.header(regime.headline(now), anchor=False)
        st.markdown(f"{decode}; {prefill}.")
        st.caption(
            f"{figures.plain(plan.spec.name)}, {d.weights.label} weights, {d.kv_cache.name.upper()} cache on "
            f"{figures.plain(figures.layout(d))}; {counted(choice.concurrency, 'request')} of "
            f"{workload.prompt_tokens:,} + {workload.output_tokens:,} tokens. Another format: “Engine, formats, "
            "price” in the sidebar."
        )
        if d.gpu.measured:
            verdict.by_probe(plan, choice)


def roofline(plan: Plan, choice: Choice, now: Steps) -> regime.Path:
    """The roofline with every operator and the way over the batch."""
    spec, d = plan.spec, choice.deployment
    roof = regime.roof(spec, d)
    decode = regime.decode_path(spec, d, now.context, drafted=now.drafted)
    prefill = regime.prefill_path(spec, d, round(plan.workload.prompt_tokens - now.found), found=now.found)
    operators = {"decode": now.decode, "prefill": now.prefill}
    with st.container(border=True, gap="small"):
        parts.section(
            "Where both phases stand under the roof of one GPU",
            "Rings: operators, larger the longer they take. Lines: whole steps, decode from batch 1 to "
            f"{decode.sizes[-1]:,}, prefill from {prefill.sizes[0]:,} to {prefill.sizes[-1]:,} new tokens; they lie "
            "below the rings because a step also spends time on launching kernels. The ridge is where the roof "
            "bends: left of it memory bandwidth limits, right of it compute.",
        )
        parts.chart(
            charts.roofline(roof, operators, decode, prefill, batch=choice.concurrency),
            alt=f"Roofline of {d.gpu.name}: ridge at {roof.ridge_flops_per_byte:.0f} FLOP per byte",
            key="roofline",
        )
    return decode


def steps(plan: Plan, choice: Choice, now: Steps, path: regime.Path) -> None:
    """What a step's time is spent on: both phases now, and decode over the batch."""
    spent = {"decode": regime.shares(now.decode), "prefill": regime.shares(now.prefill)}
    named = {f"{phase}, {figures.ms(sum(part.seconds for part in shares))}": shares for phase, shares in spent.items()}
    found = f" ({now.found:,.0f} more come from the prefix cache)" if now.found else ""
    drafts = f", each checking {now.drafted:g} drafted tokens" if now.drafted else ""
    with st.container(border=True, gap="small"):
        parts.section(
            "What a step spends its time on",
            f"Left: one decode step of {counted(choice.concurrency, 'request')}{drafts}, and the prefill of "
            f"{plan.workload.prompt_tokens - now.found:,.0f} tokens{found}. Right: decode by batch, with the ms of a "
            "step "
            "on top.",
        )
        left, right = st.columns(2)
        with left:
            parts.chart(charts.step_bars(named), alt="Decode and prefill by what their time is spent on", key="steps")
            used = {part.name for shares in (*spent.values(), *path.shares) for part in shares}
            parts.legend([(name, hue, 1.0) for name, hue in charts.PARTS.items() if name in used])
        with right:
            parts.chart(
                charts.shares_over_batch(path, chosen=choice.concurrency),
                alt="Shares of a decode step over the batch", key="shares",
            )


@st.fragment
def operator_table(now: Steps) -> None:
    """Every operator of a phase."""
    with st.container(border=True, gap="small"):
        parts.section("Operator by operator", "One GPU's share, all layers of a kind together.")
        phase = st.segmented_control(
            "Phase", list(PHASES), default="decode", required=True, key="regime_phase", bind="query-params",
            label_visibility="collapsed",
        )
        arithmetic.operators(now.prefill if phase == "prefill" else now.decode)


def advice(plan: Plan, choice: Choice) -> None:
    """What would help each phase, by predicted gain."""
    found = regime.advice(plan.losses, choice.deployment, plan.workload, choice.concurrency)
    for column, phase in zip(st.columns(2), reversed(found), strict=True):
        with column, st.container(border=True, height="stretch", gap="small"):
            phase_advice(phase)


def phase_advice(phase: PhaseAdvice) -> None:
    """One phase: gains as bars, what is in use already, what is left out and why."""
    figure = "TPOT" if phase.phase == "decode" else "TTFT"
    parts.section(
        f"What would shorten {phase.phase}",
        f"Each change run through the estimate at this load; gain in {figure}. Hover for the range.",
    )
    _bars([gain for gain in phase.helps if gain.figure == figure], phase.phase, f"gains {phase.phase}")
    if phase.phase == "decode":
        parts.section("What would raise throughput", "A larger batch: more tokens per second, each user waits longer.")
        _bars([gain for gain in phase.helps if gain.figure == "tokens/s"], phase.phase, "gains throughput")
    for gain in phase.in_use:
        st.markdown(f":material/check: **{gain.label}** in use: {gain.factor:.2f} × "
                    f":gray[{figures.plain(gain.note)}, {charts.moves(gain)}]")
    if phase.left_out:
        with st.expander(f"Left out: {len(phase.left_out)}, and why", icon=":material/block:"):
            st.markdown("\n".join(
                f"- **{figures.plain(refusal.choice)}**: {figures.plain(refusal.reason)}" for refusal in phase.left_out
            ))


def _bars(gains: Sequence[Gain], phase: str, key: str) -> None:
    if not gains:
        st.caption("Nothing tried here gains more than 2 %.")
        return
    alt = "; ".join(f"{gain.label} {gain.factor:.2f} times" for gain in gains)
    parts.chart(charts.gain_bars(gains, PHASES[phase]), alt=alt, key=key)


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
    verdict.show(plan)
else:
    time = shown.tpot if math.isfinite(shown.tpot.value) else shown.ttft      # a single token has no TPOT
    now = regime.steps(plan.spec, shown.deployment, plan.workload, shown.concurrency)
    bound = regime.memory_bound(
        plan.spec, shown.deployment, now.context, doubt=math.log(time.high / time.value)
    )
    headline(plan, shown, now, bound)
    path = roofline(plan, shown, now)
    regime_answers.show(plan, shown, bound)
    steps(plan, shown, now, path)
    operator_table(now)
    advice(plan, shown)
    ranges(plan, shown)
