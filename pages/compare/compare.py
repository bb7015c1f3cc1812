"""Compare: one workload over every GPU, format, split and engine; the Pareto front and what it costs."""

import math
from functools import partial

import numpy as np
import pandas as pd
import streamlit as st

from core.answers import compare
from core.answers.advice import sentences
from core.answers.compare import Against, Field, Picks
from core.basics.units import GIB, MS_PER_S
from core.basics.words import counted
from core.delivery.export.comparison import (
    TITLES,
    comparison_csv,
    comparison_json,
    comparison_report,
    formats,
    front_picture,
    offers,
    ways,
)
from core.delivery.export.order import Order
from core.products.engines import ENGINES
from core.terms import Deployment, Workload
from pages.compare import prices
from pages.compare.compare_order import filters
from pages.shared import delivery, figures, parts

# -- the answer -------------------------------------------------------------------------------------


def headline(field: Field, found: Picks, shown: np.ndarray) -> None:
    """The cheapest that meets the targets, in one sentence, and what was compared."""
    met = int((field.meets_slo & shown).sum())
    with st.container(border=True, key="compare_verdict", gap="small"):
        badges = f":gray-badge[{counted(int(shown.sum()), 'deployment')} compared]"
        st.markdown((f":green-badge[:material/check: {met:,} meet{'s' if met == 1 else ''} the targets] " if met else
                     ":red-badge[:material/close: none meets the targets] ") + badges
                    + " :gray-badge[estimated]")
        st.header(_verdict(field, found, shown), anchor=False)
        st.caption(
            f"{figures.plain(field.spec.name)}, {sentences.asked(field.workload)}. US dollars without tax."
        )


def _verdict(field: Field, found: Picks, shown: np.ndarray) -> str:
    if found.cheapest is not None:
        row = found.cheapest
        return (f"Cheapest that meets the targets: {figures.plain(ways(field.deployments[row]))} at "
                f"\\{figures.dollars(float(field.usd_per_hour[row]))} per hour")
    if found.fastest is not None:
        return "Deployments meet the targets, but none of them has a listed price: type your own"
    fits = np.flatnonzero(field.fits & shown)
    if not fits.size:
        return "Nothing compared here holds this load: allow more GPUs, smaller formats or shorter requests"
    p, asked = field.prediction, field.workload
    miss = np.fmax(p.tpot_s.value / asked.tpot_slo_s, p.ttft_s.value / asked.ttft_slo_s)
    near = int(fits[np.argmin(miss[fits])])
    return (f"No deployment meets the targets. Closest: {figures.plain(ways(field.deployments[near]))}, with TTFT "
            f"{figures.ms(float(p.ttft_s.value[near]))} and TPOT {figures.ms(float(p.tpot_s.value[near]))}")


def cards(field: Field, found: Picks) -> None:
    """Cheapest, fastest, smallest."""
    named = {
        "Cheapest": (found.cheapest, "fewest dollars per hour"),
        "Fastest": (found.fastest, "most tokens/s for each user"),
        "Smallest": (found.smallest, "fewest GPUs, then least memory"),
    }
    with st.grid(3, min_column_width=260, gap="small"):
        for name, (row, what) in named.items():
            with st.container(border=True, height="stretch", gap="small", key=f"card {name}"):
                parts.section(name, f"Within the targets, {what}.")
                if row is None:
                    st.markdown("None.")
                else:
                    card(field, row, name)


def card(field: Field, row: int, name: str) -> None:
    """One layout: what it is, its figures, a way into Plan."""
    d = field.deployments[row]
    dollar = field.tokens_per_usd[row]
    st.markdown(
        f"**{figures.plain(ways(d))}**  \n{formats(d)}  \n"
        f"{_price(float(field.usd_per_hour[row]))} · {figures.three(float(field.tokens_per_s_per_user[row]))} tok/s "
        f"per user · TTFT {figures.ms(float(field.prediction.ttft_s.value[row]))} · "
        f"{figures.rate(float(field.tokens_per_s[row]))} in total"
        + (f" · {figures.three(float(dollar))} tok/s per \\$/hour" if math.isfinite(dollar) else "")
    )
    open_in_plan(d, field.workload, f"open {name}")


