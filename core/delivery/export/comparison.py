"""A comparison as CSV, JSON and one printable page: a row a layout, with ranges, prices and where they come from."""

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from core.answers.advice.sentences import asked
from core.answers.compare import Against, Field, Picks, worth
from core.basics.units import GIB, MS_PER_S
from core.basics.words import dollars, ms, number
from core.delivery.charts import Spec
from core.delivery.charts.pareto import Offer, pareto
from core.delivery.export.page import WIDE_PX, Figure, Page, Picture, Table, render, svg
from core.delivery.export.tables import known, safe
from core.products.engines import ENGINES
from core.terms import ASKED, Deployment

_PRINTED_ROWS: Final = 14
TITLES: Final = {Against.DOLLARS: "Tokens/s for each $ an hour", Against.ENERGY: "Tokens for each joule"}


def comparison_rows(field: Field, rows: Sequence[int], on_front: Sequence[bool]) -> Iterator[dict[str, Any]]:
    """The layouts of some rows of a field; None for what nobody knows."""
    p = field.prediction
    for row in rows:
        d = field.deployments[row]
        cells: dict[str, Any] = {
            "model": field.spec.name, "gpu": d.gpu.name, "vendor": d.gpu.vendor, "gpus": d.gpus, "tp": d.tp, "pp": d.pp,
            "ep": d.ep, "dp": d.dp, "engine": d.engine, "weights": d.weights.name, "kv_cache": d.kv_cache.name,
            **field.workload.filed(ASKED), "fits": bool(field.fits[row]), "meets_slo": bool(field.meets_slo[row]),
            "on_front": bool(on_front[row]),
            "memory_gib_per_gpu": d.gpu.memory_bytes / GIB,
            "usd_per_hour": field.usd_per_hour[row], "price_source": d.gpu.price_source,
            "tokens_per_s_per_user": field.tokens_per_s_per_user[row],
            "output_tokens_per_s": field.tokens_per_s[row],
            "tokens_per_s_per_usd_per_hour": field.tokens_per_usd[row],
            "usd_per_million_output_tokens": field.usd_per_million[row],
            "watts_per_gpu": p.watts_per_gpu.value[row], "output_tokens_per_joule": field.tokens_per_joule[row],
            "kwh_per_million_output_tokens": field.kwh_per_million.value[row],
            "kwh_per_million_output_tokens_low": field.kwh_per_million.low[row],
            "kwh_per_million_output_tokens_high": field.kwh_per_million.high[row],
        }
        for name, span in (("ttft_ms", p.ttft_s), ("tpot_ms", p.tpot_s)):
            for end, column in (("", span.value), ("_low", span.low), ("_high", span.high)):
                cells[f"{name}{end}"] = column[row] * MS_PER_S
        loss = field.losses[row]
        cells |= {"quality_loss": loss and loss.value, "quality_loss_low": loss and loss.low,
                  "quality_loss_high": loss and loss.high, "quality_loss_basis": str(loss.basis) if loss else "",
                  "quality_source": loss.source if loss else "", "basis": "estimated"}
        yield {name: known(value) for name, value in cells.items()}


def comparison_csv(field: Field, rows: Sequence[int], on_front: Sequence[bool]) -> str:
    """As CSV that no spreadsheet takes for formulas."""
    text = io.StringIO()
    listed = list(comparison_rows(field, rows, on_front))
    writer = csv.DictWriter(text, list(listed[0]) if listed else ["model"], lineterminator="\n")
    writer.writeheader()
    for cells in listed:
        writer.writerow({name: safe(value) for name, value in cells.items()})
    return text.getvalue()


def comparison_json(field: Field, rows: Sequence[int], on_front: Sequence[bool]) -> str:
    """As JSON, with the accelerators that were left out and why."""
    return json.dumps({"deployments": list(comparison_rows(field, rows, on_front)), "left_out": field.without},
                      indent=1, ensure_ascii=False)


# -- pictures and the page to print -------------------------------------------------------------------


def ways(d: Deployment) -> str:
    """ "2 × L40S, dp 2"."""
    split = {"tp": d.tp, "pp": d.pp, "ep": d.ep, "dp": d.dp}
    parts = " ".join(f"{name} {degree}" for name, degree in split.items() if degree > 1)
    return f"{d.gpus} × {d.gpu.name}" + (f", {parts}" if parts else "")


