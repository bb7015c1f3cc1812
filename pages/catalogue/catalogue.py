"""Catalogue: models, GPUs, formats and prices with their sources, and the visitor's own."""

from collections.abc import Sequence
from functools import partial

import pandas as pd
import streamlit as st

from core.basics.sources import address
from core.basics.units import GB, GIB, TERA
from core.products import gpus
from core.products.engines import ENGINES, usual
from core.products.formats import FORMATS, KV_FORMATS, find_kv
from core.products.gpus import GpuSpec
from core.products.support import runs_on
from core.reading import catalogue, meant
from core.reading.written import as_asked
from pages.catalogue import model_card, own
from pages.shared import cards, inputs, keeping, parts

VIEWS = ("Models", "GPUs", "Formats", "Prices", "Your own")
EXAMPLES = {"Models": "qwen moe", "GPUs": "blackwell", "Formats": "int4", "Prices": "h100 on-demand"}
TABLE_PX = 360
SHOWN_CONTEXT = 8_192           # tokens at which caches are compared


def found(text: str, query: str) -> bool:
    """Whether a row's text holds every word of the query."""
    return all(word in text.lower() for word in query.lower().split())


def picked(names: Sequence[str], table: str, card: str) -> None:
    """A click on a row: its card is shown below."""
    rows = st.session_state[table].selection.rows
    if rows:
        st.session_state[card] = names[rows[0]]


def table(frame: pd.DataFrame, *, key: str, card: str, columns: dict[str, object], alt: str) -> None:
    """A searchable list; a click on a row opens the card of what its first column names."""
    names = frame.iloc[:, 0].tolist()
    if not names:
        st.info("Nothing matches. Try fewer letters, or add your own under **Your own**.")
        return
    st.dataframe(
        frame, hide_index=True, height=TABLE_PX if len(names) > 9 else "auto", key=key, alt=alt,
        placeholder="", column_config=columns, selection_mode="single-row", on_select=partial(picked, names, key, card),
    )


# -- models -----------------------------------------------------------------------------------------


@st.cache_resource(show_spinner=False)
def _model_rows() -> tuple[tuple[str, dict[str, object]], ...]:
    """(what a search looks through, row) of every bundled model."""
    kv = find_kv("bf16")
    rows = []
    for card in catalogue.models():
        spec = catalogue.load(card.name)
        one = float(spec.kv_bytes(SHOWN_CONTEXT, kv)) + spec.state_bytes() if spec else None
        row = {
            "Model": card.name, "Family": card.family, "Parameters": card.total_params / 1e9,
            "Active": card.active_params / 1e9, "Cache at 8K": one and one / 2**20, "Context": card.max_context,
            "Ships as": FORMATS[card.shipped].label if card.shipped else "16 bits",
            "Copies": len(_repositories(card)), "Checked": "not yet" if card.is_recalled else "yes",
            "Source": address(card.source),
        }
        rows.append((" ".join((card.name, card.family, *card.aliases)), row))
    return tuple(rows)


def models(query: str) -> None:
    number = st.column_config.NumberColumn
    rows = [row for text, row in _model_rows() if found(text, query)] or _meant(query)
    table(
        pd.DataFrame(rows, columns=list(_model_rows()[0][1])), key="model_table", card="card",
        alt="Bundled models with parameters, cache, context and source",
        columns={
            "Model": st.column_config.TextColumn(width=290),
            "Parameters": number(format="%.2f B", help="Everything in memory, vision towers included."),
            "Active": number(format="%.2f B", help="What one token runs through."),
            "Cache at 8K": number(format="%,.0f MiB", help="KV cache and state of one request of 8,192 tokens, BF16."),
            "Context": number(format="%,d", help="Tokens the model was made for."),
            "Copies": number(help="Other repositories with the same matrices: fine-tunes and quantised versions."),
            "Checked": st.column_config.TextColumn(
                help="Whether the configuration was read from a repository. Of the others the parameters agree with "
                     "the published total; `sweetspot catalogue refresh` compares them with the Hub."),
            "Source": cards.SOURCE,
        },
    )
    names = [*dict.fromkeys([*keeping.own_models(), *(card.name for card in catalogue.models())])]
    asked = inputs.asked().model
    name = st.selectbox(
        "Model card", names, index=names.index(asked) if asked in names else 0, key="card", bind="query-params",
        help="Pick a row above, or type a name.",
    )
    model_card.show(name or names[0], _copies(name or names[0]), inputs.asked().workload.context_tokens)