def _price(usd_per_hour: float) -> str:
    return "no listed price" if math.isnan(usd_per_hour) else f"\\{figures.dollars(usd_per_hour)} per hour"


def open_in_plan(d: Deployment, workload: Workload, key: str) -> None:
    """A button that makes a layout the question of the Plan page."""
    per_replica = math.ceil(workload.concurrency / d.dp)
    change = {
        "gpu": d.gpu.name, "gpus": str(d.tp * d.pp), "engine": d.engine, "weights": d.weights.name,
        "kv": d.kv_cache.name, "users": per_replica,
    }
    note = f"Opens one of its {d.dp} replicas with {per_replica:,} of the requests. " if d.dp > 1 else ""
    if d.pp > 1 or d.ep > 1:
        note += "Plan splits by tensors."
    if st.button(
        "Open in Plan", key=key, icon=":material/target:", on_click=parts.apply, args=(change,), help=note or None
    ):
        parts.go_to_plan()


# -- chart and table --------------------------------------------------------------------------------


def weighed() -> Against:
    """What speed for users is weighed against in the picture and its front."""
    said = st.segmented_control(
        "Weigh speed for users against", list(Against), default=Against.DOLLARS, required=True, key="against",
        bind="query-params", help="Energy is of the GPUs alone, estimated from their power limit and what limits them.",
    )
    return Against(said or Against.DOLLARS)


def picture(field: Field, rows: np.ndarray, on_front: np.ndarray, found: Picks, against: Against) -> None:
    """Speed for each user against tokens for each dollar or joule."""
    points = offers(field, map(int, rows), on_front, against)
    by_energy = against is Against.ENERGY
    unknown = "a known power limit" if by_energy else "a listed price"
    unpriced = len({field.deployments[row].gpu.name for row in rows} - {point.gpu for point in points.values()})
    with st.container(border=True, gap="small"):
        parts.section(
            f"Speed per user against {'tokens per joule' if by_energy else 'throughput per dollar'}",
            f"Blue: no other option is both faster and {'thriftier' if by_energy else 'cheaper'}"
            f"{', among those within the targets' if field.meets_slo[on_front].any() else ''} (the Pareto front). "
            "Grey: the rest, hollow where a target is missed."
            + (f" {counted(unpriced, 'GPU')} without {unknown}: in the table, not here." if unpriced else ""),
        )
        if not points:
            st.caption(f"Nothing here has {unknown}." + (
                "" if by_energy else " Type one in the sidebar, or pick another kind of price."))
            return
        parts.chart(
            front_picture(field, points, found, against),
            alt=f"Tokens per second per user against {TITLES[against].lower()}",
            key="pareto",
        )


def table(field: Field, rows: np.ndarray, on_front: np.ndarray, found: Picks) -> int | None:
    """Every GPU at its best; the row picked, else the cheapest."""
    names = {found.cheapest: "cheapest", found.fastest: "fastest", found.smallest: "smallest"}
    price = np.where(np.isnan(field.usd_per_hour), np.inf, field.usd_per_hour)
    first = list(names)
    order = sorted((int(row) for row in rows), key=lambda row: (
        first.index(row) if row in names else len(names), not on_front[row], not field.meets_slo[row], price[row],
        -field.tokens_per_s_per_user[row],
    ))
    with st.container(border=True, gap="small"):
        parts.section("Every GPU at its best", "Pick a row for its files and to open it in Plan. Sort by any column.")
        number = st.column_config.NumberColumn
        picked = st.dataframe(
            pd.DataFrame([_row(field, row, bool(on_front[row]), names.get(row, "")) for row in order]),
            hide_index=True, on_select="rerun", selection_mode="single-row", key="compare_table", height=420,
            alt="Deployments with their speed, price and formats", placeholder="–",
            column_config={
                "Pick": st.column_config.TextColumn(pinned=True, width="small"),
                "GPU": st.column_config.TextColumn(pinned=True),
                "tok/s per user": number(format="%.0f"), "TTFT, ms": number(format="%.0f"),
                "tok/s in total": number(format="%.0f"), "$ per hour": number(format="%.2f"),
                "tok/s per $": number(format="%.0f"), "$ per M tokens": number(format="%.3f"),
                "kWh per M tokens": number(format="%.2f", help="Of the GPUs alone, estimated; ranges are in the CSV."),
                "W per GPU": number(format="%.0f", help="Mean power under this load, estimated."),
                "GiB per GPU": number(format="%.0f"), "Loss, %": number(format="%.1f"),
                "Targets": st.column_config.CheckboxColumn(),
            },
        ).selection.rows
        name = figures.file_name(field.spec.name, "comparison")
        with st.container(horizontal=True):
            parts.download("Comparison, CSV", partial(comparison_csv, field, order, on_front), f"{name}.csv")
            parts.download("Comparison, JSON", partial(comparison_json, field, order, on_front), f"{name}.json")
            parts.download(
                "Report to print, HTML", partial(comparison_report, field, order, on_front, found), f"{name}.html"
            )
    if picked and picked[0] < len(order):
        return order[picked[0]]
    return next((row for row in (found.cheapest, found.fastest) if row is not None), None)


