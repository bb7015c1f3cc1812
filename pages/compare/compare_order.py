"""What Compare compares: the filters, the prices, and the layouts that come of them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import streamlit as st

from core.answers import compare
from core.answers.compare import PRICE_KINDS, SPLITS, Board, Field, Split
from core.basics.units import GIB
from core.losses.measured import QualityMeasurement
from core.models import ModelSpec
from core.products import gpus
from core.products.engines import DEFAULT, ENGINES, launched
from core.products.gpus import GpuSpec
from core.terms import Workload
from pages.shared import evidence, inputs, parts

PRICE_LABELS = {"reference": "median on demand", "cheapest": "cheapest", "spot": "spot"}
SPLIT_LABELS = {Split.TENSORS: "tp", Split.REPLICAS: "dp", Split.LAYERS: "pp", Split.EXPERTS: "ep"}
LARGEST_GIB, LARGEST_PRICE = 1024, 10_000.0


def filters() -> tuple[Field, np.ndarray]:
    """The layouts asked for, and which of them the filters let through."""
    asked, engine = inputs.asked(), parts.current_engine().engine
    everything = _everything()
    with st.expander("What to compare", icon=":material/filter_alt:", key="compare_filters"), st.grid(
        4, min_column_width=190, gap="small"
    ):
        vendors = st.multiselect(
            "Vendors", list(dict.fromkeys(gpu.vendor for gpu in everything)), key="vendors", bind="query-params",
            placeholder="all",
        )
        only = st.multiselect(
            "GPUs", [gpu.name for gpu in everything], key="only", bind="query-params", placeholder="all",
        )
        least = st.number_input(
            "At least GiB per GPU", 0, LARGEST_GIB, 0, step=8, key="least_gib", bind="query-params",
        )
        most = st.number_input(
            "At most $ per hour", 0.0, LARGEST_PRICE, None, key="most_usd", bind="query-params", placeholder="any",
            help="Of the whole deployment. With a limit set, GPUs without a price are left out.",
        )
        engines = st.multiselect(
            "Engines", list(launched()), default=[engine if engine in launched() else DEFAULT],
            format_func=lambda name: ENGINES[name].label, key="engines", bind="query-params",
        )
        splits = st.multiselect(
            "Parallelism", list(SPLITS), default=list(SPLITS), format_func=lambda split: SPLIT_LABELS[split],
            key="splits", bind="query-params",
            help="How the GPUs share the work. **tp**, tensor parallel: every matrix is split. **dp**, data "
            "parallel: whole copies. **pp**, pipeline parallel: two stages of layers. **ep**, expert parallel: each "
            "holds some experts.",
        )
        kind = st.selectbox(
            "Price", list(PRICE_KINDS), key="price_kind", bind="query-params",
            format_func=lambda kind: PRICE_LABELS[kind],
            help="; ".join(f"**{PRICE_LABELS[kind]}**: {text}" for kind, text in PRICE_KINDS.items())
            + ". US dollars without tax for each GPU and hour.",
        )
        at_hand = st.toggle(
            "Only GPUs of this machine", key="at_hand", bind="query-params", disabled=not inputs.local_gpus(),
            help=None if inputs.local_gpus() else "No GPU was found on the machine that runs Sweetspot.",
        )
    among = _own_price(compare.priced(everything, kind or "reference"))
    spec = parts.current_model()
    field = _field(Rivals(
        spec, among, tuple(engines) or (DEFAULT,), asked.workload.quality_loss, asked.gpus, tuple(splits) or SPLITS,
        asked.formats, asked.kv_formats, evidence.measured_losses(spec), asked.workload.run_as,
    ), parts.current_load())
    local = {found.spec.name for found in inputs.local_gpus()}
    shown = [
        (not vendors or d.gpu.vendor in vendors) and (not only or d.gpu.name in only)
        and (d.gpu.nominal_memory_gib or d.gpu.memory_bytes / GIB) >= least and (not at_hand or d.gpu.name in local)
        for d in field.deployments
    ]
    affordable = np.full(len(field), True) if most is None else field.usd_per_hour <= most
    return field, np.array(shown, bool) & affordable


def _everything() -> tuple[GpuSpec, ...]:
    """The catalogue, with the GPUs of this machine as they really are, and the one asked for."""
    local = {found.spec.name: found.spec for found in inputs.local_gpus()}
    listed = [local.pop(gpu.name, gpu) for gpu in gpus.catalogue()]
    known = {gpu.name for gpu in listed} | set(local)
    current = parts.current_gpu()
    return (*local.values(), *listed, *(() if current.name in known else (current,)))


def _own_price(among: Sequence[GpuSpec]) -> tuple[GpuSpec, ...]:
    """The visitor's own price counts for the GPU of the sidebar."""
    asked = inputs.asked()
    if asked.usd_per_gpu_hour is None:
        return tuple(among)
    return tuple(
        replace(gpu, price_usd_per_hour=asked.usd_per_gpu_hour, price_source="your own price")
        if gpu.name == asked.gpu else gpu
        for gpu in among
    )


class Rivals(NamedTuple):
    """Which layouts stand against each other, whatever the load."""

    spec: ModelSpec
    among: tuple[GpuSpec, ...]
    engines: tuple[str, ...]
    quality_loss: float
    counts: tuple[int, ...]
    splits: tuple[Split, ...]
    formats: tuple[str, ...] | None
    kv_formats: tuple[str, ...] | None
    measured: tuple[QualityMeasurement, ...]
    run_as: Workload


@st.cache_resource(max_entries=4, ttl="1h", show_spinner="Comparing …", hash_funcs=parts.REPEATED)
def _board(rivals: Rivals) -> Board:
    return compare.board(**rivals._asdict())


@st.cache_resource(max_entries=4, ttl="1h", show_spinner="Comparing …", hash_funcs=parts.REPEATED)
def _field(rivals: Rivals, workload: Workload) -> Field:
    return compare.compare(_board(rivals), workload)
