"""Pieces every page is made of: the question asked, the guard against errors, figures and charts.

A page is a script: it calls `current_plan()` and draws. Anything it cannot answer is raised as a
SweetspotError and becomes one sentence with a way on; see `guard`.
"""

import logging
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import streamlit as st

from core.answers import advice
from core.answers.sweep import Benchmark
from core.basics.errors import (
    HardwareError,
    HubError,
    HubUnreachable,
    InputError,
    ModelError,
    ModelGated,
    ModelNotFound,
    SweetspotError,
)
from core.basics.places import ROOT
from core.basics.settings import is_public
from core.basics.units import GIB
from core.delivery.charts import Spec
from core.losses.measured import QualityMeasurement
from core.models import ModelSpec
from core.physics.memory import Footprint
from core.products import gpus
from core.products.gpus import GpuSpec
from core.reading import catalogue, hub, meant
from core.reading.written import as_asked
from core.terms import Estimate, Workload
from pages.server import logs
from pages.server.operators import ERRORS
from pages.shared import evidence, figures, inputs, keeping

log = logging.getLogger("sweetspot")
PLAN_PAGE = ROOT / "pages" / "plan.py"     # in full: what is relative depends on the script that was started
REPEATED = dict.fromkeys((ModelSpec, GpuSpec, Workload, QualityMeasurement, Benchmark), repr)     # what caches go by
UNEXPECTED = (
    "Something went wrong inside Sweetspot. Your inputs are kept in the address bar: "
    "reload the page, or start over with the defaults."
)


# -- what is asked --------------------------------------------------------------------------------


def current_model() -> ModelSpec:
    """The model asked for. Raises ModelError or HubError when there is none to plan."""
    name = inputs.asked().model
    if (own := keeping.own_model(name)) is not None:
        return own
    found = _resolved(
        name,
        inputs.hub_token(),
        inputs.hub_endpoint(),
        inputs.local_files_allowed(),
        st.session_state.get("attempt", 0),
    )
    if isinstance(found, SweetspotError):
        raise found
    return found


def current_gpu() -> GpuSpec:
    """The GPU asked for, at the visitor's own price where one is given. Raises HardwareError, InputError."""
    asked = inputs.asked()
    gpu = evidence.with_probe(_gpu(asked.gpu))
    if asked.usd_per_gpu_hour is None:
        return gpu
    return replace(gpu, price_usd_per_hour=asked.usd_per_gpu_hour, price_source="your own price")


def _gpu(name: str) -> GpuSpec:
    """A GPU of this machine, of the visitor's own, of the catalogue, or typed in."""
    if name == inputs.CUSTOM_GPU:
        return inputs.custom_gpu()
    for local in inputs.local_gpus():
        if local.spec.name == name:
            return local.spec
    return keeping.own_gpus().get(name) or gpus.find(name)


def current_engine() -> advice.Usual:
    """The engine asked for, or the usual one with the reason for it. Raises SweetspotError as model and GPU do."""
    named = inputs.asked().engine
    return advice.usual_engine(current_model(), current_gpu()) if named is None else advice.Usual(named, "")


def current_plan() -> advice.Plan:
    """The plan for what is asked in the sidebar. Raises SweetspotError when it cannot be made."""
    engine = current_engine().engine
    return plan_with(evidence.kept_benchmarks(current_model(), current_gpu(), engine))


def plan_with(known: tuple[Benchmark, ...]) -> advice.Plan:
    """The same by these benchmarks alone. Raises as `current_plan`."""
    asked = inputs.asked()
    spec = current_model()
    return _plan(spec, current_gpu(), asked.workload, current_engine().engine, asked.gpus, asked.formats,
                 asked.kv_formats, evidence.measured_losses(spec), asked.demand, known)