def _row(field: Field, row: int, on_front: bool, name: str) -> dict[str, object]:
    d, p, loss = field.deployments[row], field.prediction, field.losses[row]
    return {
        "Pick": name or ("on the front" if on_front else ""),
        "GPU": d.gpu.name, "GPUs": d.gpus, "Targets": bool(field.meets_slo[row]),
        "$ per hour": _finite(field.usd_per_hour[row]),
        "tok/s per user": float(field.tokens_per_s_per_user[row]),
        "tok/s per $": _finite(field.tokens_per_usd[row]),
        "TTFT, ms": float(p.ttft_s.value[row]) * MS_PER_S,
        "tok/s in total": float(field.tokens_per_s[row]),
        "$ per M tokens": _finite(field.usd_per_million[row]),
        "kWh per M tokens": _finite(field.kwh_per_million.value[row]),
        "W per GPU": _finite(p.watts_per_gpu.value[row]),
        "Weights": d.weights.label, "KV cache": d.kv_cache.name, "Engine": ENGINES[d.engine].label,
        "Loss, %": loss and 100 * loss.value, "Loss is": str(loss.basis) if loss else "no figure",
        "Parallelism": ways(d).partition(", ")[2],
        "GiB per GPU": d.gpu.memory_bytes / GIB, "Vendor": d.gpu.vendor,
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def take_away(field: Field, row: int) -> None:
    """The layout picked in the table: its figures and its files."""
    with st.container(border=True, gap="small", key="picked"):
        parts.section("Picked")
        card(field, row, "picked")
    delivery.files(Order(field.spec, field.workload, compare.choice_of(field, row)), key="picked")


def left_out(field: Field) -> None:
    """GPUs on which nothing runs, and why."""
    unfit = sorted({d.gpu.name for d in field.deployments} - {
        d.gpu.name for d, fits in zip(field.deployments, field.fits, strict=True) if fits
    })
    rows = [{"GPU": name, "Why not": why} for name, why in field.without.items()]
    rows += [{"GPU": name, "Why not": "the load does not fit on as many GPUs as may be tried"} for name in unfit]
    if rows:
        with st.expander(f"Left out: {counted(len(rows), 'GPU')}, and why", icon=":material/block:"):
            st.dataframe(rows, hide_index=True, alt="GPUs left out, with the reason")


field, shown = filters()
within = field.meets_slo & shown
found = compare.picks(field, within)
headline(field, found, shown)
if within.any():
    cards(field, found)
against = weighed()
on_front = compare.front(field, within if within.any() else field.fits & shown, against)
kept = np.zeros(len(field), bool)
kept[compare.shortlist(field, field.fits & shown)] = True
kept[[row for row in (found.cheapest, found.fastest, found.smallest) if row is not None]] = True
rows = np.flatnonzero(kept | on_front)
if rows.size:
    picture(field, rows, on_front, found, against)
    picked = table(field, rows, on_front, found)
    if picked is not None:
        take_away(field, picked)
left_out(field)
prices.show()
