"""Regime: what limits prefill and decode, where that flips, and what would help each."""

import math

import streamlit as st

from core import charts, regime, speed, track_record
from core.advice import Choice, Plan
from core.formats import FORMATS
from core.models import ModelSpec
from core.regime import CacheWeight, FormatRace, MemoryBound, PhaseAdvice, Rival
from core.terms import Basis, Mode
from core.units import GB, KIB, US
from pages import arithmetic, figures, parts

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
            f"{figures.plain(figures.layout(d))}; {choice.concurrency:,} requests of {workload.input_tokens:,} + "
            f"{workload.output_tokens:,} tokens. Another format: “Engine, formats, price” in the sidebar."
        )


def roofline(plan: Plan, choice: Choice, context: float) -> regime.Path:
    """The roofline with every operator and the way over the batch."""
    spec, d, prompt = plan.spec, choice.deployment, plan.workload.input_tokens
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


def answers(plan: Plan, choice: Choice, bound: MemoryBound) -> None:
    """Three questions with the arithmetic behind their answers."""
    spec, d, workload = plan.spec, choice.deployment, plan.workload
    margin = track_record.read().format_ratio
    race = regime.format_race(spec, d, workload, choice.concurrency, margin=margin)
    cache = regime.cache_outweighs(spec, d, workload, choice.concurrency)
    first, second, third = st.columns(3)
    with first, st.container(border=True, height="stretch", gap="small"):
        memory_bound(bound)
    with second, st.container(border=True, height="stretch", gap="small"):
        int4_pays(spec, race, choice, margin)
    with third, st.container(border=True, height="stretch", gap="small"):
        cache_outweighs(cache, bound)


def answered(text: str) -> None:
    """An answer in large letters, with what it is."""
    st.markdown(f"### {text} {figures.badge(Basis.ESTIMATED)}")


def memory_bound(answer: MemoryBound) -> None:
    """Up to which batch a decode step is memory-bound."""
    parts.section("Up to which batch is decode memory-bound?")
    answered("Any batch" if answer.batch is None else f"About {answer.batch:,.0f} requests")
    matrices = (
        f"**{answer.matrices_batch:,.0f}** by the rates that are reached "
        f"({figures.three(answer.achieved_ridge_flops_per_byte)} FLOP/B); {_between(answer)} if they are off by as "
        "much as TPOT may be"
        if answer.matrices_batch else "never, by the rates that are reached"
    )
    lines = [
        f"**Textbook**, peaks and no cache: ridge {figures.three(answer.ridge_flops_per_byte)} FLOP/B × "
        f"{figures.three(answer.weight_bytes / GB)} GB ÷ {figures.three(answer.flops_per_token / 1e9)} GFLOP a token = "
        f"**{answer.textbook_batch:,.0f}** requests.",
        f"**Matrices alone** turn at {matrices}.",
        f"**With the cache**: a request's {figures.three(answer.cache_bytes / 1e6)} MB at "
        f"{answer.context:,.0f} tokens take {figures.three(answer.cache_s / US)} µs to read, its arithmetic "
        f"{figures.three(answer.token_compute_s / US)} µs. " + _cache_verdict(answer),
    ]
    st.markdown("\n".join(f"- {line}" for line in lines))


def _between(answer: MemoryBound) -> str:
    low, high = answer.matrices_low, answer.matrices_high
    return f"{low:,.0f} to {high:,.0f}" if low and high else f"from {low:,.0f} on" if low else "never"


def _cache_verdict(answer: MemoryBound) -> str:
    if answer.batch is not None:
        return "Each request adds more arithmetic than bytes, so a large enough batch is compute-bound."
    if answer.cache_s > answer.token_compute_s:
        return (
            "Each request adds more bytes than arithmetic, so no batch gets there; below about "
            f"{figures.three(answer.free_context)} tokens of context one would."
        )
    return "Still a step spends longer on memory up to a batch of 16,384."


def int4_pays(spec: ModelSpec, race: FormatRace, choice: Choice, margin: float) -> None:
    """From which batch INT4 stops paying against eight and sixteen bits."""
    parts.section("From which batch does INT4 stop paying?")
    if race.format is None or race.own is None:
        st.markdown("### INT4 does not run here")
        for refusal in race.left_out[:1]:
            st.markdown(f"{figures.plain(refusal.choice)}: {figures.plain(refusal.reason)}")
        return
    answered(figures.opened(", ".join(_stops(rival) for rival in race.rivals)))
    own = race.own
    others = ", ".join(f"{rival.format.label} {figures.three(rival.weight_bytes / GB)}" for rival in race.rivals)
    turns = ", ".join(f"{r.format.label} {_turn(r)}" for r in race.rivals)
    lines = [_against(rival, choice.concurrency, race.batches[-1]) for rival in race.rivals]
    lines += [
        f"**Why it leads**: {race.format.label} streams {figures.three(own.weight_bytes / GB)} GB a step; {others}.",
        f"**Why it stops**: it is unpacked and multiplied in 16 bits. Its matrices turn compute-bound at batch "
        f"{_turn(own)}; {turns}. In brackets the textbook ridge. When serving, prefills run between the steps, and "
        "there it leads by less.",
        f"**Range**: 8 of 10 ratios of two formats were estimated within a factor {math.exp(margin):.2f} of published "
        "ones; close formats cross anywhere.",
    ]
    if spec.shipped and FORMATS[spec.shipped.format].bits_per_weight < race.rivals[-1].format.bits_per_weight:
        own_label = FORMATS[spec.shipped.format].label
        lines.append(f"The repository ships {own_label} weights; the others are shown as if there were such.")
    lines += [f"{figures.plain(r.choice)} is left out: {figures.plain(r.reason)}" for r in race.left_out]
    st.markdown("\n".join(f"- {line}" for line in lines))


