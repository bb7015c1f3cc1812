"""The arithmetic behind a plan, with its live values: memory term by term, a step operator by operator."""

from collections.abc import Sequence

import streamlit as st

from core.answers import regime
from core.answers.advice import Choice
from core.basics.units import GIB, MS_PER_S
from core.basics.words import counted
from core.models import ModelSpec
from core.physics.speed import OperatorCost
from core.products.engines import find as find_engine
from core.terms import Workload
from pages.shared import figures

TERM_COLUMNS = ("Term", "GiB", "Range", "Counted", "Rule", "Basis", "Source")


def show(spec: ModelSpec, choice: Choice, workload: Workload) -> None:
    """Three steps: what fills the memory, what a step does, what a token costs."""
    st.markdown("**1. Memory of one GPU** – what is taken, by which rule, and what is left for the KV cache")
    _memory(choice, workload)
    phase = st.segmented_control(
        "Phase", ["decode", "prefill"], default="decode", required=True, key="phase", label_visibility="collapsed"
    )
    st.markdown(
        f"**2. One decode step** of {counted(choice.concurrency, 'request')} at mean context"
        if phase == "decode"
        else f"**2. The prefill** of one prompt of {workload.prompt_tokens:,} tokens"
    )
    _step(spec, choice, workload, phase or "decode")
    st.markdown("**3. From the step to the figures above**")
    _figures(spec, choice, workload)


def _memory(choice: Choice, workload: Workload) -> None:
    footprint, engine = choice.footprint, find_engine(choice.deployment.engine)
    terms = [
        (
            term.name, term.bytes / GIB, f"{term.low / GIB:.2f} – {term.high / GIB:.2f}",
            "yes" if term.inside_budget else "no", term.rule, str(term.basis), term.source,
        )
        for term in footprint.terms
    ]
    pool = footprint.kv_cache_bytes / GIB
    terms.append(("KV cache pool", pool, "", "yes", "what the engine may use, less what it counts above", "", ""))
    _table(
        [dict(zip(TERM_COLUMNS, term, strict=True)) for term in terms],
        {
            "GiB": st.column_config.NumberColumn(format="%.2f"),
            "Counted": st.column_config.TextColumn(
                help="Whether the engine takes it out of its own budget. What is not counted lies on the GPU as well."
            ),
        },
        "Memory terms of one GPU with their rules and sources",
    )
    st.caption(
        f"By the rules of {engine.label} {choice.deployment.engine_version or engine.version}: it may use "
        f"{figures.gib(footprint.usable_bytes)} of the {figures.gib(footprint.reported_bytes)} the driver reports. "
        f"{figures.three(footprint.kv_bytes_per_token / 1024)} KiB of cache per token: the pool holds "
        f"{figures.three(footprint.kv_tokens)} tokens, or "
        f"{figures.three(float(footprint.max_concurrency(workload.context_tokens)))} requests of "
        f"{workload.context_tokens:,} tokens."
    )


def _step(spec: ModelSpec, choice: Choice, workload: Workload, phase: str) -> None:
    costs = _costs(spec, choice, workload, phase)
    operators(costs)
    total = sum(cost.seconds for cost in costs)
    largest = max(costs, key=lambda cost: cost.seconds)
    intensity = sum(cost.flops for cost in costs) / sum(cost.bytes for cost in costs)
    ridge = choice.deployment.gpu.ridge_flops_per_byte(choice.deployment.weights.compute)
    st.caption(
        f"{figures.ms(total)} in total, {100 * largest.seconds / total:.0f} % of it {largest.name}. An operator takes "
        "the longer of its bytes over the achieved bandwidth and its FLOPs over the achieved rate. The whole step does "
        f"{figures.three(intensity)} FLOPs per byte"
        + (f"; below {ridge:,.0f}, the ridge of this GPU's data sheet, memory limits." if ridge else ".")
    )


def _costs(spec: ModelSpec, choice: Choice, workload: Workload, phase: str) -> Sequence[OperatorCost]:
    """Operators of one decode step at the mean context, or of the prefill of one prompt."""
    now = regime.steps(spec, choice.deployment, workload, choice.concurrency)
    return now.decode if phase == "decode" else now.prefill


def operators(costs: Sequence[OperatorCost]) -> None:
    """Operators of one step as a table: FLOPs, bytes, intensity, time, share and what limits each."""
    total = sum(cost.seconds for cost in costs)
    number = st.column_config.NumberColumn
    _table(
        [
            {
                "Operator": cost.name,
                "GFLOP": cost.flops / 1e9,
                "MB": cost.bytes / 1e6,
                "FLOP per byte": cost.intensity,
                "ms": cost.seconds * MS_PER_S,
                "Share": 100 * cost.seconds / total,
                "Limited by": str(cost.bound),
            }
            for cost in costs
        ],
        {
            "GFLOP": number(format="%.1f"),
            "MB": number(format="%.1f"),
            "FLOP per byte": number(format="%.1f"),
            "ms": number(format="%.3f"),
            "Share": st.column_config.ProgressColumn(format="%.0f %%", min_value=0, max_value=100),
        },
        "Operators of one step with FLOPs, bytes, intensity, time and limit",
    )


def _sum(name: str, total_s: float, part_s: float, part: str, rest: str) -> str:
    """A time as the sum of what was counted above and the rest."""
    if not total_s > part_s:        # also for a single token, which has no TPOT
        return f"- {name} {figures.ms(total_s)}: {part}."
    written = f"{figures.ms(total_s)} = {figures.ms(part_s)} + {figures.ms(total_s - part_s)}"
    return f"- {name} {written}: {part}, and {rest}."


def _figures(spec: ModelSpec, choice: Choice, workload: Workload) -> None:
    step_s, prefill_s = (
        sum(cost.seconds for cost in _costs(spec, choice, workload, phase)) for phase in ("decode", "prefill")
    )
    price = choice.deployment.gpu.price_usd_per_hour
    lines = [
        _sum("TPOT", choice.tpot.value, step_s, "the decode step above", "prefill of other requests in between"),
        _sum("TTFT", choice.ttft.value, prefill_s, "the prefill of the prompt",
             "the engine's own work, the step under way and prompts ahead"),
        f"- {choice.concurrency:,} × {workload.output_tokens:,} tokens ÷ "
        f"(TTFT + {workload.output_tokens - 1:,} × TPOT) = {figures.rate(choice.output_tokens_per_s.value)} in total.",
    ]
    if price is not None and choice.cost_usd_per_million_output_tokens is not None:
        lines.append(
            f"- {choice.deployment.gpus} × \\${price:.2f} per hour ÷ 3,600 ÷ "
            f"{figures.rate(choice.output_tokens_per_s.value)} × 10⁶ = "
            f"\\{figures.dollars(choice.cost_usd_per_million_output_tokens.value)} per million output tokens "
            f"({figures.plain(choice.deployment.gpu.price_source)})."
        )
    st.markdown("\n".join(lines))


def _table(rows: list[dict[str, object]], columns: dict[str, object], alt: str) -> None:
    st.dataframe(rows, column_config=columns, hide_index=True, alt=alt)
