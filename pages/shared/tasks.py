"""Work that a page starts and watches: queued, seen under way, cancelled, its result kept once."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import streamlit as st

from core.basics.errors import InputError, SweetspotError
from core.machinery.jobs import Job, Jobs, State
from pages.shared import figures

LANE = "gpu"            # two measurements of one machine would spoil each other
Result = TypeVar("Result")


@st.cache_resource(show_spinner=False)
def jobs() -> Jobs:
    """The measurements of all visitors, one at a time."""
    return Jobs()


def visitor() -> str:
    return st.session_state.setdefault("visitor", uuid4().hex)


def start(link: str, title: str, work: Callable[[Job], Any]) -> None:
    """Queues work and names it in the link, under the key `link`."""
    try:
        job = jobs().submit(LANE, visitor(), title, work)
    except InputError as error:
        st.toast(figures.plain(error))
        return
    st.query_params[link] = job.id


def watch(job: Job, live: Callable[[Sequence[Any]], None]) -> None:
    """Progress, a way to stop, and what is known so far as it comes."""
    @st.fragment(run_every="0.5s")
    def draw() -> None:
        if job.ended:
            st.rerun()
        ahead = jobs().ahead_of(job)
        bar, button = st.columns([5, 1], vertical_alignment="center")
        bar.progress(job.fraction, text=f"waiting for {ahead} before it" if ahead else job.note or "starting")
        button.button("Cancel", key=f"cancel {job.id}", width="stretch", on_click=job.cancel)
        parts = tuple(job.parts)
        if parts:
            live(parts)

    draw()


def outcome(
    link: str, kind: type[Result], live: Callable[[Sequence[Any]], None], keep: Callable[[Result], None] | None = None
) -> Result | None:
    """What the work that the link names found, kept once where `keep` says how; None while there is nothing."""
    job = jobs().get(st.query_params.get(link, ""))
    if job is None:
        return None
    if not job.ended:
        watch(job, live)
    elif job.state is State.FAILED:
        st.error(figures.plain(job.error), icon=":material/error:")
    elif job.state is State.CANCELLED:
        st.caption("Cancelled; nothing was kept.")
    elif isinstance(job.result, kind):
        if keep is not None and st.session_state.setdefault(f"kept {link}", "") != job.id:
            st.session_state[f"kept {link}"] = job.id
            _kept(job.result, keep)
        return job.result
    return None


def _kept(result: Result, keep: Callable[[Result], None]) -> None:
    try:
        keep(result)
    except SweetspotError as error:
        st.warning(figures.plain(error), icon=":material/warning:")