@st.cache_resource(scope="session", max_entries=16, ttl=3600, show_spinner="Reading the model …")
def _resolved(
    name: str, token: str | None, endpoint: str | None, allow_local: bool, attempt: int
) -> ModelSpec | SweetspotError:
    """A model, or why there is none: both are kept, so that a slow Hub is asked once per attempt.

    Kept per session, for what one visitor's token opens is not for others.
    """
    del attempt
    try:
        return hub.resolve(name, token=token, endpoint=endpoint, allow_local=allow_local)
    except SweetspotError as error:
        return error


@st.cache_resource(
    max_entries=48, ttl=3600, show_spinner=False, hash_funcs=REPEATED
)
def _plan(
    spec: ModelSpec, gpu: GpuSpec, workload: Workload, engine: str, tps: tuple[int, ...],
    formats: tuple[str, ...] | None, kv_formats: tuple[str, ...] | None, measured: tuple[QualityMeasurement, ...],
    demand: advice.Demand | None, known: tuple[Benchmark, ...],
) -> advice.Plan:
    def planned(load: Workload, counts: Sequence[int]) -> advice.Plan:
        return advice.recommend(
            spec, gpu, load, engine=engine, tps=counts, formats=formats, kv_formats=kv_formats, measured=measured,
            benchmarks=known,
        )
    return advice.answered(planned, workload, tps, demand)


def current_load() -> Workload:
    """The load asked for, its requests in flight found by the plan where they are given otherwise."""
    asked = inputs.asked()
    return asked.workload if asked.demand is None else current_plan().workload


# -- when it cannot be answered -------------------------------------------------------------------


@contextmanager
def guard() -> Iterator[None]:
    """Turns whatever is raised inside into one sentence and a way on; never a traceback."""
    try:
        yield
    except Exception as error:
        explain(error)


def explain(error: Exception) -> bool:
    """Shows an error as a sentence with a way on; True tells Streamlit that it has been shown."""
    if not isinstance(error, SweetspotError):
        _logged(error)
        st.error(UNEXPECTED, icon=":material/error:")
        st.markdown("[Start over](?)")
        return True
    ERRORS.labels("sentence").inc()
    st.error(figures.plain(error), icon=":material/error:")
    with st.container(horizontal=True):
        for label, change in _ways_on(error):
            st.button(label, on_click=apply, args=(change,), key=f"way on {label}")
    if isinstance(error, ModelGated):
        st.caption("Paste an access token under **Search the Hub** in the sidebar; it stays in this session.")
    return True


def _logged(error: Exception) -> None:
    """An error of ours with its places, and on this machine with what it says; one line where a widget was forged."""
    if logs.is_forged(error):
        ERRORS.labels("forged").inc()
        log.warning("a browser sent a widget something that is no value of it")
        return
    ERRORS.labels("unexpected").inc()
    if is_public():
        log.error("unexpected error", exc_info=error)
    else:
        log.error("unexpected error\n%s", _without_token("".join(traceback.format_exception(error))))


def _without_token(text: str) -> str:
    """For the log: a library may have put the visitor's Hub token into its message."""
    token = inputs.hub_token()
    return text.replace(token, "…") if token else text


def _ways_on(error: SweetspotError) -> list[tuple[str, dict[str, object]]]:
    """Buttons that lead out of an error, each with the inputs it sets."""
    again = ("Try again", {"attempt": st.session_state.get("attempt", 0) + 1})
    model = (f"Plan {catalogue.DEFAULT_MODEL} instead", {"model": catalogue.DEFAULT_MODEL})
    gpu = (f"Use {gpus.DEFAULT_GPU} instead", {"gpu": gpus.DEFAULT_GPU})
    asked = inputs.asked()
    if isinstance(error, HubUnreachable | ModelNotFound):
        near: list[tuple[str, dict[str, object]]] = [
            (f"Plan {name}", {"model": name}) for name in meant.closest(as_asked(asked.model))
        ]
        return [*near, *([again] if isinstance(error, HubError) else []), model]
    if isinstance(error, HubError):
        return [again, model]
    if isinstance(error, ModelError):
        return [model]
    if isinstance(error, HardwareError):
        return [*((f"Use {name}", {"gpu": name}) for name in gpus.closest(asked.gpu)), gpu]
    return [gpu, model] if isinstance(error, InputError) else [again]