def _meant(query: str) -> list[dict[str, object]]:
    """The row a short name such as llama2-7b stands for, where no name holds its words."""
    spec = meant.guess(as_asked(query))
    return [row for text, row in _model_rows() if spec is not None and spec.name in text.split()][:1]


def _copies(name: str) -> tuple[str, ...]:
    return next((_repositories(card) for card in catalogue.models() if card.name == name), ())


def _repositories(card: catalogue.Card) -> tuple[str, ...]:
    """The other Hub ids of a model: short names and tags are none."""
    return tuple(alias for alias in card.aliases if "/" in alias)


# -- GPUs -------------------------------------------------------------------------------------------


def _gpu_row(gpu: GpuSpec) -> dict[str, object]:
    peaks = {label: gpu.flops.get(dtype) for label, dtype in (("FP16", "fp16"), ("FP8", "fp8"), ("FP4", "fp4"))}
    return {
        "GPU": gpu.name, "Generation": gpu.architecture,
        "Memory": gpu.memory_bytes / GIB, "Bandwidth": gpu.bandwidth_bytes_per_s / GB,
        **{label: None if peak is None else peak / TERA for label, peak in peaks.items()},
        "Power": gpu.tdp_w, "Year": gpu.release_year, "$ per hour": gpu.price_usd_per_hour, "Peaks": gpu.basis,
        "Source": address(gpu.source),
    }


def _newest_first(gpu: GpuSpec) -> int:
    """Years downwards, unknown and announced ones last; the visitor's own at the top."""
    if gpu.name in keeping.own_gpus():
        return -9_999
    return 0 if gpu.announced else -(gpu.release_year or 0)


def all_gpus() -> dict[str, GpuSpec]:
    return {**{gpu.name: gpu for gpu in gpus.catalogue()}, **keeping.own_gpus()}


def gpu_list(query: str) -> None:
    number = st.column_config.NumberColumn
    known = all_gpus()
    rows = [
        _gpu_row(gpu) for gpu in sorted(known.values(), key=_newest_first)
        if found(" ".join((gpu.name, gpu.vendor, gpu.architecture, *gpu.aliases)), query)
    ]
    tflops = number(format="%,.0f", help="Dense TFLOPS.")
    table(
        pd.DataFrame(rows, columns=list(_gpu_row(gpus.catalogue()[0]))), key="gpu_table", card="gpu_card",
        alt="GPUs with memory, bandwidth, peaks, price and source",
        columns={
            "GPU": st.column_config.TextColumn(width=230),
            "Memory": number(format="%.1f GiB", help="What the driver lets an engine see."),
            "Bandwidth": number(format="%,.0f GB/s"), "FP16": tflops, "FP8": tflops, "FP4": tflops,
            "Power": number(format="%,d W"), "Year": number(format="%d"), "$ per hour": number(format="%.2f"),
            "Source": cards.SOURCE,
        },
    )
    names = list(known)
    asked = inputs.asked().gpu
    name = st.selectbox(
        "GPU card", names, index=names.index(asked) if asked in names else 0, key="gpu_card", bind="query-params",
        help="Pick a row above, or type a name.",
    )
    cards.gpu(known[name or names[0]])


# -- formats ----------------------------------------------------------------------------------------


def _engine() -> str:
    """The engine of the sidebar, or the usual one on its GPU."""
    return inputs.asked().engine or usual(inputs.asked().gpu)


