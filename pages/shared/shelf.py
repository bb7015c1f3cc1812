"""Measurements as they are kept: opened from a file, in use or not, taken away, deleted."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import streamlit as st

from core.basics.errors import InputError, SweetspotError
from core.basics.fields import MAX_JSON_BYTES
from core.machinery.store import Saved
from pages.shared import evidence, figures, keeping, parts

Kept = TypeVar("Kept")


def open_file(label: str, key: str, help: str, keep: Callable[[str], object]) -> None:
    """Opens what was measured elsewhere; one sentence when the file is no such thing."""
    st.file_uploader(label, type="json", key=key, help=help, on_change=_open, args=(key, keep))
    if problem := st.session_state.pop(f"problem {key}", ""):
        st.error(figures.plain(problem), icon=":material/error:")


def _open(key: str, keep: Callable[[str], object]) -> None:
    """The uploader's callback, so that the page that follows knows what was opened."""
    given = st.session_state[key]
    if given is None:
        return
    try:
        if given.size > MAX_JSON_BYTES:
            raise InputError(f"This file is larger than the {MAX_JSON_BYTES:,} bytes a measurement may have.")
        keep(given.getvalue().decode("utf-8", errors="replace"))
    except SweetspotError as error:
        st.session_state[f"problem {key}"] = str(error)
        return
    st.toast("Opened and kept.", icon=":material/check:")


def shelf(
    items: Sequence[tuple[Saved, Kept]], prefix: str, *, says: Callable[[Kept], str], usable: Callable[[Kept], bool],
    to_json: Callable[[Kept], str],
) -> None:
    """Everything kept of a kind: whether it is in use, its file, and a way to be rid of it."""
    for item, measurement in items:
        with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"kept {item.id}"):
            st.markdown(f"**{figures.plain(item.name)}**  \n{figures.plain(says(measurement))}")
            if usable(measurement):
                st.toggle("Use in plans", value=evidence.in_use(item), key=f"use {item.id} {item.revision}",
                          on_change=evidence.use_measurement, args=(item,))
            parts.download("JSON", lambda m=measurement: to_json(m), f"{figures.file_name(prefix, item.name)}.json",
                           key=f"json {item.id}")
            st.button("Delete", key=f"delete {item.id}", on_click=keeping.delete, args=(item,))


def when(date: str) -> str:
    """ "2026-11-25 12:00 UTC"."""
    return f"{date[:16].replace('T', ' ')} UTC"
