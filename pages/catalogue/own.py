"""GPUs and models of one's own: add them, see them, delete them."""

from collections.abc import Callable
from functools import partial

import streamlit as st

from core.basics.errors import InputError, SweetspotError
from core.basics.units import GB
from core.machinery.store import Kind, Saved
from core.models import ModelSpec
from core.products.gpus import GpuSpec
from core.reading import hub
from core.reading.hub.files import CONFIG_MAX_BYTES
from pages.shared import cards, figures, inputs, keeping, parts

ADDED = "added"                # (input of the sidebar, its value) of what was added last


def page() -> None:
    """What is kept already, and the forms that add to it."""
    _just_added()
    left, right = st.columns(2)
    with left, st.container(border=True, gap="small"):
        parts.section("Your GPUs", "They stand first in the GPU list of the sidebar.")
        _kept(Kind.GPU, _gpu_line)
        _gpu_form()
    with right, st.container(border=True, gap="small"):
        parts.section("Your models", "They stand first in the model list of the sidebar.")
        _kept(Kind.MODEL, _model_line)
        _model_form()


def _just_added() -> None:
    if ADDED not in st.session_state:
        return
    key, name = st.session_state[ADDED]
    with st.container(border=True, horizontal=True, vertical_alignment="center"):
        st.markdown(f":green[:material/check:] Added **{figures.plain(name)}**.")
        cards.plan_with({key: name}, "Plan with it", key="plan_added")


def _kept(kind: Kind, line: Callable[[Saved], str]) -> None:
    try:
        items = keeping.all_of(kind)
    except SweetspotError as error:
        st.warning(figures.plain(error), icon=":material/warning:")
        return
    keeping.undo(kind)
    for item in items:
        words, button = st.columns([5, 1], vertical_alignment="center")
        words.markdown(line(item))
        button.button(
            "Delete", key=f"delete {item.id}", icon=":material/delete:", type="tertiary",
            on_click=keeping.delete, args=(item,), help=f"Delete {figures.plain(item.name)}; it can be undone.",
        )


def _gpu_line(item: Saved) -> str:
    spec = keeping.own_gpus().get(item.name)
    name = f"**{figures.plain(item.name)}**"
    if spec is None:
        return f"{name}  \n:orange[cannot be read: delete it and add it again]"
    peak = spec.peak("fp16") or 0.0
    return (f"{name}  \n{figures.gib(spec.memory_bytes)}, {spec.bandwidth_bytes_per_s / GB:,.0f} GB/s, "
            f"{peak / 1e12:,.0f} TFLOPS")


def _model_line(item: Saved) -> str:
    name = f"**{figures.plain(item.name)}**"
    if item.broken:
        return f"{name}  \n:orange[cannot be read: delete it and add it again]"
    try:
        spec = keeping.own_model(item.name)
    except SweetspotError as error:
        return f"{name}  \n:orange[{figures.plain(error)}]"
    return f"{name}  \n" + (f"{cards.billions(spec.total_params)} parameters, {figures.plain(spec.family)}"
                            if spec else "from the Hub")


# -- GPU --------------------------------------------------------------------------------------------


def _gpu_form() -> None:
    with st.expander("Add a GPU", icon=":material/add:", expanded=True), st.form("add_gpu", border=False):
        name = st.text_input("Name", max_chars=80, placeholder="My workstation card", key="new_gpu_name")
        left, right = st.columns(2)
        number = st.number_input
        typed: dict[str, object] = {}
        with left:
            typed["memory_gib"] = number("Memory, GiB", value=24.0, help="As the driver reports it.")
            typed["fp16_tflops"] = number("FP16 TFLOPS, dense", value=150.0)
            typed["fp8_tflops"] = number("FP8 TFLOPS", value=None, placeholder="none")
            typed["tdp_w"] = number("Power, W", value=None, placeholder="unknown")
        with right:
            typed["bandwidth_gb_s"] = number("Bandwidth, GB/s", value=1000.0)
            typed["link_gb_s"] = number("Link, GB/s one way", value=31.5, help="To the next GPU. PCIe 4.0 x16: 31.5.")
            typed["fp4_tflops"] = number("FP4 TFLOPS", value=None, placeholder="none")
            typed["price_usd_per_hour"] = number("$ per hour", value=None, placeholder="unknown")
        generation = st.selectbox(
            "Generation", list(inputs.GENERATIONS), key="new_gpu_generation",
            help="Of an NVIDIA card: it decides which formats have kernels. “other”: the oldest with the peaks above.",
        )
        typed["compute_capability"] = inputs.GENERATIONS[generation or "other"]
        if st.form_submit_button("Add the GPU", icon=":material/add:"):
            filled = {key: value for key, value in typed.items() if value is not None}
            _add("gpu", partial(keeping.keep_gpu, name, filled))


# -- model ------------------------------------------------------------------------------------------


def _model_form() -> None:
    with st.expander("Add a model", icon=":material/add:", expanded=True):
        by_id, by_config = st.tabs(["By Hub id", "By config.json"])
        with by_id, st.form("add_hub_model", border=False):
            name = st.text_input("Hub id", max_chars=200, placeholder="organisation/model", key="new_hub_id")
            if st.form_submit_button("Add the model", icon=":material/add:"):
                _add("model", partial(_from_hub, name))
        with by_config, st.form("add_config", border=False):
            name = st.text_input("Name", max_chars=120, placeholder="My fine-tune", key="new_model_name")
            pasted = st.text_area("config.json", max_chars=CONFIG_MAX_BYTES, placeholder='{"model_type": "llama", …}',
                                  key="new_config", height=120)
            file = st.file_uploader("or its file", type=["json"], max_upload_size=4, key="new_config_file")
            if st.form_submit_button("Add the model", icon=":material/add:", key="submit_config"):
                text = file.getvalue() if file is not None else pasted.encode()
                _add("model", partial(_from_config, name, text))


def _from_hub(name: str) -> ModelSpec:
    """Reads the model once, so that only what can be planned is kept."""
    if not name.strip():
        raise InputError("Type the Hub id of a model: organisation/model.")
    with st.spinner("Reading the model …"):
        spec = hub.resolve(name.strip(), token=inputs.hub_token(), endpoint=inputs.hub_endpoint(), allow_local=False)
    keeping.keep_hub_model(spec)
    return spec


def _from_config(name: str, text: bytes) -> ModelSpec:
    if not text.strip():
        raise InputError("Paste a config.json or choose its file.")
    return keeping.keep_config(name, text)


def _add(key: str, keep: Callable[[], GpuSpec | ModelSpec]) -> None:
    try:
        added = keep()
    except SweetspotError as error:
        st.error(figures.plain(error), icon=":material/error:")
        return
    st.session_state[ADDED] = (key, added.name)
    st.rerun()
