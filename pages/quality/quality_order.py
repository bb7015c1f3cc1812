"""What a quality check is asked to do: variants, prompts, calibration text, and what that will take."""

from collections.abc import Sequence
from dataclasses import dataclass

import streamlit as st

from core.basics.errors import InputError, SweetspotError
from core.basics.places import ASSETS
from core.basics.units import GIB
from core.basics.words import counted
from core.models import ModelSpec
from core.products import gpus
from core.quality import (
    DEFAULT,
    VARIANTS,
    Order,
    Variant,
    chosen,
    estimate_cost,
    missing,
    read_prompts,
    refusal,
)
from core.quality.budget import CPU, SHARE, free_bytes
from core.quality.order import DEFAULT_S, MAX_S
from core.quality.prompts import MAX_BYTES
from core.quality.variants import FLOOR
from pages.quality.quality_answer import in_plans
from pages.shared import figures, inputs, keeping

EXAMPLES = {"Example: prose": "prompts_prose.txt", "Example: Python": "prompts_python.txt"}
PASTED, UPLOADED = "Paste", "Upload"
OWN_TEXT, GIVEN_TEXT = "The model's own continuations", "Given text"
ENDINGS = ["txt", "jsonl", "csv", "json", "md"]
MINUTE_S = 60
HOUR_S = 3600


@dataclass(frozen=True, slots=True)
class Asked:
    """An order and what its prompts are called."""

    order: Order
    prompts: str


def ask(spec: ModelSpec) -> Asked | None:
    """The order as it stands in the form, with its cost told; None where something is missing, which is said."""
    try:
        with st.container(border=True, key="ask", gap="small"):
            variants = _variants()
            prompts, name = _prompts()
            calibration = _calibration(variants)
            device, seconds, save = _where(variants)
            if not prompts or not variants or (not calibration and _calibration_is_given()):
                st.caption("Paste or upload prompts, and choose at least one variant.")
                return None
            order = Order(
                _weights(), prompts, tuple(variant.name for variant in variants), device=device,
                seconds=seconds, calibration=calibration, save=save, token=inputs.hub_token() or "",
                endpoint=inputs.hub_endpoint() or "", memory_bytes=_memory_bytes(device),
            )
            return Asked(order, name) if _affordable(spec, order) else None
    except SweetspotError as error:
        st.error(figures.plain(error), icon=":material/error:")
        return None


def _variants() -> tuple[Variant, ...]:
    """The variants to try besides the noise floor, and what each stands for."""
    offered = [name for name in VARIANTS if name != FLOOR.name]
    here = [name for name in DEFAULT if not missing((VARIANTS[name],))]
    names = st.multiselect(
        "Variants", offered, default=here or list(DEFAULT), format_func=lambda name: VARIANTS[name].label,
        key="variants", bind="query-params",
        help="Each is made from the full-precision weights and compared with them. BF16 is always added: what differs "
        "by no more than it does is noise.",
    )
    variants = tuple(VARIANTS[name] for name in names)
    if variants:
        stand_for = (f"{one.label} → {in_plans(one.weights, one.kv_cache)}" for one in variants)
        st.caption("In plans: " + figures.plain(" · ".join(stand_for)))
    return variants


def _prompts() -> tuple[tuple[str, ...], str]:
    """The prompts and what they are called. Raises InputError where they cannot be read."""
    kind = st.segmented_control(
        "Prompts", [*EXAMPLES, PASTED, UPLOADED], default=next(iter(EXAMPLES)), required=True, key="prompts",
        help="They stay in this session. A kept result holds their number and a fingerprint, not their words.",
    )
    if kind == PASTED:
        text = st.text_area(
            "Your prompts", key="pasted_prompts", height=180, placeholder="A prompt\n---\nAnother prompt",
            help="Several prompts: put a line of --- between them.",
        )
        return (read_prompts(text), "pasted prompts") if text.strip() else ((), "")
    if kind == UPLOADED:
        return _uploaded("Prompts: .txt, .jsonl, .csv or a chat export (.json)", "uploaded_prompts")
    return read_prompts((ASSETS / EXAMPLES[kind]).read_text(encoding="utf-8")), kind.removeprefix("Example: ")


