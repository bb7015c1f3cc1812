"""What the Traffic page shows: percentiles, costs, rates, hours, and other ways to run the same replicas."""

from collections.abc import Sequence

import streamlit as st

from core import charts, cost, traffic
from core.advice import Plan
from core.traffic import Effect, Fleet, Hour, Options, Question, RatePoint, Service, Slo, Split
from core.units import MS_PER_S
from pages import figures, parts


def verdict(plan: Plan, question: Question, fleet: Fleet, *, whole: bool) -> None:
    """How many replicas hold the traffic, in one sentence, and what they cost."""
    slo, rate = question.slo, question.trace.requests_per_s
    share = f"p{100 * slo.share:g}"
    layout = figures.layout(question.deployment)
    label = f"{plan.spec.name.split('/')[-1]}, {question.deployment.weights.label}, {layout}"
    holds = f"{_replicas(fleet.needed)} hold{'s' if fleet.needed == 1 else ''}"
    seen = len(question.trace) if whole else fleet.service.requests
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(
            f":gray-badge[estimated] :gray-badge[{'all' if whole else 'first'} {seen:,} requests simulated] "
            + ("" if whole else ":orange-badge[first look]")
        )
        st.header(f"{holds} {share} at {figures.three(rate)} requests/s", anchor=False)
        st.markdown(f"**{_kept(fleet.service, slo)}. {_purchase(plan, question, fleet)}**")
        if question.replicas is not None:
            st.markdown(_owned(question, fleet))
        tpot = plan.shown.tpot
        st.caption(
            f"One replica: {figures.plain(label)}, the deployment of the Plan page. Its step times carry that page's "
            f"range, {tpot.low / tpot.value - 1:+.0%} to {tpot.high / tpot.value - 1:+.0%} in 8 of 10 cases."
        )


def _replicas(n: int) -> str:
    return f"{n:,} replica{'' if n == 1 else 's'}"


def _kept(service: Service, slo: Slo) -> str:
    ttft = f"TTFT p99 {figures.ms(service.ttft.p99)} of {figures.ms(slo.ttft_s)}"
    tpot = f"TPOT p99 {figures.ms(service.tpot.p99)} of {figures.ms(slo.tpot_s)}"
    return f"{100 * service.within_slo:.4g} % of requests within the targets: {ttft}, {tpot}"


def _purchase(plan: Plan, question: Question, fleet: Fleet) -> str:
    buy = f"Run {fleet.to_buy:,}: {question.headroom:.0%} headroom makes {fleet.with_headroom:,}, one more may fail"
    price, _ = cost.price_of(plan.gpu)
    if price is None:
        return f"{buy}."
    bill = traffic.bill(fleet.to_buy, question.deployment.gpus, price, fleet.service.output_tokens_per_s)
    return f"{buy}. That is \\{figures.dollars(bill.per_hour)} an hour."


def _owned(question: Question, fleet: Fleet) -> str:
    owned = question.replicas or 0
    if owned >= fleet.needed:
        return f":green-badge[:material/check:] The {_replicas(owned)} at hand hold it."
    return (f":red-badge[:material/close:] The {_replicas(owned)} at hand do not hold it: "
            f"{fleet.needed - owned:,} more are needed.")


def service_figures(service: Service, slo: Slo) -> None:
    """Percentiles, queue, cache and goodput."""
    def three(p: traffic.Percentiles) -> str:
        return f"p50 {figures.ms(p.p50)} · p90 {figures.ms(p.p90)}"

    with st.grid(6, min_column_width=150, gap="small"):
        for name, p, limit, says in (
            ("TTFT p99", service.ttft, slo.ttft_s, "Time to first token, waiting in the queue included."),
            ("TPOT p99", service.tpot, slo.tpot_s, "Time per output token, the mean of each request."),
            ("End to end p99", service.latency, None, "From arrival to the last token."),
        ):
            value = figures.ms(p.p99)
            missed = limit is not None and p.p99 > limit
            _metric(name, f":red[{value}]" if missed else value, three(p), says)
        _metric("Goodput", f"{figures.three(service.goodput_per_s)}/s",
                f"{100 * service.within_slo:.4g} % within targets", "Requests per second that meet both targets.")
        _metric("KV cache in use", f"{100 * service.kv_occupancy:.0f} %", f"peak {100 * service.kv_peak:.0f} %",
                "Of what one replica's cache holds, mean over time.")
        _metric("Longest queue", f"{service.waiting_peak:,}",
                f"{service.preemptions:,} preempted · {service.refused:,} refused",
                "Requests waiting at one replica. Preempted: put back because the cache ran full. Refused: longer than "
                "the whole cache.")


def _metric(label: str, value: str, delta: str, says: str) -> None:
    st.metric(label, value, delta=delta, delta_color="off", delta_arrow="off", help=says, border=True, height="stretch")


def costs(plan: Plan, question: Question, fleet: Fleet) -> None:
    """What the fleet costs: as few as hold, and as many as are worth running."""
    price, source = cost.price_of(plan.gpu)
    if price is None:
        st.caption(f":material/info: {figures.plain(source)}")
        return
    rate = fleet.service.output_tokens_per_s
    least, bought = (traffic.bill(n, question.deployment.gpus, price, rate) for n in (fleet.needed, fleet.to_buy))
    gpus = fleet.to_buy * question.deployment.gpus
    says = (f"{_replicas(fleet.to_buy)}, {gpus:,} GPUs at \\${price:,.2f} per hour ({figures.plain(source)}), "
            "idle time paid for.")
    with st.grid(3, min_column_width=150, gap="small"):
        for name, pick in (("Cost per hour", "per_hour"), ("Cost per month", "per_month"),
                           ("Per million output tokens", "per_million_output_tokens")):
            _metric(name, figures.dollars(getattr(bought, pick)),
                    f"{figures.dollars(getattr(least, pick))} with {fleet.needed:,}, nothing spare", says)


