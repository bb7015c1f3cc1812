"""What one probe found: ceilings, curves, measured beside estimated, and every point."""

from collections.abc import Sequence

import streamlit as st

from core.basics.errors import HardwareError
from core.basics.words import counted
from core.delivery import charts
from core.models import ModelSpec
from core.probe import fit, override
from core.probe.measurement import Measurement, Point, Quantity
from core.products import gpus
from core.products.formats import FORMATS
from core.terms import Basis
from pages.shared import figures, parts, shelf

FEWEST_ROWS = 2         # common to all formats, for a comparison over them


def live(points: Sequence[Point]) -> None:
    """The charts as they fill."""
    left, right = st.columns(2)
    with left:
        _bandwidth(points, None, key="live")
    with right:
        _formats(points, key="live")


def result(measurement: Measurement, spec: ModelSpec) -> None:
    """Everything one measurement says."""
    gpu = None
    try:
        gpu = gpus.find(measurement.gpu) if measurement.gpu else None
    except HardwareError:
        st.caption("This GPU is not in the catalogue, so there is no data sheet to compare with.")
    _verdict(measurement)
    _ceilings(measurement, gpu)
    left, right = st.columns(2)
    with left, st.container(border=True, height="stretch", gap="small"):
        parts.section("Bandwidth by size")
        _bandwidth(measurement.points, gpu.bandwidth_bytes_per_s if gpu else None, key="bandwidth")
    with right, st.container(border=True, height="stretch", gap="small"):
        parts.section("Speed relative to 16 bits, by batch",
                      "Matmuls alone. A dot marks where a format becomes slower than 16 bits.")
        if not _formats(measurement.points, key="formats"):
            st.caption("Too few points for a comparison: give the probe more time.")
    _decode(measurement, spec, gpu)
    if gpu is not None:
        _roofline(measurement, spec, gpu)
        _differences(measurement, spec, gpu)
    _table(measurement)


def _verdict(measurement: Measurement) -> None:
    with st.container(border=True, key="verdict", gap="small"):
        st.markdown(" ".join(_badges(measurement)))
        st.header(f"Measured: {figures.plain(measurement.device)}", anchor=False)
        st.markdown(figures.plain(
            f"{counted(len(measurement.points), 'point')} in {measurement.seconds:.0f} s with the shapes of "
            f"{measurement.model}, {shelf.when(measurement.date)}."
        ))
        for remark in measurement.conditions.remarks:
            st.caption(f":material/info: {figures.plain(remark)}")


def _badges(measurement: Measurement) -> list[str]:
    quiet = (":green-badge[:material/check: machine quiet]" if measurement.conditions.quiet
             else ":orange-badge[:material/warning: machine not quiet]")
    processor = [":orange-badge[processor, a trial]"] if measurement.is_cpu else []
    return [figures.badge(Basis.MEASURED), quiet, *processor]


def _ceilings(measurement: Measurement, gpu: gpus.GpuSpec | None) -> None:
    found, ratios = fit.ceilings(measurement), fit.speed_over_16_bit(measurement.points)
    with st.grid(4, min_column_width=150, gap="small"):
        for name, rate in (("Copy", found.copy_bytes_per_s), ("Read", found.read_bytes_per_s)):
            if rate:
                share = f"{rate / gpu.bandwidth_bytes_per_s:.0%} of the data sheet" if gpu else None
                _metric(name, f"{figures.three(rate / 1e9)} GB/s", share)
        if found.link:
            _metric(f"All-reduce, {found.ranks} GPUs", f"{figures.three(found.link.rate_per_s / 1e9)} GB/s",
                    f"after {found.link.start_s * 1e6:.1f} µs")
        for fmt, by_rows in ratios.items():
            if fmt != fit.BASE and 1 in by_rows:
                _metric(f"{_label(fmt)}, batch 1", f"{by_rows[1]:.2f} ×", "the speed of 16 bits")


def _metric(name: str, value: str, says: str | None) -> None:
    st.metric(name, value, says, delta_color="off", delta_arrow="off", border=True)


def _label(fmt: str) -> str:
    return FORMATS[fmt].label if fmt in FORMATS else fmt


def _bandwidth(points: Sequence[Point], sheet: float | None, *, key: str) -> None:
    series = {
        kind.value: sorted({p.shape["size"]: p.bytes_per_s for p in points if p.quantity is kind}.items())
        for kind in (Quantity.COPY, Quantity.READ)
    }
    series = {name: rates for name, rates in series.items() if rates}
    if series:
        parts.chart(charts.bandwidth_over_size(series, sheet), alt="Bandwidth over size", key=f"{key} bandwidth chart")


