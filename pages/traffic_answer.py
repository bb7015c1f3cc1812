"""What the Traffic page shows: percentiles, costs, rates, hours, and other ways to run the same replicas."""

import math
from collections.abc import Sequence
from functools import partial

import streamlit as st

from core import charts, cost, traffic
from core.advice import Plan
from core.errors import InputError
from core.export import fleet as fleet_files
from core.export.fleet import Answer
from core.traffic import Effect, Fleet, Hour, Options, Question, RatePoint, Service, Slo, Split
from core.units import MS_PER_S
from pages import delivery, figures, parts

LOOSER_SHARE = 0.95

def verdict(plan: Plan, question: Question, fleet: Fleet, *, whole: bool) -> None:
    """How many replicas hold the traffic, in one sentence, and what they cost."""
    slo, rate = question.slo, question.trace.requests_per_s
    share = f"p{100 * slo.share:g}"
    layout = figures.layout(question.deployment)
    label = f"{plan.spec.name.split('/')[-1]}, {question.deployment.weights.label}, {layout}"
    asked, seen = len(question.trace), fleet.service.requests
    simulated = f"all {asked:,} requests" if whole or seen == asked else f"{seen:,} of {asked:,} requests"
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(
            f":gray-badge[estimated] :gray-badge[{simulated} simulated] "
            + ("" if whole else ":orange-badge[first look]")
        )
        st.header(f"{_hold(fleet.needed)} {share} at {figures.three(rate)} requests/s", anchor=False)
        st.markdown(f"**{_kept(fleet.service, slo)}. {_purchase(plan, question, fleet)}**")
        if question.replicas is not None:
            st.markdown(_owned(question, fleet))
        tpot = plan.shown.tpot
        st.caption(
            f"One replica: {figures.plain(label)}, the deployment of the Plan page. Its step times carry that page's "
            f"range: {100 * (1 - tpot.low / tpot.value):.0f} % less to {100 * (tpot.high / tpot.value - 1):.0f} % more "
            "in 8 of 10 cases."
        )


def impossible(question: Question, why: InputError) -> None:
    """What no number of replicas holds, why, and the targets that could be held."""
    slo = question.slo
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(":gray-badge[estimated] :red-badge[:material/close: no fleet holds it]")
        rate = figures.three(question.trace.requests_per_s)
        st.header(f"No number of replicas holds p{100 * slo.share:g} at {rate} requests/s", anchor=False)
        st.markdown(f"**{figures.plain(why)}**")
        with st.container(horizontal=True):
            for label, change in _targets_that_hold(question):
                st.button(label, on_click=parts.apply, args=(change,), key=f"way on {label}")


def _targets_that_hold(question: Question) -> list[tuple[str, dict[str, object]]]:
    """Buttons that loosen the targets to twice what a request alone takes, and the share to 95 %."""
    try:
        best = traffic.times_alone(question)
    except InputError:
        return []
    slo, ways = question.slo, []
    if best.ttft_s > slo.ttft_s:
        ttft_ms = math.ceil(2 * best.ttft_s * MS_PER_S / 100) * 100
        ways.append((f"Accept a TTFT of {ttft_ms:,} ms", {"ttft": ttft_ms}))
    if best.tpot_s > slo.tpot_s:
        tpot_ms = math.ceil(2 * best.tpot_s * MS_PER_S)
        ways.append((f"Accept a TPOT of {tpot_ms:,} ms", {"tpot": tpot_ms}))
    if best.ttft_s > slo.ttft_s and slo.share > LOOSER_SHARE:
        ways.append((f"Accept {LOOSER_SHARE:.0%} within the targets", {"share": LOOSER_SHARE}))
    return ways


def _replicas(n: int) -> str:
    return f"{n:,} replica{'' if n == 1 else 's'}"


def _hold(n: int) -> str:
    return f"{_replicas(n)} hold{'s' if n == 1 else ''}"