def formats(d: Deployment) -> str:
    """ "FP8 weights, BF16 cache, vLLM"."""
    return f"{d.weights.label} weights, {d.kv_cache.name.upper()} cache, {ENGINES[d.engine].label}"


def offers(
    field: Field, rows: Iterable[int], on_front: Sequence[bool], against: Against = Against.DOLLARS
) -> dict[int, Offer]:
    """The rows that have a price, or a power limit, as points of the picture."""
    good = worth(field, against)
    return {
        row: Offer(
            user=float(field.tokens_per_s_per_user[row]), good=float(good[row]),
            gpu=field.deployments[row].gpu.name, gpus=field.deployments[row].gpus,
            what=f"{ways(field.deployments[row])}; {formats(field.deployments[row])}",
            usd_per_hour=float(field.usd_per_hour[row]), meets=bool(field.meets_slo[row]), on_front=bool(on_front[row]),
        )
        for row in rows if math.isfinite(good[row])
    }


def front_picture(
    field: Field, points: Mapping[int, Offer], found: Picks, against: Against = Against.DOLLARS
) -> Spec:
    """Speed for each user against tokens for each dollar or joule, the cheapest and the fastest marked."""
    marked = [
        (points[row], word) for word, row in (("cheapest", found.cheapest), ("fastest", found.fastest))
        if row is not None and row in points
    ]
    return pareto(list(points.values()), marked, target=1 / field.workload.tpot_slo_s, title=TITLES[against])


def comparison_report(field: Field, rows: Sequence[int], on_front: Sequence[bool], found: Picks) -> str:
    """As an HTML page: the picks, the picture, and as many rows as a page has room for, in the order given."""
    points = offers(field, rows, on_front)
    picked = [(name, row) for name, row in (
        ("Cheapest", found.cheapest), ("Fastest", found.fastest), ("Smallest", found.smallest)) if row is not None]
    best = f"{picked[0][0]} within the targets: {ways(field.deployments[picked[0][1]])}." if picked else (
        "Nothing compared keeps the targets.")
    shown = rows[:_PRINTED_ROWS]
    return render(Page(
        title=f"{field.spec.name}: {len(field):,} deployments compared", sentence=best,
        asked=f"{asked(field.workload)}.",
        figures=[Figure(name, "", ways(field.deployments[row]), _figures_of(field, row)) for name, row in picked],
        charts=[Picture(svg(front_picture(field, points, found), WIDE_PX),
                        "Tokens/s per user against tokens/s per USD/hour; blue: no other option is both faster and "
                        "cheaper.",
                        wide=True)] if points else [],
        tables=[Table(f"{len(shown)} of {len(rows)} rows; all are in the CSV", _HEAD,
                      [_printed(field, row, bool(on_front[row])) for row in shown], numbers=(2, 3, 4, 5, 6))],
        sources=f"Model: {field.spec.source}. Prices: the source of each is in the CSV. All figures are estimated.",
    ))


_HEAD: Final = ("Hardware", "Formats, engine", "USD per hour", "Tokens/s per user", "Tokens/s in total", "TTFT",
                "Tokens/s per USD/hour", "Targets")


def _figures_of(field: Field, row: int) -> str:
    paid = float(field.usd_per_hour[row])
    price = f"{dollars(paid)} per hour" if math.isfinite(paid) else "no listed price"
    speed = number(float(field.tokens_per_s_per_user[row]))
    return f"{formats(field.deployments[row])}; {price}, {speed} tok/s per user"


def _printed(field: Field, row: int, front: bool) -> tuple[str, ...]:
    d, paid = field.deployments[row], float(field.usd_per_hour[row])
    return (
        ways(d) + (" (front)" if front else ""), formats(d), dollars(paid) if math.isfinite(paid) else "–",
        number(float(field.tokens_per_s_per_user[row])), number(float(field.tokens_per_s[row])),
        ms(float(field.prediction.ttft_s.value[row])), number(float(field.tokens_per_usd[row])),
        "kept" if field.meets_slo[row] else "missed",
    )
