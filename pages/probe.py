"""Probe: measure the GPU of this machine, open a measurement from elsewhere, see how far the estimates were."""

from collections.abc import Sequence

import streamlit as st

from core import charts, gpus
from core.errors import HardwareError
from core.formats import FORMATS
from core.jobs import Job
from core.models import ModelSpec
from core.probe import devices, fit, override
from core.probe.measurement import Measurement, Point, Quantity, from_json, to_json
from core.probe.order import order
from core.probe.session import probe
from core.terms import Basis
from core.worker import free_memory_bytes
from pages import evidence, figures, parts, probe_cluster, shelf, tasks

LINK = "job"
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
    command = f"python -m core probe --model {spec.name} --out probe.json"
    if not devices.is_allowed():
        st.info(OFF, icon=":material/developer_board_off:")
        st.code(command, language="bash")
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
        st.code(command, language="bash")
        if len(here) == 1:
            st.caption("No NVIDIA GPU is seen here. A processor's figures are a trial and move no plan.")


def live(points: Sequence[Point]) -> None:
    """The charts as they fill."""
    _bandwidth(tuple(points), None, key="live")


# -- what was measured --------------------------------------------------------------------------------


def result(measurement: Measurement, spec: ModelSpec) -> None:
    """Everything one measurement says."""
    gpu = None
    try:
        gpu = gpus.find(measurement.gpu) if measurement.gpu else None
    except HardwareError:
        st.caption("Its GPU is not in the catalogue: no data sheet to compare with.")
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(" ".join(_badges(measurement)))
        st.header(f"Measured: {figures.plain(measurement.device)}", anchor=False)
        st.markdown(figures.plain(
            f"{len(measurement.points)} points in {measurement.seconds:.0f} s with the shapes of {measurement.model}, "
            f"{shelf.when(measurement.date)}."
        ))
        for remark in measurement.conditions.remarks:
            st.caption(f":material/info: {figures.plain(remark)}")
    _ceilings(measurement, gpu)
    left, right = st.columns(2)
    with left:
        parts.section("Bandwidth by size")
        _bandwidth(measurement.points, gpu.bandwidth_bytes_per_s if gpu else None, key="bandwidth")
    with right:
        parts.section("Faster than 16 bit, by rows", "A dot marks where a format stops paying.")
        _formats(measurement)
    if gpu is not None:
        _differences(measurement, spec, gpu)
    _decode(measurement, spec)
    _table(measurement)


def _badges(measurement: Measurement) -> list[str]:
    quiet = (":green-badge[:material/check: machine quiet]" if measurement.conditions.quiet
             else ":orange-badge[:material/warning: machine not quiet]")
    processor = [":orange-badge[processor, a trial]"] if measurement.is_cpu else []
    return [figures.badge(Basis.MEASURED), quiet, *processor]


def _ceilings(measurement: Measurement, gpu: gpus.GpuSpec | None) -> None:
    found, ratios = fit.ceilings(measurement), fit.speed_over_16_bit(measurement)
    with st.grid(4, min_column_width=150, gap="small"):
        for name, rate in (("Copy", found.copy_bytes_per_s), ("Read", found.read_bytes_per_s)):
            if rate:
                share = f"{rate / gpu.bandwidth_bytes_per_s:.0%} of the data sheet" if gpu else None
                st.metric(name, f"{figures.three(rate / 1e9)} GB/s", share, delta_color="off", delta_arrow="off",
                          border=True)
        for fmt, by_rows in ratios.items():
            if fmt != "bf16" and 1 in by_rows:
                st.metric(f"{_label(fmt)}, M = 1", f"{by_rows[1]:.2f} ×", "of 16-bit speed", delta_color="off",
                          delta_arrow="off", border=True)


def _label(fmt: str) -> str:
    return FORMATS[fmt].label if fmt in FORMATS else fmt


def _bandwidth(points: tuple[Point, ...], sheet: float | None, *, key: str) -> None:
    series = {
        kind.value: sorted({p.shape["size"]: p.bytes_per_s for p in points if p.quantity is kind}.items())
        for kind in (Quantity.COPY, Quantity.READ)
    }
    series = {name: rates for name, rates in series.items() if rates}
    if series:
        parts.chart(charts.bandwidth_over_size(series, sheet), alt="Bandwidth over size", key=f"{key} chart")