def go_to_plan() -> None:
    """Shows the Plan page. Inputs bound to the link stay: Streamlit 1.67 fails when it is to clear them itself."""
    st.switch_page(PLAN_PAGE, query_params={})


def apply(change: dict[str, object]) -> None:
    """A button's callback: sets inputs by their keys, before the widgets are drawn again."""
    st.session_state.update(change)


# -- figures and charts ---------------------------------------------------------------------------


def metric(
    label: str, estimate: Estimate | None, write: Callable[[float], str], *, help: str, faded: bool = False
) -> None:
    """A bordered figure with its range and where it comes from; `faded` when it is not to be had."""
    if estimate is None:
        st.metric(label, "–", help=help, border=True, height="stretch")
        return
    value = write(estimate.value)
    st.metric(
        f"{label} {figures.badge(estimate.basis)}",
        f":gray[{value}]" if faded else value,
        delta=figures.span(estimate, write),
        delta_color="off",
        delta_arrow="off",
        help=f"{help}\n\nSource: {figures.plain(estimate.source)}. The range is meant to hold 80 % of cases.",
        border=True,
        height="stretch",
    )


def memory_metric(footprint: Footprint, requests: float, load: Workload) -> None:
    """What the load needs of one GPU, with its range and of what the GPU has; what is over when it does not fit."""
    needed = footprint.taken_bytes(requests, load.context_tokens, load.shared_tokens)
    over = footprint.overflow_bytes
    low, high = (needed + sum(getattr(term, end) - term.bytes for term in footprint.terms) for end in ("low", "high"))
    of = f"of {figures.gib(footprint.reported_bytes)}"
    st.metric(
        f"Memory {figures.badge(footprint.term('weights').basis)}",
        f":red[{figures.gib(needed)}]" if over > 0 else figures.gib(needed),
        delta=f"{figures.gib(over)} over" if over > 0 else f"{low / GIB:,.1f} – {high / GIB:,.1f} {of}",
        delta_color="red" if over > 0 else "off",
        delta_arrow="off",
        help=f"What this load needs of each GPU, {of}: weights, overheads and the KV cache of its requests at full "
        f"length. An engine that reserves its cache at start-up takes {figures.gib(footprint.usable_bytes)} whatever "
        "the load; that is what nvidia-smi then shows.\n\nThe range covers weights and overheads; see "
        "“Show the arithmetic” for every term and its source.",
        border=True,
        height="stretch",
    )


def download(label: str, make: Callable[[], str], file_name: str, *, key: str | None = None) -> None:
    """A button that downloads what `make` writes, made only when it is clicked."""
    st.download_button(
        label, lambda: make().encode(), file_name=file_name, on_click="ignore", icon=":material/download:", key=key
    )


def chart(spec: Spec, *, alt: str, key: str) -> None:
    """Places a chart over the full width of where it stands; `alt` says what it shows."""
    st.vega_lite_chart(spec, alt=alt, key=key)


def legend(entries: Sequence[tuple[str, str, float]]) -> None:
    """A wrapping legend: (text, colour, opacity) each. The text is ours, never a visitor's."""
    items = "".join(
        f'<span style="white-space:nowrap"><span style="display:inline-block;width:.7em;height:.7em;'
        f'border-radius:2px;margin-right:.4em;background:{colour};opacity:{opacity}"></span>{text}</span>'
        for text, colour, opacity in entries
    )
    st.html(f'<div style="display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.9rem">{items}</div>')


def section(title: str, says: str = "") -> None:
    """The heading of a card and, below it, one line that says how to read it."""
    st.markdown(f"##### {title}")
    if says:
        st.caption(says)
