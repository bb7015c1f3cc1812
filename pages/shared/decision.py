"""What to decide between: the answers side by side, each with what it costs and a way to plan it."""

import streamlit as st

from core.answers import advice
from core.answers.advice import Answer, Plan, sentences
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