def curves(question: Question, points: Sequence[RatePoint], fleet: Fleet) -> None:
    """Waiting against the rate for the fleet of the answer."""
    shown = question.replicas or fleet.needed
    rates = [point.requests_per_s for point in points]
    asked = question.trace.requests_per_s
    beyond = [point for point in points if not point.service.holds(question.slo)]
    held = [point.requests_per_s for point in points if point.service.holds(question.slo)]
    says = f"{_replicas(shown)} hold the targets up to about {figures.three(max(held))} requests/s" if held else (
        f"{_replicas(shown)} hold the targets at none of these rates")
    if beyond and held:
        says += f"; at {figures.three(beyond[0].requests_per_s)} they no longer do"
    with st.container(border=True, gap="small"):
        parts.section("How long users wait, by rate", f"{says}. Cut off at the top: a queue that only grows.")
        left, right = st.columns(2)
        for place, name, slo_s, field in (
            (left, "TTFT, ms", question.slo.ttft_s, "ttft"), (right, "TPOT, ms", question.slo.tpot_s, "tpot"),
        ):
            times = [getattr(point.service, field) for point in points]
            with place:
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


def autoscaling(plan: Plan, question: Question, hours: Sequence[Hour], by_day: bool) -> None:
    """A fleet that follows the load against a fixed one."""
    mean = sum(hour.replicas for hour in hours) / len(hours)
    fixed = max(hour.replicas for hour in hours)
    span_min = question.trace.duration_s / 60 / len(hours)
    labels = [f"{n}" for n in range(len(hours))] if by_day else [f"{n * span_min:.3g}" for n in range(len(hours))]
    price, _ = cost.price_of(plan.gpu)
    saved = ""
    if price:
        least, most = (traffic.bill(n, question.deployment.gpus, price, 0.0).per_month for n in (mean, fixed))
        saved = f": \\{figures.dollars(least)} instead of \\{figures.dollars(most)} a month"
    with st.container(border=True, gap="small", height="stretch"):
        parts.section(
            "Autoscaling against a fixed fleet",
            f"A scaler that foresees would run {mean:.3g} replicas on average instead of {fixed}{saved}. "
            "Starting up takes minutes more than this shows.",
        )
        parts.chart(
            charts.replicas_by_hour(
                labels, [h.replicas for h in hours], [h.requests_per_s for h in hours], fixed=fixed,
                title="Hour of the day" if by_day else "Minute",
            ),
            alt="Replicas needed in each window, against a fixed fleet", key="autoscale",
        )


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
            "Prefill and decode: together or apart",
            f"{word} on the same {_replicas(together.decode)}; apart, the p99 of TPOT is "
            f"{figures.ms(best.service.tpot.p99)} instead of {figures.ms(together.service.tpot.p99)}.",
        )
        st.dataframe(
            [
                {
                    "Replicas": "together" if not s.prefill else f"{s.prefill} prefill + {s.decode} decode",
                    "Within targets, %": 100 * s.service.within_slo,
                    "TTFT p99, ms": s.service.ttft.p99 * MS_PER_S,
                    "TPOT p99, ms": s.service.tpot.p99 * MS_PER_S,
                    "Goodput, /s": s.service.goodput_per_s,
                }
                for s in splits
            ],
            hide_index=True, alt="The same replicas together and split into prefill and decode",
            column_config={
                "Within targets, %": st.column_config.NumberColumn(format="%.2f"),
                "TTFT p99, ms": st.column_config.NumberColumn(format="%,.0f"),
                "TPOT p99, ms": st.column_config.NumberColumn(format="%,.1f"),
                "Goodput, /s": st.column_config.NumberColumn(format="%,.2f"),
            },
        )


def effects(found: Sequence[Effect], chosen: Options, done: bool) -> None:
    """What each option that is on does."""
    with st.container(border=True, gap="small", height="stretch"):
        parts.section("What each option does", "Median times of the same fleet without it and with it.")
        if not found:
            st.caption(
                "Working …" if not done and chosen != Options()
                else "None is on. Under “Engine options”: speculative decoding, prefix caching, chunk size, KV offload."
            )
            return
        st.dataframe(
            [
                {
                    "Option": e.name,
                    "TTFT": f"{figures.ms(e.without.ttft.p50)} → {figures.ms(e.service.ttft.p50)}",
                    "TPOT": f"{figures.ms(e.without.tpot.p50)} → {figures.ms(e.service.tpot.p50)}",
                    "Within targets": f"{100 * e.without.within_slo:.3g} → {100 * e.service.within_slo:.3g} %",
                    "Why": e.note,
                }
                for e in found
            ],
            hide_index=True, alt="Times without and with each option, with its law or source",
        )


def tried(fleet: Fleet) -> None:
    """Every fleet that was simulated on the way to the answer."""
    with st.expander("Every fleet tried", icon=":material/list:"):
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