def formats(query: str) -> None:
    engine = st.selectbox(
        "Engine", list(ENGINES), index=list(ENGINES).index(_engine()), key="format_engine", width=320,
        format_func=lambda name: ENGINES[name].label, help="Kernels are an engine's: the answer differs between them.",
    )
    rows = [
        {
            "Name": fmt.name, "Format": fmt.label, "Bits": fmt.bits_per_weight, "Multiplied in": fmt.compute.upper(),
            "Stores": cards.SCOPES[fmt.scope], "Runs on": runs_on(fmt, engine) or "–",
            "Source": address(fmt.source),
        }
        for fmt in FORMATS.values()
        if found(f"{fmt.name} {fmt.label} {fmt.compute}", query)
    ]
    table(
        pd.DataFrame(rows, columns=["Name", "Format", "Bits", "Multiplied in", "Stores", "Runs on", "Source"]),
        key="format_table", card="format_card", alt="Weight formats with bits per weight and where they run",
        columns={
            "Bits": st.column_config.NumberColumn(format="%.3f", help="Per weight, scales and zero points included."),
            "Runs on": st.column_config.TextColumn(width=310, help="GPU generations with kernels worth deploying."),
            "Source": cards.SOURCE,
        },
    )
    name = st.selectbox(
        "Format card", list(FORMATS), key="format_card", bind="query-params",
        format_func=lambda name: FORMATS[name].label, index=list(FORMATS).index("fp8"),
        help="Pick a row above, or type a name.",
    )
    cards.weight_format(FORMATS[name or "fp8"], engine or _engine(), parts.current_gpu())
    cards.kv_formats(KV_FORMATS.values(), engine or _engine(), parts.current_gpu())


# -- prices -----------------------------------------------------------------------------------------


def prices(query: str) -> None:
    quotes = [
        quote
        for gpu in gpus.catalogue()
        for quote in gpus.quotes(gpu.name)
        if found(f"{quote.gpu} {quote.provider} {quote.kind} {quote.region}", query)
    ]
    rows = [
        {
            "GPU": quote.gpu, "Provider": quote.provider, "Kind": quote.kind, "Price": quote.usd_per_gpu_hour,
            "As of": quote.as_of, "Region": quote.region, "Instance": quote.instance,
            "Source": address(quote.source), "Note": quote.note,
        }
        for quote in quotes
    ]
    st.caption("US dollars per hour of one GPU, without tax. A plan takes the median of the on-demand prices.")
    chosen = st.dataframe(
        pd.DataFrame(rows), hide_index=True, height=TABLE_PX if len(rows) > 9 else "auto", key="price_table",
        alt="Prices of GPUs by provider, with date and source", placeholder="",
        selection_mode="single-row", on_select="rerun",
        column_config={
            "Price": st.column_config.NumberColumn(format="$%.2f"), "Region": st.column_config.TextColumn(width=110),
            "Source": cards.SOURCE,
        },
    )
    if not chosen.selection.rows:
        st.caption("Pick a row to plan at its price; type your own under **Engine, formats, price** in the sidebar.")
        return
    quote = quotes[chosen.selection.rows[0]]
    price = quote.usd_per_gpu_hour
    cards.plan_with(
        {"gpu": quote.gpu, "price": price}, f"Plan with {quote.gpu} at ${price:.2f} per hour", key="plan_price"
    )
    cards.source(quote.source)


def page() -> None:
    st.header("Catalogue", anchor=False)
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    view = left.segmented_control(
        "Show", VIEWS, default=VIEWS[0], required=True, key="show", bind="query-params", label_visibility="collapsed"
    )
    if view == "Your own":
        own.page()
        return
    query = right.text_input(
        "Search", type="search", live="250ms", max_chars=100, key="find", bind="query-params",
        placeholder=f"Search: {EXAMPLES[view or VIEWS[0]]} …",
        label_visibility="collapsed",
    )
    show = {"Models": models, "GPUs": gpu_list, "Formats": formats, "Prices": prices}[view or "Models"]
    show(query or "")


page()