def _stops(rival: Rival) -> str:
    if rival.stops is None:
        return f"never against {rival.format.label}"
    if rival.stops <= 1:
        return f"at once against {rival.format.label}"
    return f"{rival.stops:,.0f} against {rival.format.label}"


def _against(rival: Rival, batch: int, largest: int) -> str:
    low = "1" if rival.stops_low is None or rival.stops_low <= 1 else f"{rival.stops_low:,.0f}"
    high = f"beyond {largest:,}" if rival.stops_high is None else f"{rival.stops_high:,.0f}"
    return (
        f"**Against {rival.format.label}**: {rival.at_one:.2f} × its decode speed at batch 1, {rival.at_plan:.2f} × at "
        f"{batch:,}, {rival.prefill:.2f} × in prefill. The lead may end anywhere from {low} to {high}."
    )


def _turn(rival: Rival) -> str:
    at = "–" if rival.matrices_batch is None else f"{rival.matrices_batch:,.0f}"
    return f"{at} ({rival.textbook_batch:,.0f})"


def cache_outweighs(answer: CacheWeight, bound: MemoryBound) -> None:
    """From which context the KV cache outweighs the weights."""
    parts.section("From which context does the KV cache outweigh the weights?")
    requests = f"{answer.requests:,.0f} request{'s' if answer.requests != 1 else ''}"
    if answer.context is None:
        answered("Never")
        lines = ["The cache stops growing with the context: windows or recurrent states alone."]
    else:
        answered(f"{answer.context:,.0f} tokens at {requests}")
        lines = [
            f"**Memory**: {figures.three(answer.weight_bytes / GB)} GB of weights ÷ ({requests} × "
            f"{figures.three(answer.cache_bytes_per_token / KIB)} KiB a token) per GPU; pages and windows counted.",
            "**One request** alone would need "
            + (f"{figures.three(answer.context_of_one)} tokens." if answer.context_of_one else "more than any has."),
        ]
    if answer.reading_context:
        lines.append(f"**Time**: reading the caches takes longer than the matrices from "
                     f"{figures.three(answer.reading_context)} tokens on.")
    share = f"{100 * answer.at_plan:,.0f} % of the weights"
    lines.append(f"**Now**, at {answer.plan_context:,} tokens: the caches are {share}.")
    if bound.cache_bytes:
        lines.append(
            f"**Textbook**: attention does {figures.three(bound.cache_flops_per_byte)} FLOP/B at any batch, far below "
            f"the ridge of {figures.three(bound.ridge_flops_per_byte)}: batching shares weights, never caches."
        )
    st.markdown("\n".join(f"- {line}" for line in lines))


def steps(plan: Plan, choice: Choice, context: float, path: regime.Path) -> None:
    """What a step's time is spent on: both phases now, and decode over the batch."""
    spec, d, prompt = plan.spec, choice.deployment, plan.workload.input_tokens
    now = {
        "decode": regime.shares(speed.breakdown(spec, d, "decode", choice.concurrency, context)),
        "prefill": regime.shares(speed.breakdown(spec, d, "prefill", 1, prompt)),
    }
    named = {f"{phase}, {figures.ms(sum(part.seconds for part in shares))}": shares for phase, shares in now.items()}
    with st.container(border=True, gap="small"):
        parts.section(
            "What a step spends its time on",
            f"As bars, one decode step of {choice.concurrency:,} requests and the prefill of {prompt:,} tokens; "
            "as columns, decode over the batch, with the ms of a step above.",
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
        batch, length = (1, plan.workload.input_tokens) if phase == "prefill" else (choice.concurrency, context)
        arithmetic.operators(speed.breakdown(plan.spec, choice.deployment, phase or "decode", batch, length))


def advice(plan: Plan, choice: Choice) -> None:
    """What would help each phase, by predicted gain."""
    found = regime.advice(plan.spec, choice.deployment, plan.workload, choice.concurrency)
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
    mean_context = plan.workload.input_tokens + plan.workload.output_tokens / 2
    time = shown.tpot if math.isfinite(shown.tpot.value) else shown.ttft      # a single token has no TPOT
    bound = regime.memory_bound(
        plan.spec, shown.deployment, shown.concurrency, mean_context, doubt=math.log(time.high / time.value)
    )
    headline(plan, shown, bound)
    path = roofline(plan, shown, mean_context)
    answers(plan, shown, bound)
    steps(plan, shown, mean_context, path)
    operator_table(plan, shown, mean_context)
    advice(plan, shown)
    ranges(plan, shown)
