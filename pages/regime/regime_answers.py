"""Questions about the bottleneck, answered with the arithmetic behind them."""

import math

import streamlit as st

from core.answers import regime
from core.answers.advice import Choice, Plan, sentences
from core.answers.regime import CacheWeight, FormatRace, MemoryBound, Rival
from core.basics.units import GB, KIB, US
from core.basics.words import counted
from core.calibration import track_record
from core.models import ModelSpec
from core.products.formats import FORMATS
from core.terms import Basis
from pages.shared import figures, parts


def show(plan: Plan, choice: Choice, bound: MemoryBound) -> None:
    """Three questions with the arithmetic behind their answers."""
    spec, d, workload = plan.spec, choice.deployment, plan.workload
    margin = track_record.read().format_ratio
    race = regime.format_race(spec, d, workload, choice.concurrency, margin=margin)
    cache = regime.cache_outweighs(spec, d, workload, choice.concurrency)
    loss = sentences.loss(plan.losses.of(race.format, d.kv_cache)) if race.format else ""
    with st.container(border=True, gap="small"):
        parts.section("Will INT4 help?")
        st.markdown(f"**{figures.plain(regime.will_int4_help(race, d.weights, choice.concurrency, loss))}** "
                    f"{figures.badge(Basis.ESTIMATED)}")
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
    parts.section("Up to which batch does memory outweigh arithmetic in decode?")
    answered("Any batch" if answer.batch is None else f"About {answer.batch:,.0f} requests")
    matrices = (
        f"**{answer.matrices_batch:,.0f}** by the rates that are reached "
        f"({figures.three(answer.achieved_ridge_flops_per_byte)} FLOP/B); {_between(answer)} within the estimate's "
        "error"
        if answer.matrices_batch else "never, by the rates that are reached"
    )
    lines = [
        f"**Textbook**, peaks of the data sheet and no cache: ridge {figures.three(answer.ridge_flops_per_byte)} "
        "FLOP/B × "
        f"{figures.three(answer.weight_bytes / GB)} GB ÷ {figures.three(answer.flops_per_token / 1e9)} GFLOP per "
        "token = "
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
    return "Even so, a step spends longer on memory up to a batch of 16,384."


def int4_pays(spec: ModelSpec, race: FormatRace, choice: Choice, margin: float) -> None:
    """From which batch INT4 stops paying against eight and sixteen bits."""
    parts.section("From which batch is INT4 slower?")
    if race.format is None or race.own is None:
        st.markdown("### INT4 does not run here")
        for refusal in race.left_out[:1]:
            st.markdown(f"{figures.plain(refusal.choice)}: {figures.plain(refusal.reason)}")
        return
    answered(figures.opened(" and ".join(_stops(rival) for rival in race.rivals)))
    own = race.own
    others = ", ".join(f"{rival.format.label} {figures.three(rival.weight_bytes / GB)}" for rival in race.rivals)
    turns = ", ".join(f"{r.format.label} {_turn(r)}" for r in race.rivals)
    lines = [_against(rival, choice.concurrency, race.batches[-1]) for rival in race.rivals]
    lines += [
        f"**Why it leads**: {race.format.label} streams {figures.three(own.weight_bytes / GB)} GB per step; {others}.",
        f"**Why it stops**: it is unpacked and multiplied in 16 bits. Its matrices turn compute-bound at batch "
        f"{_turn(own)}; {turns}. In brackets the textbook ridge. When serving, prefills run between the steps, and "
        "there it leads by less.",
        f"**Range**: 80 % of speed ratios of two formats were estimated within a factor of {math.exp(margin):.2f} of "
        "the published ones, so formats this close may cross anywhere in between.",
    ]
    if spec.shipped and FORMATS[spec.shipped.format].bits_per_weight < race.rivals[-1].format.bits_per_weight:
        own_label = FORMATS[spec.shipped.format].label
        lines.append(f"The repository ships {own_label} weights; the others are shown as if there were such.")
    lines += [f"{figures.plain(r.choice)} is left out: {figures.plain(r.reason)}" for r in race.left_out]
    st.markdown("\n".join(f"- {line}" for line in lines))


def _stops(rival: Rival) -> str:
    if rival.stops is None:
        return f"never (against {rival.format.label})"
    if rival.stops <= 1:
        return f"from batch 1 (against {rival.format.label})"
    return f"from batch {rival.stops:,.0f} (against {rival.format.label})"


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
    requests = counted(answer.requests, "request")
    if answer.context is None:
        answered("Never")
        lines = ["The cache stops growing with the context: windows or recurrent states alone."]
    else:
        answered(f"{answer.context:,.0f} tokens at {requests}")
        lines = [
            f"**Memory**: {figures.three(answer.weight_bytes / GB)} GB of weights ÷ ({requests} × "
            f"{figures.three(answer.cache_bytes_per_token / KIB)} KiB per token) per GPU, with whole pages and the "
            "model's attention windows.",
            "**One request** alone would need "
            + (f"{figures.three(answer.context_of_one)} tokens." if answer.context_of_one else "more than any model "
                "takes."),
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
