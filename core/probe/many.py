"""The same probe on many GPUs side by side, as calls on a cluster: one table of what each reached or why not."""

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Final

from core.basics.errors import InputError, ProbeError
from core.basics.units import GB
from core.machinery import cluster
from core.machinery.cluster import Call, Loss, News, Node, Result, Tell
from core.machinery.worker import free_memory_bytes
from core.models import ModelSpec
from core.probe.devices import CPU
from core.probe.fit import ceilings, speed_over_16_bit
from core.probe.measurement import Measurement, Point, from_json, to_json
from core.probe.order import order
from core.probe.session import GRACE_S, probe
from core.products import gpus

TERA: Final = 1e12
WAIT_S: Final = 30.0        # for a free GPU
SPARE_S: Final = 30.0       # beyond a probe's own deadline, for the way there and back


@dataclass(frozen=True, slots=True)
class Target:
    """One GPU to measure: of a node, or of any node that has that type."""

    host: str               # empty: any
    gpu_type: str
    node: str = ""          # id of the node; empty: any
    gpus: int = 1           # 0: the processor of a node without GPUs

    @property
    def label(self) -> str:
        """Host and GPU type for people: "node-3, H100"."""
        return f"{self.host or 'any host'}, {self.gpu_type or ('GPU' if self.gpus else 'processor')}"


@dataclass(frozen=True, slots=True)
class Row:
    """Where one target stands: under way, measured, or lost with a sentence."""

    target: Target
    share: float = 0.0
    note: str = "waiting for a place"
    points: tuple[Point, ...] = ()
    measurement: Measurement | None = None
    lost: str = ""

    @property
    def ended(self) -> bool:
        """Whether nothing more will come: measured or lost."""
        return self.measurement is not None or bool(self.lost)


Report = Callable[[float, tuple[Row, ...]], None]       # share of all done, every row as it stands


def targets(nodes: Sequence[Node], hosts: Sequence[str] = (), gpu_types: Sequence[str] = ()) -> tuple[Target, ...]:
    """One GPU of every node of these hosts and GPU types; without hosts and types of every node that has one.

    A host is named by its name or by how its id begins. A type that no node has is asked of the cluster all the
    same, which may bring a node up for it. Raises InputError for an unknown host, or where nothing is left.
    """
    for host in hosts:
        if not any(_is(node, host) for node in nodes):
            known = ", ".join(node.name for node in nodes)
            raise InputError(f"The cluster has no host '{host[:60]}': it has {known}.")
    chosen = [
        Target(node.name, node.gpu_type, node.id, min(node.gpus, 1))
        for node in nodes
        if (any(_is(node, host) for host in hosts) or (not hosts and node.gpus))
        and (node.gpu_type in gpu_types or not gpu_types)
    ]
    if not hosts:
        present = {node.gpu_type for node in nodes}
        chosen += [Target("", gpu_type) for gpu_type in dict.fromkeys(gpu_types) if gpu_type not in present]
    there = ", ".join(f"{node.gpu_type or 'GPU'} on {node.name}" for node in nodes if node.gpus)
    if not chosen and not there:
        raise InputError("The cluster has no GPU: choose a host to measure its processor, as a trial.")
    if not chosen:
        raise InputError(f"None of these hosts has such a GPU: the cluster has {there}.")
    return tuple(chosen)


def _is(node: Node, host: str) -> bool:
    return host == node.host or (bool(host) and node.id.startswith(host))


def probe_many(spec: ModelSpec, chosen: Sequence[Target], seconds: float, report: Report) -> tuple[Row, ...]:
    """Measures every target with the model's shapes, side by side.

    `report` is called ten times a second; what it raises stops every probe. A target whose node dies, that
    finds no place in time, or whose probe fails loses its row alone. Raises ClusterError without a cluster.
    """
    calls = [
        Call(measure, (spec, seconds, target.gpus), seconds + GRACE_S + SPARE_S, target.node, target.gpu_type,
             target.gpus)
        for target in chosen
    ]
    rows = [Row(target) for target in chosen]

    def look() -> None:
        report(sum(1.0 if row.ended else row.share for row in rows) / len(rows), tuple(rows))

    with closing(cluster.run(calls, look, wait_s=WAIT_S)) as words:
        for heard in words:
            rows[heard.call] = _after(rows[heard.call], heard)
    look()
    return tuple(rows)


def _after(row: Row, heard: cluster.Heard) -> Row:
    """A row once that was heard of it."""
    match heard:
        case News(_, share, note, part):
            return replace(row, share=share, note=note, points=(*row.points, part) if part else row.points)
        case Result(_, value):
            return replace(row, share=1.0, note="measured", measurement=_placed(from_json(value), row.target))
        case Loss(_, reason):
            return replace(row, note="lost", lost=reason)


def _placed(found: Measurement, target: Target) -> Measurement:
    """A measurement that says where it was made."""
    remarks = (*found.conditions.remarks, f"Measured on {target.host or 'a host'} of a cluster.")
    if target.gpus and found.is_cpu:
        remarks += ("The cluster lent a GPU that no NVIDIA driver shows there: its processor was measured.",)
    return replace(found, conditions=replace(found.conditions, remarks=remarks))


def measure(tell: Tell, spec: ModelSpec, seconds: float, gpus_lent: int) -> str:
    """On a node: the probe of the GPU that the cluster lends, as JSON; of the processor where no driver shows one.

    Raises ProbeError.
    """
    device = "cuda:0" if gpus_lent and gpus.detect() else CPU       # the GPUs lent are the only ones in sight
    asked = order(spec, device, seconds, free_memory_bytes() if device == CPU else None)
    return to_json(probe(asked, tell))


def measured(rows: Sequence[Row]) -> tuple[Measurement, ...]:
    """What came of it. Raises ProbeError with the rows' reasons when nothing did."""
    found = tuple(row.measurement for row in rows if row.measurement is not None)
    if not found:
        reasons = " ".join(dict.fromkeys(f"{row.target.label}: {row.lost}" for row in rows))
        raise ProbeError(f"No GPU could be measured. {reasons}")
    return found


def figures(measurement: Measurement) -> dict[str, float | str | None]:
    """What one probe reached, by the column of the table; None where it says nothing."""
    reached, ratios = ceilings(measurement), speed_over_16_bit(measurement.points)
    return {
        "measured": measurement.device,
        "copy GB/s": _scaled(reached.copy_bytes_per_s, GB),
        "read GB/s": _scaled(reached.read_bytes_per_s, GB),
        "BF16 TFLOPS": _scaled(reached.matmul_flops_per_s.get("bf16"), TERA),
        "INT4 over BF16 at M=1": ratios.get("int4", {}).get(1),
        "points": float(len(measurement.points)),
        "quiet": "yes" if measurement.conditions.quiet else "no",
    }


def _scaled(rate: float | None, unit: float) -> float | None:
    return None if rate is None else rate / unit
