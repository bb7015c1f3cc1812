"""What the whole simulation adds on the Traffic page: every rate and hour, and other ways to run the replicas."""

import math
from collections.abc import Sequence

import streamlit as st

from core.answers import cost, traffic
from core.answers.advice import Plan
from core.answers.traffic import Effect, Fleet, Hour, Options, Question, RatePoint, Split
from core.basics.units import MS_PER_S
from core.delivery import charts
from pages.shared import figures, parts
from pages.traffic.traffic_answer import dollars, duration, hold, replicas


def curves(question: Question, points: Sequence[RatePoint], fleet: Fleet) -> None:
    """Waiting against the rate for the fleet of the answer."""
    shown = question.replicas or fleet.needed
    rates = [point.requests_per_s for point in points]
    asked = question.trace.requests_per_s
    beyond = [point for point in points if not point.service.holds(question.slo)]
    held = [point.requests_per_s for point in points if point.service.holds(question.slo)]
    says = f"{hold(shown)} the targets up to about {figures.three(max(held))} requests/s" if held else (
        f"{hold(shown)} the targets at none of these rates")
    if beyond and held:
        says += f", at {figures.three(beyond[0].requests_per_s)} no longer"
    with st.container(border=True, gap="small"):
        parts.section("How long users wait, by rate",
                      f"{says}. Lines leave the chart where the queue grows without bound.")
        left, right = st.columns(2)
        for place, name, slo_s, field in (
            (left, "TTFT, ms", question.slo.ttft_s, "ttft"), (right, "TPOT, ms", question.slo.tpot_s, "tpot"),
        ):
            times = [getattr(point.service, field) for point in points]
            with place:
                if all(math.isnan(t.p99) for t in times):
                    st.caption("Answers of a single token have no time per output token.")
                    continue
                parts.chart(
                    charts.percentiles_over_rate(
                        rates, *([getattr(t, p) * MS_PER_S for t in times] for p in ("p50", "p90", "p99")),
                        title=name, slo_ms=slo_s * MS_PER_S, asked=asked,
                    ),
                    alt=f"Percentiles of {name} by requests per second", key=f"{field}_over_rate",
                )


def cost_curve(plan: Plan, question: Question, points: Sequence[RatePoint]) -> None:
    """What each rate needs and costs."""
    found = [point for point in points if point.needed]
    price, _ = cost.price_of(plan.gpu)
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("What each rate costs", "The fewest replicas that hold the targets at each rate, nothing spare.")
        if not found:
            st.caption("No fleet holds the targets at any of these rates.")
            return
        tokens = question.trace.output_tokens.mean()
        gpus = question.deployment.gpus
        bills = [traffic.bill(p.needed or 0, gpus, price or 0.0, p.requests_per_s * tokens) for p in found]
        needed = [p.needed or 0 for p in found]
        parts.chart(
            charts.cost_over_rate(
                [p.requests_per_s for p in found], needed,
                needed if price is None else [b.per_hour for b in bills],
                [float("nan") if price is None else b.per_million_output_tokens for b in bills],
                title="Replicas" if price is None else "USD per hour", asked=question.trace.requests_per_s,
            ),
            alt="Cost of the smallest fleet by requests per second", key="cost_over_rate",
        )


def autoscaling(plan: Plan, question: Question, hours: Sequence[Hour], fixed: int, by_day: bool) -> None:
    """A fleet that follows the load against a fixed one."""
    mean = sum(hour.replicas for hour in hours) / len(hours)
    title, labels = _windows(question.trace.duration_s, len(hours), by_day)
    price, _ = cost.price_of(plan.gpu)
    saved = ""
    if price:
        gpus = question.deployment.gpus
        least, most = (traffic.bill(n, gpus, price, 0.0).per_month for n in (mean, fixed))
        saved = f", \\{dollars(least)} instead of \\{dollars(most)} per month"
    says = f"The load is too even to gain: {replicas(fixed)} in every window." if mean == fixed else (
        f"An autoscaler with perfect foresight would run {mean:.3g} replica{'' if mean == 1 else 's'} on average "
        f"instead of {fixed:,}{saved}. A replica takes minutes to start; this leaves that out."
    )
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("Autoscaling against a fixed fleet", says)
        parts.chart(
            charts.replicas_by_hour(
                labels, [h.replicas for h in hours], [h.requests_per_s for h in hours], fixed=fixed,
                title=title,
            ),
            alt="Replicas needed in each window, against a fixed fleet", key="autoscale",
        )