def _kept(service: Service, slo: Slo) -> str:
    kept = [
        f"{name} p99 {figures.ms(times.p99)} of {figures.ms(limit_s)}"
        for name, times, limit_s in (("TTFT", service.ttft, slo.ttft_s), ("TPOT", service.tpot, slo.tpot_s))
        if not math.isnan(times.p99)
    ]
    return f"{100 * service.within_slo:.4g} % of requests within the targets: {', '.join(kept)}"


def _purchase(plan: Plan, question: Question, fleet: Fleet) -> str:
    headroom = f"{100 * question.headroom:.0f} % headroom makes {fleet.with_headroom:,}"
    buy = f"Run {fleet.to_buy:,}: {headroom}, and one more so that one may fail (N+1)"
    price, _ = cost.price_of(plan.gpu)
    if price is None:
        return f"{buy}."
    bill = traffic.bill(fleet.to_buy, question.deployment.gpus, price, fleet.service.output_tokens_per_s)
    return f"{buy}. That is \\{_dollars(bill.per_hour)} an hour."


def _owned(question: Question, fleet: Fleet) -> str:
    owned = question.replicas or 0
    if owned >= fleet.needed:
        return f":green-badge[:material/check:] The {_replicas(owned)} at hand hold it."
    return (f":red-badge[:material/close:] The {_replicas(owned)} at hand do not hold it: "
            f"{fleet.needed - owned:,} more are needed.")


def figures_of(plan: Plan, question: Question, fleet: Fleet) -> None:
    """Percentiles, goodput, cache, queue and cost of the answer."""
    service, slo = fleet.service, question.slo
    with st.grid(5, min_column_width=150, gap="small"):
        _percentiles("TTFT p99", service.ttft, slo.ttft_s, "Time to first token, waiting in the queue included.")
        _percentiles("TPOT p99", service.tpot, slo.tpot_s, "Time per output token, the mean of each request.")
        _percentiles("End to end p99", service.latency, None, "From arrival to the last token.")
        _metric("Goodput", f"{figures.three(service.goodput_per_s)}/s", f"{100 * service.within_slo:.4g} % in time",
                "Requests per second that meet both targets.")
        _metric("Output", f"{figures.three(service.output_tokens_per_s)} tok/s",
                f"busy {100 * service.utilisation:.0f} % of the time",
                "Output tokens per second of all replicas together.")
        _metric("KV cache in use", f"{100 * service.kv_occupancy:.0f} %", f"peak {100 * service.kv_peak:.0f} %",
                "Of what one replica's cache holds, mean over time.")
        _metric("Longest queue", f"{service.waiting_peak:,}",
                f"{service.refused:,} refused" if service.refused else f"{service.preemptions:,} preempted",
                "Requests waiting at one replica. Preempted: put back because the cache ran full. Refused: longer than "
                "the whole cache.")
        _costs(plan, question, fleet)


def _costs(plan: Plan, question: Question, fleet: Fleet) -> None:
    """What the fleet costs: as many as are worth running, and as few as hold."""
    price, source = cost.price_of(plan.gpu)
    if price is None:
        _metric("Cost", "–", "no price listed", figures.plain(source))
        return
    rate, gpus = fleet.service.output_tokens_per_s, question.deployment.gpus
    least, bought = (traffic.bill(n, gpus, price, rate) for n in (fleet.needed, fleet.to_buy))
    says = (f"{_replicas(fleet.to_buy)}, {fleet.to_buy * gpus:,} GPUs at \\${price:,.2f} per hour "
            f"({figures.plain(source)}), idle time paid for. Below: as few as hold the targets, nothing spare.")
    for name, pick in (("Cost per hour", "per_hour"), ("Cost per month", "per_month"),
                       ("Per M output tokens", "per_million_output_tokens")):
        least_text = f"{_dollars(getattr(least, pick))} with {fleet.needed:,}"
        _metric(name, _dollars(getattr(bought, pick)), least_text, says)


