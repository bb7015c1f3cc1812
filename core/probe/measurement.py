"""What a probe leaves behind: points with their spread, on which device, under which conditions.

A `Measurement` travels as JSON, so that a probe of a GPU box opens in a planner elsewhere.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

from core.errors import InputError
from core.probe.timing import Stop, Timing

VERSION: Final = 1
MAX_JSON_BYTES: Final = 4_000_000
MAX_POINTS: Final = 5_000
MAX_TEXT: Final = 300
FALLBACK: Final = " (fallback)"      # ends the name of a kernel that an engine would not use


class Quantity(StrEnum):
    """What a point measures."""

    COPY = "copy"                   # size: bytes
    READ = "read"                   # size: bytes
    MATMUL = "matmul"               # M, N, K
    LINEAR = "linear"               # M, N, K in a weight format
    ATTENTION = "attention"         # decode: batch, context, heads, kv_heads, head_dim
    EXPERTS = "experts"             # grouped matmul: M, N, K, experts, experts_per_token
    BLOCK = "block"                 # decode blocks: layers, batch, context
    HEAD = "head"                   # lm_head and sampling: batch
    PREFILL = "prefill"             # one block: tokens
    ALL_REDUCE = "all-reduce"       # size: bytes, gpus


@dataclass(frozen=True, slots=True)
class Point:
    """One timed operator."""

    quantity: Quantity
    format: str                     # a name of core.formats, of a KV format, or of a dtype
    kernel: str                     # what ran, with its version: "torch 2.13.0 _int_mm"
    shape: Mapping[str, int]        # the numbers named at `Quantity`
    timing: Timing
    bytes: float                    # moved through memory
    flops: float

    @property
    def fallback(self) -> bool:
        """Whether a slower kernel stood in for the one an engine would use."""
        return self.kernel.endswith(FALLBACK)

    @property
    def bytes_per_s(self) -> float:
        return self.bytes / self.timing.median_s

    @property
    def flops_per_s(self) -> float:
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
        return self.device.startswith("CPU")


def to_json(measurement: Measurement) -> str:
    """JSON text that `from_json` reads."""
    return json.dumps({"sweetspot_measurement": VERSION, **asdict(measurement)}, indent=1, allow_nan=False)


def from_json(text: str) -> Measurement:
    """A measurement from its JSON. Raises InputError naming what is wrong; nothing in it is executed."""
    if len(text) > MAX_JSON_BYTES:
        raise InputError(f"This file is larger than the {MAX_JSON_BYTES:,} bytes a measurement may have.")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise InputError("This file is no measurement: it is not JSON.") from None
    if not isinstance(data, dict) or data.get("sweetspot_measurement") != VERSION:
        raise InputError("This file is no measurement of this version: export it again from the Probe page.")
    try:
        return _measurement(data)
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"This measurement cannot be read: {_what(error)}. Export it again.") from None


def _no_constant(name: str) -> float:
    raise ValueError(name)


def _what(error: Exception) -> str:
    return f"{error.args[0]!s:.80} is missing" if isinstance(error, KeyError) else f"{error!s:.120}"


def _measurement(data: Mapping[str, Any]) -> Measurement:
    points, lost = data["points"], data["lost"]
    if not isinstance(points, list) or not 0 < len(points) <= MAX_POINTS or not isinstance(lost, list):
        raise ValueError(f"it needs 1 to {MAX_POINTS:,} points")
    conditions = data["conditions"]
    return Measurement(
        device=_text(data, "device"), gpu=_text(data, "gpu"), model=_text(data, "model"), driver=_text(data, "driver"),
        versions={_clean(k): _clean(v) for k, v in dict(data["versions"]).items()},
        date=_text(data, "date"), seconds=_number(data, "seconds"),
        conditions=Conditions(
            quiet=conditions["quiet"] is True,
            remarks=tuple(_clean(remark) for remark in conditions["remarks"]),
            telemetry=tuple(
                {_clean(k): _finite(v, "telemetry") for k, v in sample.items()} for sample in conditions["telemetry"]
            ),
        ),
        points=tuple(point_of(point) for point in points),
        lost=tuple(_clean(sentence) for sentence in lost),
    )


def point_of(data: Mapping[str, Any]) -> Point:
    """A point from its JSON. Raises KeyError, TypeError or ValueError where it is none."""
    timing = data["timing"]
    return Point(
        quantity=Quantity(data["quantity"]), format=_text(data, "format"), kernel=_text(data, "kernel"),
        shape={_clean(k): int(_finite(v, "shape")) for k, v in data["shape"].items()},
        timing=Timing(
            median_s=_positive(timing, "median_s"), p10_s=_positive(timing, "p10_s"), p90_s=_positive(timing, "p90_s"),
            samples=int(_positive(timing, "samples")), relative_ci=_number(timing, "relative_ci"),
            stop=Stop(timing["stop"]),
        ),
        bytes=_number(data, "bytes"), flops=_number(data, "flops"),
    )


def _text(data: Mapping[str, Any], key: str) -> str:
    return _clean(data[key])


def _clean(value: object) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise ValueError(f"a text is missing or longer than {MAX_TEXT} characters")
    return value


def _finite(value: object, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{key} is not a number")
    return float(value)


def _number(data: Mapping[str, Any], key: str) -> float:
    value = _finite(data[key], key)
    if value < 0:
        raise ValueError(f"{key} is negative")
    return value


def _positive(data: Mapping[str, Any], key: str) -> float:
    value = _number(data, key)
    if value == 0:
        raise ValueError(f"{key} is zero")
    return value
