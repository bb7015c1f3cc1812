"""What a visitor keeps: the store behind `st.connection`, and what the pages ask of it.

A store that fails never stops planning: lists are then empty in the sidebar, and the pages that show
what is kept say the one sentence of the StoreError.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from secrets import token_urlsafe
from typing import Any

import streamlit as st
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from streamlit.errors import StreamlitAPIException

from core.answers.advice import Plan
from core.basics.errors import InputError, StoreError, SweetspotError
from core.basics.settings import is_public
from core.delivery import export
from core.machinery.store import Kind, Saved, Store, database_url
from core.models import ModelSpec
from core.products import gpus
from core.products.gpus import GpuSpec
from core.reading import catalogue
from core.reading.configs import read_config
from core.reading.hub.files import json_object
from pages.server.visitors import COOKIE, KEY
from pages.shared import answers, figures

CONNECTION = "sweetspot"        # [connections.sweetspot] url = "postgresql+psycopg://..." in secrets
KEEP_DELETED_S = 30 * 86_400.0
INPUTS = answers.KEYS           # that are kept with a plan
GPU_FIGURES = {
    "memory_gib", "bandwidth_gb_s", "fp16_tflops", "bf16_tflops", "fp8_tflops", "int8_tops", "fp4_tflops",
    "fp32_tflops", "vendor", "compute_capability", "link_gb_s", "tdp_w", "price_usd_per_hour",
}


# -- the store --------------------------------------------------------------------------------------


def store() -> Store:
    """The visitor's own store. Raises StoreError when there is none to be had."""
    opened = _opened(_space())
    if isinstance(opened, StoreError):
        raise opened
    return opened


def _space() -> str:
    """Everyone's on a local machine; on a public host what the visitor's own key opens.

    The key comes as a cookie (pages/server/visitors.py), or lives in the session where cookies are refused.
    The database sees its hash, so that reading the database opens nobody's space.
    """
    if not is_public():
        return "local"
    key = str(st.context.cookies.get(COOKIE))
    if not KEY.fullmatch(key):
        key = st.session_state.setdefault("own_key", token_urlsafe(24))
    return hashlib.sha256(key.encode()).hexdigest()


@st.cache_resource(ttl=20, max_entries=512, show_spinner=False)
def _opened(space: str) -> Store | StoreError:
    """A store, or why there is none: both are kept for a while, so that a database that is down is asked seldom."""
    try:
        return Store(_engine(), space)
    except StoreError as error:
        return error


def _engine() -> Engine:
    """The connection of the secrets where there is one, else SWEETSPOT_DATABASE, else a SQLite file."""
    try:
        try:
            return st.connection(CONNECTION, type="sql", pool_pre_ping=True).engine
        except StreamlitAPIException:
            return st.connection(CONNECTION, type="sql", url=database_url(), pool_pre_ping=True).engine
    except (SQLAlchemyError, ImportError, ValueError):
        raise StoreError(
            "The database setting cannot be used: check its address and that its driver is installed."
        ) from None


@st.cache_resource(ttl=20, max_entries=1024, show_spinner=False)
def _listed(space: str, kind: Kind) -> tuple[Saved, ...] | StoreError:
    opened = _opened(space)
    try:
        return opened if isinstance(opened, StoreError) else opened.all(kind)
    except StoreError as error:
        return error


def all_of(kind: Kind) -> tuple[Saved, ...]:
    """Everything of a kind, newest first. Raises StoreError."""
    listed = _listed(_space(), kind)
    if isinstance(listed, StoreError):
        raise listed
    return listed


def changed() -> None:
    """To be called after a write: the next look is a fresh one."""
    _listed.clear()


def delete(item: Saved) -> None:
    """A button's callback: deletes, and remembers what `undo` brings back; what is long deleted goes for good."""
    try:
        store().delete(item)
        store().purge(KEEP_DELETED_S)
    except StoreError as error:
        st.session_state["store_problem"] = str(error)
        return
    st.session_state[f"deleted {item.kind}"] = item
    changed()


def undo(kind: Kind) -> None:
    """What was deleted last, with the button that brings it back; and why a write failed, once."""
    if problem := st.session_state.pop("store_problem", ""):
        st.warning(figures.plain(problem), icon=":material/warning:")
    item: Saved | None = st.session_state.get(f"deleted {kind}")
    if item is None:
        return
    with st.container(border=True, horizontal=True, vertical_alignment="center", key=f"undo_{kind}"):
        st.markdown(f"Deleted **{figures.plain(item.name)}**.")
        st.button("Undo", icon=":material/undo:", key=f"undo {kind}", on_click=_restore, args=(item,))


