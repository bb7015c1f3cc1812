"""What happens around the first page: the server answers at once, and warms up behind its first answer.

Nothing here imports a page or the core at the top: a health check must not have to wait.
"""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import streamlit as st

from pages.server import logs
from pages.server.bounds import listens_to_this_machine_only


@asynccontextmanager
async def warm_up(_app: st.App) -> AsyncIterator[None]:
    """Runs while the server does: reads in the background what the first visitor would wait for.

    A server that other machines can reach is public unless its administrator says otherwise.
    """
    os.environ.setdefault("SWEETSPOT_PUBLIC", "0" if listens_to_this_machine_only() else "1")
    logs.begin()
    threading.Thread(target=_read_ahead, name="warm-up", daemon=True).start()
    yield


def _read_ahead() -> None:
    """The modules and tables of the first verdict, and the speed model's own first use; then the charts' libraries."""
    from core.answers import advice
    from core.products import gpus
    from core.reading import catalogue
    from core.terms import Workload
    from pages.shared import arithmetic, delivery, inputs, keeping, parts  # noqa: F401

    spec = catalogue.load(catalogue.DEFAULT_MODEL)
    if spec is not None:
        advice.recommend(spec, gpus.find(gpus.DEFAULT_GPU), Workload())
    import pandas  # noqa: F401


def explain(error: Exception) -> bool:
    """Shows an error that no page caught, as one sentence; True tells Streamlit that it has been shown."""
    from pages.shared import parts

    return parts.explain(error)
