"""What to decide between: the answers side by side, each with what it costs and a way to plan it."""

from functools import partial

import streamlit as st

from core.answers import advice
from core.answers.advice import Answer, Plan, Room, Rung, sentences
from core.basics.units import GIB, MS_PER_S
from core.delivery import export
from pages.shared import figures, inputs, parts


def side_by_side(plan: Plan) -> None:
    """Best quality, fastest, cheapest and fewest GPUs within the targets, the same ones merged."""
    answers = advice.side_by_side(plan)
    if not answers:
        return
    parts.section(
        "Within your targets" if len(answers) > 1 else "One answer is best in every respect",
        f"For {sentences.came_in(plan.workload)}. No other deployment beats one of these in everything."
    )
    with st.grid(len(answers), min_column_width=220, gap="small"):
        for number, answer in enumerate(answers):
            with st.container(border=True, height="stretch", gap="small", key=f"answer_{number}"):
                _card(answer, number)


def _card(answer: Answer, number: int) -> None:
    """One answer: what it is best at, what it is, its bill, its speed, and a way to plan it."""
    choice, d = answer.choice, answer.choice.deployment
    title = " · ".join(answer.titles) or "Best compromise"
    st.markdown(f"**{title}**" + (" :green-badge[recommended]" if answer.recommended else ""))
    month, loss = choice.usd_per_month, sentences.loss_text(choice.quality)
    bill = "no listed price" if month is None else f"**\\${month:,.0f}** a month"
    cost = choice.cost_usd_per_million_output_tokens
    per_million = f" · \\{figures.dollars(cost.value)} per M output tokens" if cost else ""
    st.markdown(
        f"{figures.plain(sentences.formats(d))} on {figures.plain(sentences.hardware(d))}  \n"
        f"{bill}{per_million}  \n"
        f"batch limit {advice.batch_limit(choice):,} · quality loss {loss}  \n"
        f"TPOT {figures.ms(choice.tpot.value)} · TTFT {figures.ms(choice.ttft.value)} · "
        f"{figures.rate(choice.output_tokens_per_s.value)}"
    )
    if not answer.recommended:
        st.button("Plan this", key=f"answer {number}", icon=":material/target:", on_click=parts.apply,
                  args=(inputs.deploying(d),))


@st.fragment
def ladder(plan: Plan) -> None:
    """Every weight format with every KV cache on the GPUs shown; made when it is opened."""
    shown = plan.shown
    if shown is None:
        return
    place = st.expander("The ladder: every weight format with every KV cache", icon=":material/stairs:",
                        on_change="rerun", key="ladder")
    if not place.open:
        return
    with place:
        st.caption(
            f"On {figures.plain(sentences.hardware(shown.deployment))}, for {sentences.came_in(plan.workload)}. Tight: "
            "it fits as estimated, not at the upper end of the estimate. A loss without a figure is unknown."
        )
        st.dataframe(
            [_rung(rung) for rung in advice.ladder(plan)], hide_index=True, placeholder="–", height="content",
            alt="Weight formats by KV cache: whether each fits, its longest context, largest batch, speed and loss",
            column_config={
                "Weights, GiB": st.column_config.NumberColumn(format="%.1f"),
                "Longest context": st.column_config.NumberColumn(format="%,d"),
                "TPOT, ms": st.column_config.NumberColumn(format="%.1f"),
                "Quality loss, %": st.column_config.NumberColumn(format="%.1f"),
            },
        )
        name = figures.file_name(plan.spec.name, plan.gpu.name)
        parts.download("The ladder, CSV", partial(export.ladder_csv, plan), f"{name}-ladder.csv")


def _rung(rung: Rung) -> dict[str, object]:
    """One row of the ladder."""
    d, fits = rung.deployment, rung.room is not Room.OVER
    return {
        "Weights": d.weights.label, "KV cache": d.kv_cache.name.upper(), "Memory": str(rung.room),
        "Weights, GiB": rung.weights_bytes / GIB, "Longest context": rung.longest_context or None,
        "Requests it holds": rung.most_requests, "Within targets": rung.within_targets,
        "TPOT, ms": rung.tpot_s * MS_PER_S if fits else None,
        "Quality loss, %": None if rung.quality is None else 100 * rung.quality.value,
        "Loss accepted": "unknown" if rung.quality is None else "yes" if rung.accepted else "no",
    }