def _restore(item: Saved) -> None:
    try:
        store().restore(item.id)
    except StoreError as error:
        st.session_state["store_problem"] = str(error)
        return
    del st.session_state[f"deleted {item.kind}"]
    changed()


# -- GPUs and models of one's own -------------------------------------------------------------------


def own_gpus() -> dict[str, GpuSpec]:
    """The visitor's GPUs by name, newest first; none when the store fails."""
    found: dict[str, GpuSpec] = {}
    for item in all_or_none(Kind.GPU):
        try:
            found.setdefault(item.name, _gpu(item.name, item.body))
        except (SweetspotError, TypeError):     # an import may hold anything
            continue
    return found


def own_models() -> dict[str, Mapping[str, Any]]:
    """What is kept of the visitor's models, by name, newest first; none when the store fails."""
    return {item.name: item.body for item in reversed(all_or_none(Kind.MODEL))}


def own_model(name: str) -> ModelSpec | None:
    """A model kept with its config.json; None when there is none of that name.

    Raises ModelError when the configuration cannot be read.
    """
    body = own_models().get(name, {})
    config = body.get("config")
    return read_config(config, name=name) if isinstance(config, dict) else None


def all_or_none(kind: Kind) -> tuple[Saved, ...]:
    """Everything of a kind, newest first; none when the store fails."""
    try:
        return all_of(kind)
    except StoreError:
        return ()


def _gpu(name: str, typed: Mapping[str, Any]) -> GpuSpec:
    unknown = set(typed) - GPU_FIGURES
    if unknown:
        raise InputError(f"A kept GPU has no figure called {sorted(unknown)[0][:40]}.")
    return gpus.custom(name, **typed)


def keep_gpu(name: str, typed: Mapping[str, Any]) -> GpuSpec:
    """Keeps a GPU of one's own. Raises InputError for a name that is taken or a figure out of range, StoreError."""
    spec = _gpu(name, typed)
    if spec.name in own_gpus() or any(spec.name == listed.name for listed in gpus.catalogue()):
        raise InputError(f"There is already a GPU called {spec.name}: give yours another name.")
    store().save(Kind.GPU, spec.name, typed)
    changed()
    return spec


def keep_config(name: str, text: bytes) -> ModelSpec:
    """Keeps a model by its config.json. Raises InputError, ModelError, StoreError."""
    clean = _free_model_name(name)
    config = json_object(text, "config.json")
    spec = read_config(config, name=clean)
    store().save(Kind.MODEL, clean, {"config": config})
    changed()
    return spec


def keep_hub_model(spec: ModelSpec) -> None:
    """Keeps a model of the Hub as one of the visitor's own. Raises InputError, StoreError."""
    store().save(Kind.MODEL, _free_model_name(spec.name), {"hub": spec.name})
    changed()


def _free_model_name(name: str) -> str:
    clean = " ".join(name.split())
    if not clean or len(clean) > 120 or not clean.isprintable():
        raise InputError("Give the model a name of 1 to 120 printable characters.")
    if clean in own_models() or catalogue.load(clean) is not None:
        raise InputError(f"There is already a model called {clean}: give yours another name.")
    return clean


# -- plans ------------------------------------------------------------------------------------------


def save_plan(plan: Plan) -> None:
    """The button that keeps the plan on the screen, with every input that led to it."""
    st.button(
        "Save this plan", icon=":material/bookmark_add:", key="save_plan", on_click=partial(_save, plan),
        help="Keeps the inputs and the verdict on the Saved page.",
    )
    if problem := st.session_state.pop("save_problem", ""):
        st.warning(figures.plain(problem), icon=":material/warning:")


def _save(plan: Plan) -> None:
    asked = {key: st.session_state[key] for key in INPUTS if key in st.session_state}
    name = f"{plan.spec.name.rpartition('/')[2]} on {plan.gpu.name}"
    try:
        store().save(Kind.PLAN, name[:200], export.keep(plan, asked))
    except SweetspotError as error:
        st.session_state["save_problem"] = str(error)
        return
    changed()
    st.toast("Saved. It is on the Saved page.", icon=":material/bookmark_added:")
