"""A measurement in the place of the estimates for its GPU, and how far the two are apart."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from core.models import ModelSpec
from core.physics import speed
from core.physics.ask import Load, desk
from core.physics.efficiency import load
from core.physics.efficiency.labels import kernel, link
from core.physics.efficiency.measured import DOUBT, neighbours, rates_of
from core.probe.fit import BASE, Ceilings, FullModel, ceilings, decode_steps
from core.probe.measurement import Measurement
from core.probe.order import BLOCK_CONTEXT
from core.products.engines import GENERIC
from core.products.formats import FORMATS, KV_FORMATS
from core.products.gpus import GpuSpec
from core.reading import catalogue
from core.terms import Deployment, Workload

OPERAND_BITS: Final = {"int8": 8, "fp8": 8, "bf16": 16}     # the later one counts where two are as wide
NOT_QUIET: Final = 0.10          # how far off a card can be while others use it [log]


@dataclass(frozen=True, slots=True)
class Difference:
    """One ceiling: measured, as estimated without the probe, and on the data sheet."""

    name: str
    unit: str                   # "B/s", "FLOP/s"
    measured: float
    estimated: float | None
    data_sheet: float


def applies(measurement: Measurement, gpu: GpuSpec) -> bool:
    """Whether a measurement speaks about this GPU: the same catalogued card, and no processor."""
    return usable(measurement) and gpu.name == measurement.gpu


def usable(measurement: Measurement) -> bool:
    """Whether any plan can use it: of a catalogued GPU."""
    return not measurement.is_cpu and bool(measurement.gpu)


def with_measured(gpu: GpuSpec, measurement: Measurement) -> GpuSpec:
    """The GPU with what was measured on it; unchanged where the measurement is of another device.

    Kernels that only stand in for an engine's (`Point.fallback`) change nothing.
    """
    if not applies(measurement, gpu):
        return gpu
    reached = _engine_kernels(measurement)
    found = _shares(reached, gpu)
    if not found:
        return gpu
    note = f"Measured on {measurement.date[:10]}: {', '.join(sorted(found))}."
    measured = _inferred(found, gpu) | found | _doubts(reached, gpu, measurement)
    return replace(gpu, measured=measured, notes=f"{gpu.notes} {note}".strip())


def _inferred(found: Mapping[str, float], gpu: GpuSpec) -> dict[str, float]:
    """What streaming 16-bit weights says about kernels that were not measured; rates differ too much by type."""
    spec, reference = catalogue.load(catalogue.DEFAULT_MODEL), "weights_bandwidth 16-bit"
    if spec is None or reference not in found:
        return {}
    pairs = [(spec, Deployment(gpu, fmt, KV_FORMATS["bf16"], engine=GENERIC)) for fmt in FORMATS.values()]
    return neighbours(pairs, load(), "weights_bandwidth", reference, found[reference])


def _engine_kernels(measurement: Measurement) -> Ceilings:
    return ceilings(replace(measurement, points=tuple(p for p in measurement.points if not p.fallback)))


def _shares(found: Ceilings, gpu: GpuSpec) -> dict[str, float]:
    """Values for `GpuSpec.measured`: shares of the data sheet, as `core.physics.efficiency.measured` names them."""
    bandwidth = gpu.bandwidth_bytes_per_s
    out: dict[str, float] = {}
    for name, rate in found.weights_bytes_per_s.items():
        if name in FORMATS:
            key = f"weights_bandwidth {kernel(FORMATS[name], gpu)}"
            out[key] = max(out.get(key, 0.0), rate / bandwidth)
    for key, dtype in _multiplied(found, gpu).items():
        out[key] = found.matmul_flops_per_s[dtype] / gpu.flops[dtype]
    for name, rate in found.kv_bytes_per_s.items():
        out[f"kv_bandwidth {KV_FORMATS[name].bits_per_value:.0f}-bit"] = rate / bandwidth
    if found.launch_s:
        out["kernel_s"] = found.launch_s
    if found.link and found.ranks > 1:
        between = link(gpu, found.ranks)
        out[f"link_rate {between}"] = found.link.rate_per_s / gpu.link_bytes_per_s_among(found.ranks)
        if found.link.start_s > 0:
            out[f"link_latency_s {between}"] = found.link.start_s
    return out


def _multiplied(found: Ceilings, gpu: GpuSpec) -> dict[str, str]:
    """The dtype whose matmuls speak for each width of operands, by the name of its rate in `GpuSpec.measured`."""
    known = found.matmul_flops_per_s.keys() & {dtype for dtype, peak in gpu.flops.items() if peak}
    return {f"matmul_rate {bits}": dtype for dtype, bits in OPERAND_BITS.items() if dtype in known}


def _doubts(found: Ceilings, gpu: GpuSpec, measurement: Measurement) -> dict[str, float]:
    """Half-widths for `GpuSpec.measured` [log]: the timings' own spread, what a machine that was not quiet adds, and
    for matmuls how far a cool card's rate lies from a warm one's."""
    spread = float(np.median([point.timing.relative_ci for point in measurement.points]))
    of_all = spread if measurement.conditions.quiet else float(np.hypot(spread, NOT_QUIET))
    return {DOUBT: of_all} | {
        f"{DOUBT} {key}": float(np.hypot(of_all, found.matmul_doubt[dtype]))
        for key, dtype in _multiplied(found, gpu).items()
    }


def differences(spec: ModelSpec, gpu: GpuSpec, measurement: Measurement) -> tuple[Difference, ...]:
    """Every measured ceiling next to what is estimated for a generic engine without the probe.

    Estimates are of a GPU without measured values; none for a kernel that is a fallback.
    """
    plain, all_of, used = replace(gpu, measured={}), ceilings(measurement), _engine_kernels(measurement)
    out = []
    for name, rate in (("Copy", all_of.copy_bytes_per_s), ("Read", all_of.read_bytes_per_s)):
        if rate:
            out.append(Difference(f"{name} bandwidth", "B/s", rate, None, gpu.bandwidth_bytes_per_s))
    for name, rate in all_of.weights_bytes_per_s.items():
        share = _estimated(spec, plain, name, "weights_bandwidth") if name in used.weights_bytes_per_s else None
        sheet = gpu.bandwidth_bytes_per_s
        label = FORMATS[name].label if name in FORMATS else name
        out.append(Difference(f"{label} weights, M = 1", "B/s", rate, share and share * sheet, sheet))
    for name, rate in all_of.matmul_flops_per_s.items():
        peak = gpu.peak(name if name in gpu.flops else "bf16")
        if peak and name in OPERAND_BITS:
            share = _estimated(spec, plain, {"int8": "w8a8-int8"}.get(name, name), "matmul_rate")
            out.append(Difference(f"{name.upper()} matmul, large M", "FLOP/s", rate, share and share * peak, peak))
    for name, rate in all_of.kv_bytes_per_s.items():
        share = _estimated(spec, plain, "bf16", "kv_bandwidth", name) if name in used.kv_bytes_per_s else None
        sheet = gpu.bandwidth_bytes_per_s
        out.append(Difference(f"{name.upper()} KV cache", "B/s", rate, share and share * sheet, sheet))
    return tuple(out)


def roofs(spec: ModelSpec, gpu: GpuSpec, measurement: Measurement) -> dict[str, tuple[float, float]]:
    """16-bit roofs (B/s, FLOP/s) by name: of the data sheet, estimated without the probe, measured where it was."""
    peak, plain = gpu.peak(BASE), replace(gpu, measured={})
    shares = [_estimated(spec, plain, BASE, term) for term in ("weights_bandwidth", "matmul_rate")]
    if peak is None or shares[0] is None or shares[1] is None:
        return {}
    found = ceilings(measurement)
    out = {
        "data sheet": (gpu.bandwidth_bytes_per_s, peak),
        "estimated": (shares[0] * gpu.bandwidth_bytes_per_s, shares[1] * peak),
    }
    if BASE in found.weights_bytes_per_s and BASE in found.matmul_flops_per_s:
        out["measured"] = (found.weights_bytes_per_s[BASE], found.matmul_flops_per_s[BASE])
    return out


@dataclass(frozen=True, slots=True)
class StepDifference:
    """One decode step of the whole model: measured, and as estimated without the probe."""

    format: str
    batch: int
    measured: FullModel         # [s]
    estimated_s: float


def step_differences(spec: ModelSpec, gpu: GpuSpec, measurement: Measurement) -> tuple[StepDifference, ...]:
    """Every measured decode step next to the estimate for a generic engine, less its scheduling, which no probe has."""
    plain = replace(gpu, measured={})
    out = []
    for step in decode_steps(measurement, spec.n_layers):
        deployment = Deployment(plain, FORMATS[step.format], KV_FORMATS["bf16"], engine=GENERIC)
        costs = speed.breakdown(spec, deployment, "decode", step.batch, BLOCK_CONTEXT)
        rates = rates_of(((spec, deployment),), load())
        scheduling = float(rates.step_s[0] + rates.sequence_s[0] * step.batch)
        out.append(StepDifference(step.format, step.batch, step.full, sum(cost.seconds for cost in costs) - scheduling))
    return tuple(out)


def tpot_without(spec: ModelSpec, deployment: Deployment, workload: Workload) -> tuple[float, float]:
    """TPOT with what the probe found and without it [s]."""
    plain = replace(deployment, gpu=replace(deployment.gpu, measured={}))
    measured, estimated = desk(((spec, deployment), (spec, plain))).predict(Load.of(workload)).tpot_s.value
    return float(measured), float(estimated)


def _estimated(spec: ModelSpec, gpu: GpuSpec, fmt: str, term: str, kv: str = "bf16") -> float | None:
    """The estimate of one share without a probe; None for a name that is no format."""
    if fmt not in FORMATS or kv not in KV_FORMATS:
        return None
    deployment = Deployment(gpu=gpu, weights=FORMATS[fmt], kv_cache=KV_FORMATS[kv], engine=GENERIC)
    return float(getattr(rates_of(((spec, deployment),), load()), term)[0])