def _formats(measurement: Measurement) -> None:
    ratios = fit.speed_over_16_bit(measurement)
    batch = sorted(ratios.get("bf16", {}))
    whole = {_label(fmt): [row[M] for M in batch] for fmt, row in ratios.items() if len(row) == len(batch)}
    if len(batch) < 2 or len(whole) < 2:
        st.caption("Too few points for a comparison: give the probe more time.")
        return
    base = _label("bf16")
    users = min(max(parts.inputs.asked().workload.concurrency, batch[0]), batch[-1])
    parts.chart(
        charts.formats_over_batch(batch, whole, baseline=base, chosen=base, at=users),
        alt="Speed of each format's linear layer relative to 16 bit over the rows", key="formats chart",
    )


def _differences(measurement: Measurement, spec: ModelSpec, gpu: gpus.GpuSpec) -> None:
    found = override.differences(spec, gpu, measurement)
    if not found:
        return
    parts.section("Measured against estimated", "Dot: measured. Ring: estimated without the probe.")
    parts.chart(
        charts.measured_against_estimated(
            [d.name for d in found], [d.measured / d.data_sheet for d in found],
            [d.estimated / d.data_sheet if d.estimated else None for d in found],
        ), alt="Measured and estimated shares of the data sheet", key="differences chart",
    )


def _decode(measurement: Measurement, spec: ModelSpec) -> None:
    if spec.name != measurement.model:
        return
    steps = fit.decode_steps(measurement, spec.n_layers)
    series: dict[str, list[tuple[int, float, float, float]]] = {}
    for step in steps:
        low, high = step.batch / step.full.high_s, step.batch / max(step.full.low_s, step.full.seconds / 10)
        series.setdefault(_label(step.format), []).append((step.batch, step.tokens_per_s, low, high))
    if series and not measurement.is_cpu:
        parts.section("Decode of the whole model", "Stacks of layers, extrapolated; head and sampling included.")
        parts.chart(charts.tokens_over_batch(series), alt="Decode tokens per second over batch", key="decode chart")


def _table(measurement: Measurement) -> None:
    with st.expander(f"All {len(measurement.points)} points, kernels and versions", icon=":material/table:"):
        st.dataframe([
            {
                "what": p.quantity.value, "format": p.format, "kernel": p.kernel,
                "shape": ", ".join(f"{name} {value}" for name, value in p.shape.items()),
                "median µs": round(p.timing.median_s * 1e6, 2), "p10 µs": round(p.timing.p10_s * 1e6, 2),
                "p90 µs": round(p.timing.p90_s * 1e6, 2), "samples": p.timing.samples, "stopped": p.timing.stop.value,
                "GB/s": round(p.bytes_per_s / 1e9, 1), "TFLOPS": round(p.flops_per_s / 1e12, 2),
            }
            for p in measurement.points
        ], hide_index=True)
        versions = ", ".join(f"{name} {version}" for name, version in measurement.versions.items())
        st.caption(figures.plain(f"Driver {measurement.driver or 'not told'}; {versions}"))
        for sentence in measurement.lost:
            st.caption(figures.plain(f"Lost: {sentence}"))


def page() -> None:
    """Measure, then what was measured last or opened."""
    spec = parts.current_model()
    ask(spec)
    now = tasks.outcome(LINK, Measurement, live, evidence.keep_measurement)
    probe_cluster.section(spec)
    with st.container(key="import"):
        shelf.open_file("Open a measurement", "import_probe", "The JSON file of a probe on another machine.",
                        lambda text: evidence.keep_measurement(from_json(text)))
    items = evidence.measurements()
    shown = now or (items[0][1] if items else None)
    if shown is None:
        st.caption("No recorded run of a real GPU ships with this version: measure yours, or open a file.")
    else:
        result(shown, spec)
    if items:
        parts.section("Kept measurements")
        shelf.shelf(items, "probe", says=lambda kept: shelf.when(kept.date), usable=override.usable, to_json=to_json)


page()
