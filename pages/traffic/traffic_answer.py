"""What the Traffic page answers: how many replicas, their percentiles and costs, and the files that start them."""

import math
from functools import partial

import streamlit as st

from core.answers import cost, traffic
from core.answers.advice import Plan
from core.answers.traffic import Fleet, Question, Service, Slo
from core.basics.errors import InputError
from core.basics.units import MS_PER_S
from core.basics.words import counted
from core.delivery.export import fleet as fleet_files
from core.delivery.export.fleet import Answer
from pages.shared import delivery, figures, parts

LOOSER_SHARE = 0.95
FEW_REQUESTS = 100      # below, one request is more than the 1 % that p99 speaks of

def verdict(plan: Plan, question: Question, fleet: Fleet, *, whole: bool) -> None:
    """How many replicas hold the traffic, in one sentence, and what they cost."""
    slo, rate = question.slo, question.trace.requests_per_s
    layout = figures.layout(question.deployment)
    label = f"{plan.spec.name.split('/')[-1]}, {question.deployment.weights.label}, {layout}"
    asked, seen = len(question.trace), fleet.service.requests
    requests = counted(asked, "request")
    simulated = f"all {requests}" if whole or seen == asked else f"{seen:,} of {requests}"
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(
            f":gray-badge[estimated] :gray-badge[{simulated} simulated] "
            + ("" if whole else ":orange-badge[preview]")
        )
        st.header(f"Run {replicas(fleet.to_buy)}{_monthly(plan, question, fleet)}", anchor=False)
        keeps = "keeps" if fleet.needed == 1 else "keep"
        st.markdown(
            f"**{replicas(fleet.needed)} {keeps} {100 * slo.share:g} % of requests within the targets at "
            f"{rate:,.3g} requests/s. {_purchase(question, fleet)}**"
        )
        st.markdown(f"{_kept(fleet.service, slo)}.")
        if asked < FEW_REQUESTS:
            st.markdown(f":orange[:material/warning:] {requests} {'is' if asked == 1 else 'are'} too few to size a "
                        f"fleet by p{100 * slo.share:g}: that takes {FEW_REQUESTS:,} or more. Give a longer trace, or "
                        "a rate.")
        if question.replicas is not None:
            st.markdown(_owned(question, fleet))
        tpot = plan.shown.tpot
        st.caption(
            f"One replica: {figures.plain(label)}, the deployment of the Plan page. Its step times carry that page's "
            f"80 % range: {100 * (1 - tpot.low / tpot.value):.0f} % less to "
            f"{100 * (tpot.high / tpot.value - 1):.0f} % more."
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


def replicas(n: int) -> str:
    return counted(n, "replica")


def hold(n: int) -> str:
    return f"{replicas(n)} hold{'s' if n == 1 else ''}"


def _kept(service: Service, slo: Slo) -> str:
    kept = [
        f"{name} p{100 * slo.share:g} {figures.ms(times.asked)} of {figures.ms(limit_s)}"
        for name, times, limit_s in (("TTFT", service.ttft, slo.ttft_s), ("TPOT", service.tpot, slo.tpot_s))
        if not math.isnan(times.asked)
    ]
    return f"{100 * service.within_slo:.4g} % of requests within the targets: {', '.join(kept)}"


def _purchase(question: Question, fleet: Fleet) -> str:
    """Where the number to run comes from."""
    if question.replicas == fleet.to_buy:
        spare = fleet.to_buy - fleet.needed
        return f"You have {fleet.to_buy:,}: " + (f"{spare:,} may fail." if spare else "none is spare.")
    busier = f"{hold(fleet.with_headroom)} {100 * question.headroom:.0f} % more traffic"
    return f"{busier}; one more is spare (N+1)."


def _monthly(plan: Plan, question: Question, fleet: Fleet) -> str:
    """What the fleet costs a month, behind the number of replicas; empty without a price."""
    price, _ = cost.price_of(plan.gpu)
    if price is None:
        return ""
    bill = traffic.bill(fleet.to_buy, question.deployment.gpus, price, fleet.service.output_tokens_per_s)
    return f": \\{dollars(bill.per_month)} per month"


def _owned(question: Question, fleet: Fleet) -> str:
    owned = question.replicas or 0
    if owned >= fleet.needed:
        return f":green-badge[:material/check:] The {replicas(owned)} you have hold it."
    return (f":red-badge[:material/close:] The {replicas(owned)} you have do not hold it: "
            f"{fleet.needed - owned:,} more are needed.")


def figures_of(plan: Plan, question: Question, fleet: Fleet) -> None:
    """Percentiles, goodput, cache, queue and cost of the answer."""
    service, slo = fleet.service, question.slo
    with st.grid(5, min_column_width=150, gap="small"):
        _costs(plan, question, fleet)
        asked = f"p{100 * slo.share:g}"
        _percentiles(f"TTFT {asked}", service.ttft, slo.ttft_s, "Time to first token, waiting in the queue included.")
        _percentiles(f"TPOT {asked}", service.tpot, slo.tpot_s, "Time per output token, the mean of each request.")
        _percentiles(f"End to end {asked}", service.latency, None, "From arrival to the last token.")
        _metric("Goodput", f"{figures.three(service.goodput_per_s)}/s", f"{100 * service.within_slo:.4g} % in time",
                "Requests per second that meet both targets.")
        _metric("Output", f"{figures.three(service.output_tokens_per_s)} tok/s",
                f"in use {100 * service.utilisation:.0f} % of the time",
                "Output tokens per second of all replicas together.")
        _metric("KV cache in use", f"{100 * service.kv_occupancy:.0f} %", f"peak {100 * service.kv_peak:.0f} %",
                "Of what one replica's cache holds, mean over time.")
        _metric("Longest queue", f"{service.waiting_peak:,}",
                f"{service.refused:,} refused" if service.refused else f"{service.preemptions:,} preempted",
                "Requests waiting at one replica. Preempted: put back because the cache ran full. Refused: longer than "
                "the whole cache.")


def _costs(plan: Plan, question: Question, fleet: Fleet) -> None:
    """What the fleet costs: as many as are worth running, and as few as hold."""
    price, source = cost.price_of(plan.gpu)
    if price is None:
        _metric("Cost", "–", "no price listed", figures.plain(source))
        return
    rate, gpus = fleet.service.output_tokens_per_s, question.deployment.gpus
    least, bought = (traffic.bill(n, gpus, price, rate) for n in (fleet.needed, fleet.to_buy))
    says = (f"{replicas(fleet.to_buy)}, {counted(fleet.to_buy * gpus, 'GPU')} at \\${price:,.2f} per hour "
            f"({figures.plain(source)}), idle time paid for. Below: as few as hold the targets, nothing spare.")
    for name, pick in (("Cost per month", "per_month"), ("Cost per hour", "per_hour"),
                       ("Per M output tokens", "per_million_output_tokens")):
        least_text = f"{dollars(getattr(least, pick))} with {fleet.needed:,}"
        _metric(name, dollars(getattr(bought, pick)), least_text, says)


def _percentiles(name: str, times: traffic.Percentiles, limit_s: float | None, says: str) -> None:
    value = duration(times.asked)
    missed = limit_s is not None and times.asked > limit_s
    if math.isnan(times.asked):
        _metric(name, "–", "answers have one token", says)
        return
    _metric(name, f":red[{value}]" if missed else value, f"p50 {_short(times.p50)} · p90 {_short(times.p90)}", says)


def duration(seconds: float) -> str:
    """ms, or seconds from one on; a dash where there is none."""
    if math.isnan(seconds):
        return "–"
    return f"{figures.three(seconds)} s" if seconds >= 1 else figures.ms(seconds)


def _short(seconds: float) -> str:
    return duration(seconds).removesuffix(" ms")


def dollars(amount: float) -> str:
    """No cents where they do not matter."""
    if amount == 0:
        return "$0"
    return f"${amount:,.0f}" if amount >= 1000 else figures.dollars(amount)


def _metric(label: str, value: str, delta: str, says: str) -> None:
    st.metric(label, value, delta=delta, delta_color="off", delta_arrow="off", help=says, border=True, height="stretch")


def take_away(answer: Answer) -> None:
    """The answer as files, and those that start the fleet."""
    question, service = answer.question, answer.fleet.service
    whole = service.requests == len(question.trace)
    with st.container(border=True, gap="small", key="take_away"):
        parts.section(
            "Export",
            f"The fleet of {replicas(answer.fleet.to_buy)}, its percentiles and costs"
            + ("." if whole else f", from a preview of {service.requests:,} of {len(question.trace):,} requests."),
        )
        name = figures.file_name(question.spec.name, "fleet")
        with st.container(horizontal=True):
            parts.download("Rates, CSV", partial(fleet_files.rates_csv, answer), f"{name}-rates.csv")
            parts.download("Fleet, JSON", partial(fleet_files.fleet_json, answer), f"{name}.json")
            parts.download("Report to print, HTML", partial(fleet_files.fleet_report, answer), f"{name}.html")
    delivery.files(answer.ordered, key="traffic")


