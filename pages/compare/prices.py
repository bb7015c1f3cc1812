"""Prices of GPUs: every listed one with its day and source, and today's where gpuhunt is installed."""

from collections.abc import Sequence

import pandas as pd
import streamlit as st

from core.basics.errors import SweetspotError
from core.basics.settings import is_public
from core.products import gpus
from core.products.gpus import GpuSpec, Quote
from core.products.gpus.market import todays_quotes
from pages.shared import figures, parts


def show() -> None:
    """Every listed price with its date and source."""
    with st.expander("Prices, with provider and date", icon=":material/sell:"):
        st.caption(
            "US dollars per GPU-hour, without tax, storage and traffic; a month is 730 hours. "
            "A plan uses the median over providers of each one's lowest on-demand price, or the next best kind where "
            "nobody lists one. Your own price goes into the sidebar, for the GPU chosen there."
        )
        quotes(gpus.all_quotes(), "Prices of GPUs by provider")
        todays_prices()


def quotes(listed: Sequence[Quote], alt: str) -> None:
    """Prices as a table."""
    st.dataframe(
        pd.DataFrame([_quote(quote) for quote in listed]), hide_index=True, alt=alt,
        column_config={"$ per hour": st.column_config.NumberColumn(format="%.3f")},
    )


def todays_prices() -> None:
    """What the providers ask today for the GPU of the sidebar; looked up when asked for."""
    gpu = parts.current_gpu()
    if is_public() or not st.button(f"Look up today's prices of {gpu.name}", icon=":material/sync:", key="todays"):
        return
    try:
        found = _todays(gpu)
    except SweetspotError as error:
        st.warning(figures.plain(error), icon=":material/info:")
        return
    if not found:
        st.caption("No provider lists this GPU today.")
        return
    quotes(found, "Prices of today by provider")
    cheapest = found[0].usd_per_gpu_hour
    st.button(f"Plan with \\{figures.dollars(cheapest)} per hour", on_click=parts.apply, args=({"price": cheapest},))


@st.cache_data(ttl="1h", max_entries=64, show_spinner="Asking the providers …", hash_funcs={GpuSpec: repr})
def _todays(gpu: GpuSpec) -> tuple[Quote, ...]:
    return todays_quotes(gpu)


def _quote(quote: Quote) -> dict[str, object]:
    return {
        "GPU": quote.gpu, "$ per hour": quote.usd_per_gpu_hour, "Kind": quote.kind, "Provider": quote.provider,
        "Region": quote.region, "Instance": quote.instance, "As of": quote.as_of, "Source": quote.source,
        "Note": quote.note,
    }
