"""A fleet that holds its traffic, to take away: JSON, CSV of the rates around it, one printable page."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isnan
from typing import Final

from core.answers import cost
from core.answers.advice.sentences import hardware
from core.answers.traffic import Bill, Effect, Fleet, Hour, Percentiles, Question, RatePoint, Service, Split, bill
from core.basics.units import MS_PER_S
from core.basics.words import counted, dollars, ms, number
from core.delivery import charts
from core.delivery.export.launch import command
from core.delivery.export.order import Order
from core.delivery.export.page import Figure, Page, Picture, Table, render, svg
from core.delivery.export.tables import finite, known, safe
from core.products.engines import launched
from core.terms import Deployment

_TIMES: Final = ("ttft", "tpot", "latency")


@dataclass(frozen=True)
class Answer:
    """What was found for a question; what was not looked for stays empty."""

    question: Question
    ordered: Order                      # the fleet worth running
    fleet: Fleet
    points: Sequence[RatePoint] = ()
    hours: Sequence[Hour] = ()
    splits: Sequence[Split] = ()
    effects: Sequence[Effect] = ()

    @property
    def price(self) -> float | None:
        """USD per GPU and hour; None where nobody lists one."""
        return cost.price_of(self.question.deployment.gpu)[0]

    def bill(self, replicas: float) -> Bill | None:
        """What so many replicas cost at the traffic asked for."""
        if self.price is None:
            return None
        d = self.question.deployment
        return bill(replicas, d.gpus, self.price, self.fleet.service.output_tokens_per_s)

    @property
    def sentence(self) -> str:
        """The answer in one sentence."""
        q, fleet = self.question, self.fleet
        paid = self.bill(fleet.to_buy)
        money = "" if paid is None else f", {dollars(paid.per_hour)} per hour"
        served = f"{q.spec.name} ({q.deployment.weights.label}, {hardware(q.deployment)})"
        why = "those you have" if q.replicas == fleet.to_buy else (
            f"which hold {_share(q.headroom)} more traffic, with one spare (N+1)")
        return (
            f"{_count(fleet.needed)} of {served} hold{'s' if fleet.needed == 1 else ''} the targets for "
            f"{_share(q.slo.share)} of {number(q.trace.requests_per_s)} requests/s; run {fleet.to_buy:,}, {why}"
            f"{money}."
        )


def fleet_json(answer: Answer) -> str:
    """Everything found, with what was asked and what the price rests on."""
    q, fleet = answer.question, answer.fleet
    document = {
        "sentence": answer.sentence, "basis": "estimated by simulation", "requests_simulated": fleet.service.requests,
        "asked": {
            "model": q.spec.name, **_deployed(q.deployment), "requests": len(q.trace),
            "duration_s": q.trace.duration_s, "requests_per_s": q.trace.requests_per_s,
            "mean_input_tokens": float(q.trace.input_tokens.mean()),
            "mean_output_tokens": float(q.trace.output_tokens.mean()), "slo": asdict(q.slo), "headroom": q.headroom,
            "options": asdict(q.options),
        },
        "fleet": {"needed": fleet.needed, "with_headroom": fleet.with_headroom, "to_buy": fleet.to_buy,
                  "served": asdict(fleet.service)},
        "cost_usd": {
            "per_gpu_hour": answer.price, "source": cost.price_of(q.deployment.gpu)[1],
            **{name: None if paid is None else asdict(paid) for name, paid in (
                ("needed", answer.bill(fleet.needed)), ("to_buy", answer.bill(fleet.to_buy)))},
        },
        "rates": [{"requests_per_s": p.requests_per_s, "needed": p.needed, "served": asdict(p.service)}
                  for p in answer.points],
        "autoscaled": [asdict(hour) for hour in answer.hours],
        "splits": [asdict(split) for split in answer.splits],
        "effects": [asdict(effect) for effect in answer.effects],
        "tried": [asdict(service) for service in fleet.tried],
    }
    return json.dumps(finite(document), indent=1, ensure_ascii=False)


def rates_csv(answer: Answer) -> str:
    """A row a rate: what the fleet of the answer does there, what that rate would need and cost."""
    rows = [_rate_row(answer, point) for point in answer.points]
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["model"], lineterminator="\n")
    writer.writeheader()
    for row in rows:
        writer.writerow({name: safe(value) for name, value in row.items()})
    return text.getvalue()


def _rate_row(answer: Answer, point: RatePoint) -> dict[str, object]:
    q, service = answer.question, point.service
    row: dict[str, object] = {
        "model": q.spec.name, **_deployed(q.deployment), "requests_per_s": point.requests_per_s,
        "replicas": service.replicas, "replicas_needed": point.needed, "within_targets": service.within_slo,
        "holds": service.holds(q.slo), "goodput_per_s": service.goodput_per_s,
        "output_tokens_per_s": service.output_tokens_per_s,
    }
    for name in _TIMES:
        times: Percentiles = getattr(service, name)
        row |= {f"{name}_{p}_ms": getattr(times, p) * MS_PER_S for p in ("p50", "p90", "p99")}
    paid = answer.bill(point.needed) if point.needed else None
    row |= {"kv_occupancy": service.kv_occupancy, "longest_queue": service.waiting_peak, "refused": service.refused,
            "needed_usd_per_hour": None if paid is None else paid.per_hour}
    return {name: known(value) for name, value in row.items()}


def _deployed(d: Deployment) -> dict[str, object]:
    return {"gpu": d.gpu.name, "gpus_per_replica": d.gpus, "tp": d.tp, "engine": d.engine, "weights": d.weights.name,
            "kv_cache": d.kv_cache.name}


# -- the page to print --------------------------------------------------------------------------------


def fleet_report(answer: Answer) -> str:
    """The answer as an HTML page."""
    q = answer.question
    tables = [_rates(answer), _hours(answer), _splits(answer), _effects(answer)]
    launch = command(answer.ordered).text() if answer.ordered.engine in launched() else ""
    return render(Page(
        title=f"{q.spec.name} at {number(q.trace.requests_per_s)} requests/s", sentence=answer.sentence,
        asked=_asked(q), figures=_figures(answer), charts=_charts(answer), launch=launch,
        tables=[table for table in tables if table.rows],
        sources=f"Simulated: {answer.fleet.service.requests:,} of {counted(len(q.trace), 'request')}, the engine's "
            f"scheduler step by step. Model: {q.spec.source}. GPU: {q.deployment.gpu.source}. Price: "
            f"{cost.price_of(q.deployment.gpu)[1]}",
    ))


def _asked(q: Question) -> str:
    trace = q.trace
    prompt, answer = (number(float(tokens.mean())) for tokens in (trace.input_tokens, trace.output_tokens))
    return (f"{counted(len(trace), 'request')} in {trace.duration_s / 60:,.3g} minutes, {prompt} + {answer} tokens "
        f"on average; {_share(q.slo.share)} of them with TTFT within {ms(q.slo.ttft_s)} and TPOT within "
        f"{ms(q.slo.tpot_s)}.")


def _figures(answer: Answer) -> list[Figure]:
    service, fleet = answer.fleet.service, answer.fleet
    figures = [
        Figure(f"{label} p99", "estimated", ms(times.p99), f"p50 {ms(times.p50)}, p90 {ms(times.p90)}")
        for label, times in (("TTFT", service.ttft), ("TPOT", service.tpot), ("End to end", service.latency))
    ]
    figures.append(Figure("Goodput", "estimated", f"{number(service.goodput_per_s)}/s",
                          f"{_share(service.within_slo)} in time"))
    paid, least = answer.bill(fleet.to_buy), answer.bill(fleet.needed)
    if paid is not None and least is not None:
        figures += [
            Figure(name, "estimated", dollars(much), f"{dollars(little)} with {fleet.needed:,}")
            for name, much, little in (
                ("Per month", paid.per_month, least.per_month),
                ("Per M output tokens", paid.per_million_output_tokens, least.per_million_output_tokens))
        ]
    return figures


def _charts(answer: Answer) -> list[Picture]:
    q, points = answer.question, answer.points
    if not points:
        return []
    rates = [point.requests_per_s for point in points]
    drawn = []
    for name, slo_s, title in (("ttft", q.slo.ttft_s, "TTFT, ms"), ("tpot", q.slo.tpot_s, "TPOT, ms")):
        times = [getattr(point.service, name) for point in points]
        if all(isnan(t.p99) for t in times):        # answers of one token have no time per token
            continue
        spec = charts.percentiles_over_rate(
            rates, *([getattr(t, p) * MS_PER_S for t in times] for p in ("p50", "p90", "p99")),
            title=title, slo_ms=slo_s * MS_PER_S, asked=q.trace.requests_per_s,
        )
        says = f"{title.partition(',')[0]} of {_count(points[0].service.replicas)} by requests per second."
        drawn.append(Picture(svg(spec), says))
    return drawn


def _rates(answer: Answer) -> Table:
    rows = []
    for point in answer.points:
        paid = answer.bill(point.needed) if point.needed else None
        rows.append((
            number(point.requests_per_s), _share(point.service.within_slo), ms(point.service.ttft.p99),
            ms(point.service.tpot.p99), f"{point.needed:,}" if point.needed else "–",
            "–" if paid is None else dollars(paid.per_hour),
        ))
    return Table("Other rates", ("Requests/s", "In time", "TTFT p99", "TPOT p99", "Replicas needed", "USD per hour"),
                 rows, numbers=range(6))


def _hours(answer: Answer) -> Table:
    if not answer.hours:
        return Table("", (), ())
    mean = sum(hour.replicas for hour in answer.hours) / len(answer.hours)
    least, fixed = answer.bill(mean), answer.bill(answer.fleet.needed)
    money = ("", "") if least is None or fixed is None else (dollars(least.per_month), dollars(fixed.per_month))
    return Table("Following the load, or a fixed fleet", ("", "Replicas", "USD per month"), [
        ("a scaler that foresees, on average", f"{mean:,.3g}", money[0]),
        ("fixed", f"{answer.fleet.needed:,}", money[1]),
    ], numbers=(1, 2))


def _splits(answer: Answer) -> Table:
    return Table("Prefill and decode on the same replicas", ("Replicas", "In time", "TTFT p99", "TPOT p99"), [
        ("together" if not split.prefill else f"{split.prefill} prefill + {split.decode} decode",
         _share(split.service.within_slo), ms(split.service.ttft.p99), ms(split.service.tpot.p99))
        for split in answer.splits
    ], numbers=(1, 2, 3))


def _effects(answer: Answer) -> Table:
    return Table("What each option does", ("Option", "TTFT p50", "TPOT p50", "In time", ""), [
        (effect.name, *(f"{write(pick(effect.without))} → {write(pick(effect.service))}" for write, pick in (
            (ms, _ttft), (ms, _tpot), (_share, _within))), effect.note)
        for effect in answer.effects
    ])


def _ttft(service: Service) -> float:
    return service.ttft.p50


def _tpot(service: Service) -> float:
    return service.tpot.p50


def _within(service: Service) -> float:
    return service.within_slo


def _count(replicas: int) -> str:
    return f"{replicas:,} replica{'' if replicas == 1 else 's'}"


def _share(part: float) -> str:
    return f"{100 * part:.4g} %"
