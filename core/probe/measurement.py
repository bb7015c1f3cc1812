"""What a probe leaves behind: points with their spread, on which device, under which conditions.

A `Measurement` travels as JSON, so that a probe of a GPU box opens in a planner elsewhere.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from core.basics.fields import clean, document, finite, number, positive, text_of
from core.basics.words import with_article
from core.probe.timing import Stop, Timing

VERSION: Final = 1
MAX_POINTS: Final = 5_000
FALLBACK: Final = " (fallback)"      # ends the name of a kernel that an engine would not use


class Quantity(StrEnum):
    """What a point measures."""

    COPY = "copy"
    READ = "read"
    MATMUL = "matmul"
    LINEAR = "linear"               # in a weight format
    ATTENTION = "attention"         # decode
    EXPERTS = "experts"             # grouped matmul
    BLOCK = "block"                 # decode blocks
    HEAD = "head"                   # lm_head and sampling
    PREFILL = "prefill"             # one block
    ALL_REDUCE = "all-reduce"


# The extents a point of each kind needs.
DIMENSIONS: Final[Mapping[Quantity, tuple[str, ...]]] = {
    Quantity.COPY: ("size",), Quantity.READ: ("size",),
    Quantity.MATMUL: ("M", "N", "K"), Quantity.LINEAR: ("M", "N", "K"),
    Quantity.ATTENTION: ("batch", "context", "heads", "kv_heads", "head_dim"),
    Quantity.EXPERTS: ("M", "N", "K", "experts", "experts_per_token"),
    Quantity.BLOCK: ("layers", "batch", "context"), Quantity.HEAD: ("batch",), Quantity.PREFILL: ("tokens",),
    Quantity.ALL_REDUCE: ("size", "gpus"),
}


@dataclass(frozen=True, slots=True)
class Point:
    """One timed operator."""

    quantity: Quantity
    format: str                     # a name of core.products.formats, of a KV format, or of a dtype
    kernel: str                     # what ran, with its version: "torch 2.13.0 _int_mm"
    shape: Mapping[str, int]        # the numbers named in DIMENSIONS
    timing: Timing
    bytes: float                    # moved through memory
    flops: float

    @property
    def fallback(self) -> bool:
        """Whether a slower kernel stood in for the one an engine would use."""
        return self.kernel.endswith(FALLBACK)

    @property
    def bytes_per_s(self) -> float:
        """Achieved bandwidth: bytes moved over the median time [B/s]."""
        return self.bytes / self.timing.median_s

    @property
    def flops_per_s(self) -> float:
        """Achieved rate: FLOPs over the median time [FLOP/s]."""
        return self.flops / self.timing.median_s


@dataclass(frozen=True, slots=True)
class Conditions:
    """How quiet the machine was."""

    quiet: bool
    remarks: tuple[str, ...] = ()   # throttling, other processes, drift: one sentence each
    telemetry: tuple[Mapping[str, float], ...] = ()     # before, during, after: clocks, power, temperature


@dataclass(frozen=True, slots=True)
class Measurement:
    """One probe of one device for one model's shapes."""

    device: str                     # as the driver names it; "CPU: ..." on a processor
    gpu: str                        # the catalogue's name, empty when it is not listed
    model: str
    driver: str
    versions: Mapping[str, str]     # of torch and of every kernel library
    date: str                       # ISO 8601, UTC
    seconds: float                  # the whole probe
    conditions: Conditions
    points: tuple[Point, ...]
    lost: tuple[str, ...] = field(default=())   # points that failed, one sentence each

    @property
    def is_cpu(self) -> bool:
        """Whether a processor was measured in place of a GPU."""
        return self.device.startswith("CPU")


def to_json(measurement: Measurement) -> str:
    """JSON text that `from_json` reads."""
    return json.dumps({"sweetspot_measurement": VERSION, **asdict(measurement)}, indent=1, allow_nan=False)


def from_json(text: str) -> Measurement:
    """A measurement from its JSON. Raises InputError naming what is wrong; nothing in it is executed."""
    return document(text, "sweetspot_measurement", VERSION, "measurement", "Measure", _measurement)


def _measurement(data: Mapping[str, Any]) -> Measurement:
    points, lost = data["points"], data["lost"]
    if not isinstance(points, list) or not 0 < len(points) <= MAX_POINTS or not isinstance(lost, list):
        raise ValueError(f"it needs 1 to {MAX_POINTS:,} points")
    return Measurement(
        device=text_of(data, "device"), gpu=text_of(data, "gpu"), model=text_of(data, "model"),
        driver=text_of(data, "driver"),
        versions={clean(k): clean(v) for k, v in dict(data["versions"]).items()},
        date=text_of(data, "date"), seconds=number(data, "seconds"),
        conditions=conditions_of(data["conditions"]),
        points=tuple(point_of(point) for point in points),
        lost=tuple(clean(sentence) for sentence in lost),
    )


def conditions_of(data: Mapping[str, Any]) -> Conditions:
    """Conditions from their JSON. Raises AttributeError, KeyError, TypeError or ValueError where it is none."""
    return Conditions(
        quiet=data["quiet"] is True,
        remarks=tuple(clean(remark) for remark in data["remarks"]),
        telemetry=tuple({clean(k): finite(v, "telemetry") for k, v in sample.items()} for sample in data["telemetry"]),
    )


def point_of(data: Mapping[str, Any]) -> Point:
    """A point from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    timing, quantity = data["timing"], Quantity(data["quantity"])
    shape = {clean(k): int(positive(data["shape"], k)) for k in data["shape"]}
    if missing := [name for name in DIMENSIONS[quantity] if shape.get(name, 0) < 1]:
        raise ValueError(f"{with_article(quantity)} point has no {missing[0]}")
    return Point(
        quantity=quantity, format=text_of(data, "format"), kernel=text_of(data, "kernel"),
        shape=shape,
        timing=Timing(
            median_s=positive(timing, "median_s"), p10_s=positive(timing, "p10_s"), p90_s=positive(timing, "p90_s"),
            samples=int(positive(timing, "samples")), relative_ci=number(timing, "relative_ci"),
            stop=Stop(timing["stop"]),
        ),
        bytes=number(data, "bytes"), flops=number(data, "flops"),
    )