def _windows(duration_s: float, windows: int, by_day: bool) -> tuple[str, list[str]]:
    """Title and names of the windows: hours of a day, else minutes or seconds of the trace."""
    if by_day:
        return "Hour of the day", [str(n) for n in range(windows)]
    minutes = duration_s >= 60 * windows
    return ("Minute" if minutes else "Second",
            [f"{n * duration_s / windows / (60 if minutes else 1):.0f}" for n in range(windows)])


def disaggregation(splits: Sequence[Split]) -> None:
    """Prompts and answers on the same replicas, or apart."""
    together, *apart = splits
    best = max(apart, key=lambda s: (s.service.within_slo, -s.service.latency.p99))
    gain = best.service.goodput_per_s / together.service.goodput_per_s - 1 if together.service.goodput_per_s else 0.0
    word = (f"Apart serves {gain:.1%} more requests within the targets" if gain > 0.005 else
            f"Together serves {-gain:.1%} more requests within the targets" if gain < -0.005 else
            "Both serve as many requests within the targets")
    with st.container(border=True, gap="small", height="stretch"):
        parts.section(
            "Disaggregated prefill",
            f"{word} on the same {replicas(together.decode)} at the busiest time; apart, the p99 of TPOT is "
            f"{figures.ms(best.service.tpot.p99)} instead of {figures.ms(together.service.tpot.p99)}.",
        )
        st.dataframe(
            [
                {
                    "Replicas": "together" if not s.prefill else f"{s.prefill} prefill + {s.decode} decode",
                    "In time, %": 100 * s.service.within_slo,
                    "TTFT p99": figures.ms(s.service.ttft.p99),
                    "TPOT p99": figures.ms(s.service.tpot.p99),
                }
                for s in splits
            ],
            hide_index=True, alt="The same replicas together and split into prefill and decode",
            column_config={"In time, %": st.column_config.NumberColumn(format="%.1f")},
        )


def effects(found: Sequence[Effect], chosen: Options, done: bool) -> None:
    """What each option that is on does."""
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("What each option does", "Median times of the same fleet, without and with each option.")
        if not found:
            st.caption(
                "Working …" if not done and chosen != Options()
                else "No option is on. Under “Engine options”: speculative decoding, prefix caching, chunk size, KV "
                    "offload."
            )
            return
        for effect in found:
            before, after = effect.without, effect.service
            st.markdown(
                f"**{effect.name}**: TPOT {duration(before.tpot.p50)} → {duration(after.tpot.p50)}, "
                f"TTFT {duration(before.ttft.p50)} → {duration(after.ttft.p50)}, "
                f"in time {100 * before.within_slo:.3g} → {100 * after.within_slo:.3g} %.  \n"
                f":small[:gray[{figures.plain(effect.note)}]]"
            )


def tried(fleet: Fleet) -> None:
    """Every fleet that was simulated on the way to the answer."""
    with st.expander("All fleets tried", icon=":material/list:"):
        st.dataframe(
            [
                {
                    "Replicas": s.replicas, "Within targets, %": 100 * s.within_slo,
                    "TTFT p99, ms": s.ttft.p99 * MS_PER_S, "TPOT p99, ms": s.tpot.p99 * MS_PER_S,
                    "End to end p99, s": s.latency.p99, "Goodput, /s": s.goodput_per_s,
                    "Output tokens/s": s.output_tokens_per_s, "Busy, %": 100 * s.utilisation,
                    "KV cache, %": 100 * s.kv_occupancy, "Longest queue": s.waiting_peak,
                    "Preempted": s.preemptions, "Refused": s.refused,
                }
                for s in fleet.tried
            ],
            hide_index=True, alt="Fleets simulated, with percentiles, goodput and occupancy",
            column_config={
                name: st.column_config.NumberColumn(format=fmt)
                for name, fmt in {
                    "Within targets, %": "%.2f", "TTFT p99, ms": "%,.0f", "TPOT p99, ms": "%,.1f",
                    "End to end p99, s": "%,.2f", "Goodput, /s": "%,.2f", "Output tokens/s": "%,d",
                    "Busy, %": "%.0f", "KV cache, %": "%.0f",
                }.items()
            },
        )
