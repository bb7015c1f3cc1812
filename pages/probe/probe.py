"""Measure: the engine, a server or the kernels of this machine; what was measured elsewhere is opened here."""


import streamlit as st

from core.basics.words import counted
from core.machinery.jobs import Job
from core.machinery.worker import free_memory_bytes
from core.measure import record
from core.measure.record import EngineRun
from core.models import ModelSpec
from core.probe import devices, override
from core.probe.measurement import Measurement, Point, from_json, to_json
from core.probe.order import order
from core.probe.recorded import recorded
from core.probe.session import probe
from pages.probe import engine, engine_result, probe_cluster, probe_result
from pages.shared import evidence, figures, parts, shelf, tasks

LINK = "job"
ENGINE, SERVER, KERNELS = WAYS = ("Engine", "Server", "Kernels")
INSTALL = "pip install -r requirements-probe.txt"
WHAT = (
    "A probe takes about a minute: bandwidth, matrices in every format, decode attention and whole layers in the "
    "shapes of the model. What it finds replaces the estimates of that GPU in every plan, with its spread and the "
    "kernels used."
)
OFF = (
    "Measuring is off on this server: it has no NVIDIA GPU, or its administrator keeps it off. Measure on your GPU "
    "machine with the command below and open the file here."
)


# -- measuring ----------------------------------------------------------------------------------------


def start(spec: ModelSpec, device: str, seconds: float) -> None:
    """Queues a probe and names it in the link."""
    def work(job: Job) -> Measurement:
        def report(share: float, note: str, point: Point | None) -> None:
            job.report(share, note, point)

        free_bytes = free_memory_bytes() if device == devices.CPU else None
        return probe(order(spec, device, seconds, free_bytes, devices.ranks(device)), report)

    tasks.start(LINK, spec.name, work)


def ask(spec: ModelSpec) -> None:
    """Where to measure, for how long, and the button; or why not."""
    command = f"sweetspot probe --model {spec.name} --out probe.json"
    if not devices.is_allowed():
        st.info(OFF, icon=":material/developer_board_off:")
        st.caption(WHAT)
        st.code(command, language="bash", wrap_lines=True)
        return
    here = {device.name: device.label for device in devices.devices()}
    with st.container(border=True, key="ask"):
        left, middle, right = st.columns([3, 2, 2], vertical_alignment="bottom")
        device = left.selectbox("Device", list(here), format_func=here.__getitem__, key="device", bind="query-params")
        seconds = middle.slider(
            "Seconds", int(devices.MIN_S), 120, int(devices.DEFAULT_S), 5, key="seconds", bind="query-params"
        )
        right.button(
            "Measure", type="primary", icon=":material/speed:", key="measure", width="stretch",
            on_click=start, args=(spec, device, float(seconds)),
        )
        st.caption(
            f"Shapes of {figures.plain(spec.name)} with random weights; nothing is downloaded, clocks and power limits "
            "are left alone. The same without a browser:"
        )
        st.code(command, language="bash", wrap_lines=True)
        missing = devices.missing_libraries()
        if len(here) == 1:
            st.caption("No NVIDIA GPU is seen here. A processor's figures are a trial and move no plan.")
        elif missing:
            st.caption(f"Kernels of {' and '.join(missing)}, often faster, are measured too after `{INSTALL}`.")


def open_recorded() -> None:
    """A run of a real GPU that ships with the planner, kept as if its file had been opened."""
    runs = recorded()
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    name = left.selectbox("Recorded run of a real GPU", list(runs), key="recorded_run")
    right.button(
        "Open this run", key="open_recorded", width="stretch", on_click=evidence.keep_measurement, args=(runs[name],)
    )


def open_text(text: str) -> None:
    """Keeps what a file holds: a probe, or a run of an engine. Raises InputError, StoreError."""
    if record.is_run(text):
        evidence.keep_run(record.from_json(text))
    else:
        evidence.keep_measurement(from_json(text))


def show(found: Measurement | EngineRun, spec: ModelSpec) -> None:
    """Everything it says."""
    if isinstance(found, EngineRun):
        engine_result.result(found)
    else:
        probe_result.result(found, spec)


def measured(way: str, spec: ModelSpec) -> Measurement | EngineRun | None:
    """What the way asks; what it found last."""
    if way == KERNELS:
        ask(spec)
        now = tasks.outcome(LINK, Measurement, probe_result.live, evidence.keep_measurement)
        probe_cluster.section(spec)
        return now
    return engine.section(way == SERVER)


def page() -> None:
    """Measure, then what was measured last or opened."""
    spec = parts.current_model()
    st.header("Measure", anchor=False)
    way = st.segmented_control("What to measure", WAYS, default=WAYS[0], required=True, key="way", bind="query-params")
    now = measured(way, spec)
    with st.container(key="import"):
        shelf.open_file("Open a measurement", "import_probe", "The JSON file of a run or a probe on another machine.",
                        open_text)
        open_recorded()
    probes, runs = evidence.measurements(), evidence.runs()
    newest = max([*probes, *runs], key=lambda kept: kept[0].updated_s, default=None)
    if now is None and newest is None:
        st.caption("Nothing is measured yet: measure your engine or GPU, open a file, or open a recorded run.")
        return
    show(now or newest[1], spec)
    if newest is not None:
        parts.section("Kept measurements")
    shelf.shelf(runs, "run", says=lambda run: f"{counted(len(run.cells), 'load')}, {shelf.when(run.date)}",
                usable=lambda _: True, to_json=record.to_json)
    shelf.shelf(probes, "probe", says=lambda kept: shelf.when(kept.date), usable=override.usable, to_json=to_json)


page()