def _percentiles(name: str, times: traffic.Percentiles, limit_s: float | None, says: str) -> None:
    value = _time(times.p99)
    missed = limit_s is not None and times.p99 > limit_s
    if math.isnan(times.p99):
        _metric(name, "–", "answers of one token", says)
        return
    _metric(name, f":red[{value}]" if missed else value, f"p50 {_short(times.p50)} · p90 {_short(times.p90)}", says)


def _time(seconds: float) -> str:
    """ms, or seconds from one on; a dash where there is none."""
    if math.isnan(seconds):
        return "–"
    return f"{figures.three(seconds)} s" if seconds >= 1 else figures.ms(seconds)


def _short(seconds: float) -> str:
    return _time(seconds).removesuffix(" ms")


def _dollars(amount: float) -> str:
    """No cents where they do not matter."""
    if amount == 0:
        return "$0"
    return f"${amount:,.0f}" if amount >= 1000 else figures.dollars(amount)


def _metric(label: str, value: str, delta: str, says: str) -> None:
    st.metric(label, value, delta=delta, delta_color="off", delta_arrow="off", help=says, border=True, height="stretch")


def curves(question: Question, points: Sequence[RatePoint], fleet: Fleet) -> None:
    """Waiting against the rate for the fleet of the answer."""
    shown = question.replicas or fleet.needed
    rates = [point.requests_per_s for point in points]
    asked = question.trace.requests_per_s
    beyond = [point for point in points if not point.service.holds(question.slo)]
    held = [point.requests_per_s for point in points if point.service.holds(question.slo)]
    says = f"{_hold(shown)} the targets up to about {figures.three(max(held))} requests/s" if held else (
        f"{_hold(shown)} the targets at none of these rates")
    if beyond and held:
        says += f", at {figures.three(beyond[0].requests_per_s)} no longer"
    with st.container(border=True, gap="small"):
        parts.section("How long users wait, by rate", f"{says}. Cut off at the top: a queue that only grows.")
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
        saved = f", \\{_dollars(least)} instead of \\{_dollars(most)} a month"
    says = f"The load is too even to gain: {_replicas(fixed)} in every window." if mean == fixed else (
        f"A scaler that foresees would run {mean:.3g} replica{'' if mean == 1 else 's'} on average instead of "
        f"{fixed:,}{saved}. "
        "A replica takes minutes to start, which this leaves out."
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
            "Prefill and decode: together or apart",
            f"{word} on the same {_replicas(together.decode)} at the busiest time; apart, the p99 of TPOT is "
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
        parts.section("What each option does", "Median times of the same fleet without it and with it.")
        if not found:
            st.caption(
                "Working …" if not done and chosen != Options()
                else "None is on. Under “Engine options”: speculative decoding, prefix caching, chunk size, KV offload."
            )
            return
        for effect in found:
            before, after = effect.without, effect.service
            st.markdown(
                f"**{effect.name}**: TPOT {_time(before.tpot.p50)} → {_time(after.tpot.p50)}, "
                f"TTFT {_time(before.ttft.p50)} → {_time(after.ttft.p50)}, "
                f"in time {100 * before.within_slo:.3g} → {100 * after.within_slo:.3g} %.  \n"
                f":small[:gray[{figures.plain(effect.note)}]]"
            )


def take_away(answer: Answer) -> None:
    """The answer as files, and those that start the fleet."""
    question, service = answer.question, answer.fleet.service
    whole = service.requests == len(question.trace)
    with st.container(border=True, gap="small", key="take_away"):
        parts.section(
            "Take it away",
            f"The fleet of {_replicas(answer.fleet.to_buy)}, its percentiles and costs"
            + ("." if whole else f", from a first look at {service.requests:,} of {len(question.trace):,} requests."),
        )
        name = figures.file_name(question.spec.name, "fleet")
        with st.container(horizontal=True):
            parts.download("Rates, CSV", partial(fleet_files.rates_csv, answer), f"{name}-rates.csv")
            parts.download("Fleet, JSON", partial(fleet_files.fleet_json, answer), f"{name}.json")
            parts.download("Report to print, HTML", partial(fleet_files.fleet_report, answer), f"{name}.html")
    delivery.files(answer.ordered, key="traffic")


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