def _uploaded(label: str, key: str) -> tuple[tuple[str, ...], str]:
    file = st.file_uploader(label, type=ENDINGS, max_upload_size=MAX_BYTES // 1_000_000, key=key)
    return (read_prompts(file.getvalue(), file.name), file.name) if file else ((), "")


def _calibration_is_given() -> bool:
    return st.session_state.get("calibrate") == GIVEN_TEXT


def _calibration(variants: Sequence[Variant]) -> tuple[str, ...]:
    """Given text to calibrate on; empty for the model's own. Raises InputError where it cannot be read."""
    if not any(variant.calibrated for variant in variants):
        return ()
    st.segmented_control(
        "Calibration text", [OWN_TEXT, GIVEN_TEXT], default=OWN_TEXT, required=True, key="calibrate",
        help="AWQ, GPTQ and SmoothQuant look at text before they round. What the model writes after held-out prompts "
        "of yours serves best: foreign text raised GPTQ's divergence by 40 % in a trial.",
    )
    return _uploaded("Calibration text", "calibration_text")[0] if _calibration_is_given() else ()


def _where(variants: Sequence[Variant]) -> tuple[str, float, str]:
    """The device, the time allowed [s], and the folder for checkpoints, empty for none."""
    here = {f"cuda:{gpu.index}": f"{gpu.reported_name} (cuda:{gpu.index})" for gpu in gpus.detect()}
    here["cpu"] = "This machine's processor"
    left, right = st.columns(2)
    device = left.selectbox("Device", list(here), format_func=here.__getitem__, key="check_device")
    minutes = right.slider("Minutes allowed", 1, round(MAX_S / MINUTE_S), round(DEFAULT_S / MINUTE_S), key="minutes",
                           bind="query-params")
    save = ""
    if inputs.local_files_allowed() and any(variant.can_be_saved for variant in variants):
        save = st.text_input(
            "Save checkpoints in", key="save_folder", placeholder="a folder of this machine; empty: not saved",
            help="What is measured is written in the compressed-tensors format, read back and scored again: the "
            "checkpoint to deploy.",
        ).strip()
    return device, float(minutes * MINUTE_S), save


def _weights() -> str:
    """Where the weights are. Raises InputError for a model of one's own: its name is no address."""
    name = inputs.asked().model
    if keeping.own_model(name) is not None:
        raise InputError("Of this model only the config.json is kept: name its repository on the Hub, or its folder.")
    return name


def _memory_bytes(device: str) -> float | None:
    """What the worker may take of a processor's memory."""
    free = free_bytes(device)
    return SHARE * free if free is not None and device == CPU else None


def _affordable(spec: ModelSpec, order: Order) -> bool:
    """Tells time, memory and packages that are not here; whether the check can be started."""
    made = chosen(order.variants)
    cost = estimate_cost(spec, order.prompts, made, order.device, own_text=not order.calibration)
    unit_s, unit = (HOUR_S, "hours") if cost.low_s > HOUR_S else (MINUTE_S, "minutes")
    low, high = (max(1, round(seconds / unit_s)) for seconds in (cost.low_s, cost.high_s))
    st.caption(
        f"{counted(len(order.prompts), 'prompt')}. Estimated: {low:,} to {high:,} {unit}, "
        f"{cost.memory_bytes / GIB:.1f} GiB of "
        f"memory, {cost.disk_bytes / 1e6:,.0f} MB of temporary disk while it runs."
    )
    if lacking := missing(made, save=bool(order.save)):
        st.warning(f"Not installed here: {', '.join(lacking)}. Run `make quality`, then start the app again.",
                   icon=":material/deployed_code_alert:")
    if why := refusal(cost, order.device, order.seconds):
        st.warning(figures.plain(why), icon=":material/block:")
    return not lacking and not why
