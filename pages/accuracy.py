"""Accuracy: how far the estimates have been from published figures."""

import pandas as pd
import streamlit as st

from core.basics import sources as public
from core.basics.units import MS_PER_S
from core.calibration import track_record
from core.calibration.published import SOURCES
from core.calibration.track_record import Errors, TrackRecord
from core.delivery import charts
from core.delivery.charts.style import GREY
from core.physics import speed
from core.products.formats import FORMATS
from pages.shared import parts

METRICS = {"tpot": "TPOT", "ttft": "TTFT", "throughput": "Tokens/s"}
UNITS = {"tpot": (MS_PER_S, "ms"), "ttft": (MS_PER_S, "ms"), "throughput": (1.0, "output tokens/s per GPU")}
KINDS = {"gpu": "GPU", "weights": "Weights", "engine": "Engine"}
LEVELS = {
    "load": "Load", "engine": "Engine", "kernel": "Matmul kernels", "architecture": "GPU generation",
    "sparsity": "Layers", "layout": "GPUs",
}
FEWEST = 5       # cases; fewer say little


def headline(record: TrackRecord) -> None:
    """The errors people ask for, in one row."""
    with st.container(border=True, gap="small"):
        tpot = record.errors("tpot")
        within = f"{100 * tpot.median:.0f} %"
        st.header(f"Half of all TPOT estimates are within {within} of the published value", anchor=False)
        st.caption(
            "Cross-validated: every published figure is estimated with constants that were fitted without its model "
            "architecture on its GPU, so these are errors on unseen cases. In sample: with the constants we ship, "
            "whose fit saw it."
        )
        held = ", ".join(f"{100 * record.coverage[metric]:.0f} % of {name}" for metric, name in METRICS.items())
        st.markdown(
            f"The ranges, meant to hold 80 %, hold {held} on unseen cases. Choosing by our estimate "
            f"costs {100 * record.regret['formats']:.1f} % of throughput on average for the format and "
            f"{100 * record.regret['layouts']:.1f} % for the layout, against the best published."
        )
        hardest, napkin = (record.beside[name] for name in ("source", "napkin"))
        strangers = ", ".join(
            f"{100 * hardest[metric].median:.0f} % ({name}; back of a napkin: {100 * napkin[metric].median:.0f} %)"
            for metric, name in METRICS.items()
        )
        st.markdown(
            f"Where a whole source was left out of the fit, half are within {strangers}. The napkin divides the bytes "
            "read by 0.7 of the bandwidth, and FLOPs by half the peak."
        )
        known = {"same layout": "one measured load, whichever it is", "1 chosen": "one that tells most of the others",
                 "8 chosen": "eight such"}
        left = "; ".join(
            f"with {words} " + ", ".join(f"{100 * record.anchored[key][metric].median:.0f} % ({name})"
                                         for metric, name in METRICS.items())
            for key, words in known.items() if key in record.anchored
        )
        st.markdown(f"One measurement of a deployment goes far. Half of its other loads are then within: {left}.")
    with st.grid(3, min_column_width=220, gap="small"):
        for metric, name in METRICS.items():
            unseen, seen = record.errors(metric), record.errors(metric, in_sample=True)
            st.metric(
                f"{name}, median error",
                f"{100 * unseen.median:.1f} %",
                delta=f"9 of 10 within {100 * unseen.p90:.0f} %; in sample {100 * seen.median:.1f} and "
                f"{100 * seen.p90:.0f} %",
                delta_color="off",
                delta_arrow="off",
                border=True,
                help=f"|estimate / published − 1| over {unseen.cases:,} published figures, cross-validated.",
            )


@st.fragment
def scatter(record: TrackRecord) -> None:
    """Predicted against measured."""
    with st.container(border=True, gap="small"):
        parts.section("Estimated against published", "Each dot is a published figure; hover for its source.")
        with st.container(horizontal=True):
            metric = st.segmented_control(
                "Figure", list(METRICS), default="tpot", required=True, key="accuracy_figure", bind="query-params",
                format_func=METRICS.get,
            ) or "tpot"
            kind = st.segmented_control(
                "Colour", list(KINDS), default="gpu", required=True, key="accuracy_colour", bind="query-params",
                format_func=KINDS.get,
            ) or "gpu"
        points = record.points[metric]
        scale, unit = UNITS[metric]
        spec, hues = charts.predicted_against_measured(points, kind, scale=scale, unit=unit)
        parts.chart(
            spec, alt=f"{METRICS[metric]} estimated against published, {len(points.measured):,} cases", key="scatter"
        )
        entries = [(_name(kind, name), hue, 1.0) for name, hue in hues.items()]
        parts.legend([*entries, ("others", GREY, 1.0)])


