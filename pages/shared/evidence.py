"""Measurements that a visitor keeps: probes of GPUs and quality checks of models; plans use those in use."""

import json
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import streamlit as st

from core import losses
from core.answers.sweep import Benchmark, benchmarks
from core.basics.errors import InputError, SweetspotError
from core.basics.words import counted
from core.losses import measured as quality_measured
from core.losses.measured import QualityMeasurement
from core.machinery.store import Kind, Saved
from core.measure import record
from core.measure.record import EngineRun
from core.models import ModelSpec
from core.probe.measurement import Measurement, from_json, to_json
from core.probe.override import applies, with_measured
from core.probe.recorded import is_recorded
from core.products.gpus import GpuSpec
from pages.shared import keeping

Read = TypeVar("Read")


def keep_measurement(measurement: Measurement) -> None:
    """Keeps a probe; plans of its GPU use it from now on. Raises InputError, StoreError."""
    _keep(Kind.MEASUREMENT, f"{measurement.device}, {measurement.model.rpartition('/')[2]}", to_json(measurement))


def keep_run(run: EngineRun) -> None:
    """Keeps a run of an engine; predictions of that deployment follow it. Raises InputError, StoreError."""
    name = f"{run.model.rpartition('/')[2]} on {run.gpu}, {run.engine}"
    _keep(Kind.MEASUREMENT, name, record.to_json(run))


def keep_quality(check: QualityMeasurement, prompts: str = "") -> None:
    """Keeps a quality check on `prompts`; plans of its model use it from now on. Raises InputError, StoreError."""
    name = f"{check.model.rpartition('/')[2]}, {prompts.strip() or counted(check.prompts, 'prompt')}"
    _keep(Kind.QUALITY, name, quality_measured.to_json(check))


def _keep(kind: Kind, name: str, text: str) -> None:
    """Keeps what was measured as the newest and in use; opened again, it is kept once."""
    body = json.loads(text)
    before = (item for item in keeping.all_or_none(kind) if {**item.body, "in_use": True} == {**body, "in_use": True})
    if (same := next(before, None)) is None:
        keeping.store().save(kind, " ".join(name.split())[:200], body)
    else:
        keeping.store().replace(same, body)
    keeping.changed()


def measurements() -> tuple[tuple[Saved, Measurement], ...]:
    """The visitor's probes, newest first; none when the store fails."""
    return _all_read(Kind.MEASUREMENT, from_json)


def runs() -> tuple[tuple[Saved, EngineRun], ...]:
    """The visitor's runs of engines, newest first; none when the store fails."""
    return _all_read(Kind.MEASUREMENT, record.from_json)


def quality_checks() -> tuple[tuple[Saved, QualityMeasurement], ...]:
    """The visitor's quality checks, newest first; none when the store fails."""
    return _all_read(Kind.QUALITY, quality_measured.from_json)


def _all_read(kind: Kind, reader: Callable[[str], Read]) -> tuple[tuple[Saved, Read], ...]:
    read = ((item, _read(item.id, item.revision, reader.__module__, item.body, reader))
            for item in keeping.all_or_none(kind))
    return tuple((item, found) for item, found in read if found is not None)


@st.cache_resource(max_entries=128, show_spinner=False)
def _read(
    item_id: str, revision: int, kind: str, _body: Mapping[str, Any], _reader: Callable[[str], Read]
) -> Read | None:
    """A kept body as what it was; None where it is of another kind or version."""
    del item_id, revision, kind
    try:
        return _reader(json.dumps(_body))
    except InputError:
        return None


def in_use(item: Saved) -> bool:
    """Whether plans may use this measurement."""
    return item.body.get("in_use", True) is True


def use_measurement(item: Saved) -> None:
    """A toggle's callback: lets plans use this measurement, or no longer."""
    try:
        keeping.store().replace(item, {**item.body, "in_use": not in_use(item)})
    except SweetspotError as error:
        st.session_state["store_problem"] = str(error)
        return
    keeping.changed()


def with_probe(gpu: GpuSpec) -> GpuSpec:
    """The GPU with the newest probe of it that is in use."""
    measurement = _probe_of(gpu)
    return gpu if measurement is None else with_measured(gpu, measurement)


def probe_name(gpu: GpuSpec) -> str:
    """What the probe behind a GPU's figures is called: the visitor's, or a recorded one by its card and date."""
    measurement = _probe_of(gpu)
    if measurement is None or not is_recorded(measurement):
        return "your probe"
    return f"the recorded run on {measurement.device}, {measurement.date[:10]}"


def _probe_of(gpu: GpuSpec) -> Measurement | None:
    return next((one for item, one in measurements() if in_use(item) and applies(one, gpu)), None)


def benchmark_runs(spec: ModelSpec, gpu: GpuSpec, engine: str) -> tuple[Saved, ...]:
    """The visitor's benchmarks of a model on a GPU under an engine, in use or not, newest first."""
    return tuple(item for item in keeping.all_or_none(Kind.MEASUREMENT) if _speaking(item, spec, gpu, engine))


def kept_benchmarks(spec: ModelSpec, gpu: GpuSpec, engine: str) -> tuple[Benchmark, ...]:
    """The loads of those that plans may use."""
    runs = (item for item in benchmark_runs(spec, gpu, engine) if in_use(item))
    return tuple(one for item in runs for one in _speaking(item, spec, gpu, engine))


def _speaking(item: Saved, spec: ModelSpec, gpu: GpuSpec, engine: str) -> tuple[Benchmark, ...]:
    mine = (spec.name, gpu.name, engine)
    return tuple(one for one in benchmarks([item.body])
                 if tuple(one.cells.get(name) for name in ("model", "gpu", "engine")) == mine)


def use_benchmarks(runs: tuple[Saved, ...]) -> None:
    """A button's callback: plans use these benchmarks, or no longer."""
    for item in runs:
        use_measurement(item)


def measured_losses(spec: ModelSpec) -> tuple[QualityMeasurement, ...]:
    """The quality checks of a model that plans may use, newest first."""
    return tuple(check for item, check in quality_checks() if in_use(item) and losses.speaks_of(check, spec))