def _formats(points: Sequence[Point], *, key: str) -> bool:
    """Each format's speed over 16 bit; whether there are points enough to draw it."""
    ratios = {fmt: row for fmt, row in fit.speed_over_16_bit(points).items() if len(row) >= FEWEST_ROWS}
    batch = sorted(set.intersection(*(set(row) for row in ratios.values()))) if ratios else []
    if len(batch) < FEWEST_ROWS or len(ratios) < 2 or fit.BASE not in ratios:
        return False
    base = _label(fit.BASE)
    users = min(max(parts.inputs.asked().workload.concurrency, batch[0]), batch[-1])
    whole = {_label(fmt): [row[M] for M in batch] for fmt, row in ratios.items()}
    parts.chart(
        charts.formats_over_batch(batch, whole, baseline=base, chosen=base, at=users),
        alt="Speed of each format's matmuls relative to 16 bits, by batch", key=f"{key} formats chart",
    )
    return True


def _decode(measurement: Measurement, spec: ModelSpec, gpu: gpus.GpuSpec | None) -> None:
    """Tokens per second of the whole model, where each format stops being faster, and what was estimated."""
    if spec.name != measurement.model or measurement.is_cpu:
        return
    steps = fit.decode_steps(measurement, spec.n_layers)
    if not steps:
        return
    series: dict[str, list[tuple[int, float, float, float]]] = {}
    for step in steps:
        low, high = step.batch / step.full.high_s, step.batch / max(step.full.low_s, step.full.seconds / 10)
        series.setdefault(_label(step.format), []).append((step.batch, step.tokens_per_s, low, high))
    differences = override.step_differences(spec, gpu, measurement) if gpu else ()
    estimated: dict[str, list[tuple[int, float]]] = {}
    for one in differences:
        estimated.setdefault(_label(one.format), []).append((one.batch, one.batch / one.estimated_s))
    with st.container(border=True, gap="small"):
        parts.section(
            "Decode of the whole model",
            "Lines: stacks of layers, measured and extrapolated to the whole model, with output head and sampling "
            "but no scheduling. Rings: the same, estimated without the probe. A diamond marks where a format falls "
            "to the speed of 16 bits.",
        )
        crossings = {_label(fmt): at for fmt, at in fit.crossings(steps).items()}
        parts.chart(charts.tokens_over_batch(series, estimated, crossings), alt="Decode tokens per second over batch",
                    key="decode chart")
        if differences:
            st.dataframe([
                {
                    "format": _label(one.format), "batch": one.batch,
                    "measured ms": round(one.measured.seconds * 1e3, 2),
                    "± ms": round((one.measured.high_s - one.measured.seconds) * 1e3, 2),
                    "estimated ms": round(one.estimated_s * 1e3, 2),
                    "difference": f"{one.estimated_s / one.measured.seconds - 1:+.0%}",
                }
                for one in differences
            ], hide_index=True)


def _roofline(measurement: Measurement, spec: ModelSpec, gpu: gpus.GpuSpec) -> None:
    """The roof of the data sheet, the estimated and the measured one, over what the linears reached."""
    roofs = override.roofs(spec, gpu, measurement)
    reached = fit.linears_on_the_roofline(measurement.points)
    if len(roofs) < 2 or not reached:
        return
    with st.container(border=True, gap="small"):
        parts.section(
            "The roofline in 16 bits, measured against estimated",
            f"Roofs: {', '.join(f'{name} {style}' for name, style in zip(roofs, charts.ROOF_STYLES, strict=False))}. "
            "Points: one per matrix size and format.",
        )
        named = {_label(fmt): points for fmt, points in reached.items()}
        parts.chart(
            charts.measured_roofline(named, roofs), alt="Roofline, measured and estimated", key="roofline chart"
        )
        marks = {name: charts.format_mark(name) for name in named}
        parts.legend([(name + mark.words, mark.hue, 1.0) for name, mark in marks.items()])


def _differences(measurement: Measurement, spec: ModelSpec, gpu: gpus.GpuSpec) -> None:
    found = override.differences(spec, gpu, measurement)
    if not found:
        return
    with st.container(border=True, gap="small"):
        parts.section("Measured against estimated", "Dot: measured. Ring: estimated without the probe.")
        parts.chart(
            charts.measured_against_estimated(
                [d.name for d in found], [d.measured / d.data_sheet for d in found],
                [d.estimated / d.data_sheet if d.estimated else None for d in found],
            ), alt="Measured and estimated shares of the data sheet", key="differences chart",
        )


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
            st.caption(figures.plain(f"Not measured: {sentence}"))