@st.fragment
def tables(record: TrackRecord) -> None:
    """Errors by GPU, format and engine."""
    with st.container(border=True, gap="small"):
        parts.section(
            "Errors by GPU, format and engine",
            "Cross-validated, in %: the median, what 9 of 10 are within, and how many cases. Groups of at least "
            f"{FEWEST} cases.",
        )
        kind = st.segmented_control(
            "By", list(KINDS), default="gpu", required=True, key="accuracy_by", bind="query-params",
            format_func=KINDS.get, label_visibility="collapsed",
        ) or "gpu"
        known = {metric: record.by(metric, kind) for metric in METRICS}
        names = dict.fromkeys(name for scores in known.values() for name in scores)
        rows = [_row(KINDS[kind], _name(kind, name), [known[metric].get(name) for metric in METRICS]) for name in names]
        table = pd.DataFrame([row for row in rows if len(row) > 1])
        st.dataframe(
            table, hide_index=True, placeholder="–", alt=f"Errors by {KINDS[kind]}",
            column_config={
                name: st.column_config.NumberColumn(format="%.0f")
                for name in table.columns if name != KINDS[kind]
            },
        )


@st.fragment
def ranges() -> None:
    """Why a range is as wide as it is."""
    with st.container(border=True, gap="small"):
        parts.section(
            "Why a range is this wide",
            "A range is meant to hold 80 % of the published figures of its kind. It is learnt from cross-validated "
            "errors: a usual width times one factor for each of the following, and wider where nothing of the kind was "
            "published. The table shows how far it reaches above the estimate, in %, with all else as usual.",
        )
        level = st.segmented_control(
            "Told apart by", list(LEVELS), default="load", required=True, key="accuracy_range", bind="query-params",
            format_func=LEVELS.get, label_visibility="collapsed",
        ) or "load"
        st.dataframe(
            [
                {LEVELS[level]: _kind(level, width.label)}
                | {name: 100 * width.above[metric] for metric, name in METRICS.items()}
                for width in speed.widths() if width.level == level
            ],
            hide_index=True, alt=f"Width of ranges by {LEVELS[level]}",
            column_config={name: st.column_config.NumberColumn(format="+%.0f", width="small")
                           for name in METRICS.values()},
        )
        st.caption(
            "Measuring one case narrows the ranges near it: paste a benchmark result under the plan, or probe the GPU."
        )


def _row(kind: str, name: str, scores: list[Errors | None]) -> dict[str, object]:
    """Cases, median and 9 of 10 of every metric that has enough of them."""
    row: dict[str, object] = {kind: name}
    for label, score in zip(METRICS.values(), scores, strict=True):
        if score is not None and score.cases >= FEWEST:
            row |= {label: 100 * score.median, f"{label} 9/10": 100 * score.p90, f"{label} cases": score.cases}
    return row


def sources(record: TrackRecord) -> None:
    """Where the published figures come from, and how to make the numbers again."""
    with st.expander(f"{len(record.sources)} sources of the published figures", icon=":material/menu_book:"):
        st.dataframe(
            [
                {"Source": SOURCES[name].where, "Figures": count, "Link": public.address(SOURCES[name].where)}
                for name, count in record.sources.items()
            ],
            placeholder="",
            hide_index=True, alt="Sources with the number of figures from each",
            column_config={"Link": st.column_config.LinkColumn(display_text="open")},
        )
    st.caption(
        f"Two formats, all else equal: 80 % of TPOT ratios are estimated within {100 * record.format_ratio:.0f} %. "
        "`make accuracy` makes all of this from assets/published.csv."
    )


def _kind(level: str, label: str) -> str:
    """A kind of case in words."""
    return f"Compute capability {label}" if level == "architecture" and label[0].isdigit() else label


def _name(kind: str, name: str) -> str:
    return FORMATS[name].label if kind == "weights" and name in FORMATS else name


record = track_record.read()
headline(record)
scatter(record)
tables(record)
ranges()
sources(record)
