"""How speed changes with the batch: throughput, time per token, and one format against another."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.delivery.charts.style import (
    BLUE,
    INK,
    ORANGE,
    Spec,
    colour,
    doubling,
    figure,
    one,
    quantity,
    rows,
    spread,
    tooltip,
    vertical_rule,
)

HEIGHT = 260
PLOT_HEIGHT = 200        # what axes leave of it, roughly [px]
X_TITLE = "Requests in flight"
RELATIVE = "Decode speed, relative"
WORTH = 1.02            # closer than this, no estimate can tell two speeds apart
KNEE_ELASTICITY = 0.5   # below it, doubling the batch adds less than 2**0.5 - 1 = 41 % of throughput
LABEL_ROOM = 14          # how far the axis runs on, as a factor, to hold the names at the ends of lines
Floats = NDArray[np.float64]


def throughput_over_batch(
    batch: Sequence[int],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    memory_limit: float | None,
    knee: float | None,
    chosen: int,
) -> Spec:
    """Output tokens/s over the batch with its range, the knee, the memory limit and the chosen batch.

    `knee` is where batching pays less, see `pays_less_from`.
    """
    curve = _curve(batch, value, low, high, "Output tokens/s", BLUE, memory_limit, number=",.0f")
    marks = _limit(batch, memory_limit)
    if knee is not None and batch[0] < knee < batch[-1]:
        label = f"knee at {knee:.0f}"
        marks += _point(batch, value, knee, label, "Output tokens/s", ORANGE, filled=False, above=True)
    marks += _point(batch, value, chosen, f"plan: {chosen}", "Output tokens/s", BLUE, filled=True)
    return figure([*curve, *marks], height=HEIGHT)


def tpot_over_batch(
    batch: Sequence[int],
    value_ms: ArrayLike,
    low_ms: ArrayLike,
    high_ms: ArrayLike,
    *,
    memory_limit: float | None,
    slo_ms: float,
    chosen: int,
) -> Spec:
    """Time per output token [ms] over the batch with its range, the SLO and the memory limit.

    The axis ends a little above the SLO or the plan, whichever is higher: what lies far beyond the
    SLO is of no use to the reader and would flatten what matters.
    """
    title = "TPOT, ms"
    values = np.asarray(value_ms, dtype=float)
    at_plan = float(np.interp(chosen, batch, values))
    top = min(float(np.nanmax(np.asarray(high_ms))), 2.2 * max(slo_ms, at_plan))
    top = max(top, 1.15 * slo_ms if slo_ms < 4 * float(np.nanmax(values)) else 0.0)
    curve = _curve(batch, values, low_ms, high_ms, title, BLUE, memory_limit, number=".1f", top=top)
    marks = _limit(batch, memory_limit)
    if slo_ms <= top:
        marks += _slo(slo_ms, batch, title, top)
    marks += _point(batch, values, chosen, f"plan: {chosen}", title, BLUE, filled=True, above=True, top=top)
    return figure([*curve, *marks], height=HEIGHT)


def formats_over_batch(
    batch: Sequence[int],
    series: Mapping[str, ArrayLike],
    *,
    baseline: str,
    chosen: str,
    at: int,
) -> Spec:
    """Decode speed of each weight format relative to `baseline`, over the batch.

    A dot marks where a format stops paying: where its line has come down to 1.
    """
    names = list(series)
    lines = {name: np.asarray(values, dtype=float) for name, values in series.items()}
    top = max(1.25, *(float(np.nanmax(line)) for line in lines.values())) * 1.05
    bottom = min(0.7, *(float(np.nanmin(line)) for line in lines.values())) * 0.95
    y = {"scale": {"domain": [max(0.0, bottom), top], "nice": False, "zero": False}}
    x = doubling("batch", X_TITLE, batch, last=batch[-1] * LABEL_ROOM)
    layers: list[Spec] = [
        {
            "data": one(y=1.0),
            "mark": {"type": "rule", "color": INK, "opacity": 0.5, "strokeDash": [4, 4]},
            "encoding": {"y": quantity("y", RELATIVE, **y)},
        }
    ]
    for position, name in enumerate(names):
        layers += _format_line(batch, lines[name], name, colour(position), x, y, strong=name == chosen)
        if (crossing := stops_paying_at(batch, lines[name])) is not None and name != baseline:
            layers.append(_crossing(crossing, name, colour(position), x, y))
    layers += _end_labels(batch, lines, top - max(0.0, bottom), x, y)
    layers += vertical_rule(at, f"plan: {at}", x, side="left" if at > 8 else "right")
    return figure(layers, height=HEIGHT + 30)


def stops_paying_at(batch: Sequence[int], relative: ArrayLike) -> float | None:
    """The batch at which a gain falls below 2 % for good, or None when it never does."""
    line = np.asarray(relative, dtype=float)
    above = np.flatnonzero(line > WORTH)
    if above.size == 0 or above[-1] == line.size - 1:
        return None
    left = int(above[-1])
    share = (line[left] - WORTH) / (line[left] - line[left + 1])
    return float(2.0 ** np.interp(share, [0, 1], np.log2([batch[left], batch[left + 1]])))


def pays_less_from(batch: Sequence[int], throughput: ArrayLike) -> float | None:
    """The batch from which doubling it adds less than 41 % of throughput, or None on a curve without one.

    That is where the elasticity d ln(throughput) / d ln(batch) falls through 1/2: for a step of
    fixed + batch * share seconds, where the requests' own share has grown as large as what they split.
    """
    size, rate = np.log2(np.asarray(batch, dtype=float)), np.log2(np.asarray(throughput, dtype=float))
    elasticity = np.diff(rate) / np.diff(size)
    middle = size[:-1] + np.diff(size) / 2
    below = np.flatnonzero(elasticity < KNEE_ELASTICITY)
    if below.size == 0 or below[0] == 0:
        return None
    left, right = below[0] - 1, below[0]
    share = (elasticity[left] - KNEE_ELASTICITY) / (elasticity[left] - elasticity[right])
    return float(2.0 ** (middle[left] + share * (middle[right] - middle[left])))


def leaders(batch: Sequence[int], series: Mapping[str, ArrayLike]) -> list[tuple[int, str]]:
    """The fastest series from each batch on: (batch, name), an entry wherever the lead changes.

    The lead stays until another is ahead by more than 2 %.
    """
    lines = {name: np.asarray(values, dtype=float) for name, values in series.items()}
    found: list[tuple[int, str]] = []
    for column, size in enumerate(batch):
        best = max(lines, key=lambda name: float(lines[name][column]))
        if not found or lines[best][column] > lines[found[-1][1]][column] * WORTH:
            found.append((size, best))
    return found


def _curve(
    batch: Sequence[int],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    title: str,
    hue: str,
    memory_limit: float | None,
    *,
    number: str,
    top: float | None = None,
) -> list[Spec]:
    """The range as a band and the value as a line, faint beyond the memory limit."""
    values, lows, highs = (np.asarray(column, dtype=float) for column in (value, low, high))
    scale = {"scale": {"domain": [0, top], "nice": False}} if top else {}
    within_memory = np.asarray(batch, dtype=float) <= (memory_limit if memory_limit is not None else np.inf)
    fits = ["yes" if fit else "no" for fit in within_memory]
    data = rows(batch=batch, value=values.tolist(), low=lows.tolist(), high=highs.tolist(), fits=fits)
    x = doubling("batch", X_TITLE, batch)
    y = quantity("value", title, **scale)
    band: Spec = {
        "data": data,
        "mark": {"type": "area", "color": hue, "opacity": 0.2, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }
    beyond: Spec = {
        "data": data,
        "mark": {"type": "line", "color": hue, "opacity": 0.5, "strokeDash": [3, 4], "clip": True},
        "encoding": {"x": x, "y": y},
    }
    within: Spec = {
        "data": _until(batch, values, memory_limit),
        "mark": {"type": "line", "color": hue, "strokeWidth": 2.5, "clip": True},
        "encoding": {"x": x, "y": y},
    }
    hover: Spec = {
        "data": data,
        "mark": {"type": "point", "size": 300, "opacity": 0, "filled": True, "clip": True},
        "encoding": {
            "x": x,
            "y": y,
            "tooltip": [
                *tooltip(Batch="batch"),
                {"field": "value", "title": title, "type": "quantitative", "format": number},
                *tooltip(Low=f"low|{number}", High=f"high|{number}", Fits="fits"),
            ],
        },
    }
    return [band, beyond, within, hover]


def _until(batch: Sequence[int], values: Floats, limit: float | None) -> Spec:
    """The part of a curve below `limit`, with a last point on the limit itself."""
    size = np.asarray(batch, dtype=float)
    if limit is None or limit >= size[-1]:
        return rows(batch=size.tolist(), value=values.tolist())
    inside = size < limit
    if not inside.any():
        return rows(batch=[], value=[])
    end = float(np.interp(np.log2(limit), np.log2(size), values))
    return rows(batch=[*size[inside].tolist(), limit], value=[*values[inside].tolist(), end])


def _limit(batch: Sequence[int], memory_limit: float | None) -> list[Spec]:
    if memory_limit is None or not batch[0] <= memory_limit <= batch[-1]:
        return []
    side = "left" if memory_limit > np.sqrt(batch[0] * batch[-1]) else "right"
    label = f"memory ends at {memory_limit:.0f}"
    return vertical_rule(memory_limit, label, doubling("x", X_TITLE, batch), side=side)


def _slo(slo_ms: float, batch: Sequence[int], title: str, top: float) -> list[Spec]:
    y = quantity("y", title, scale={"domain": [0, top], "nice": False})
    x = doubling("x", X_TITLE, batch)
    return [
        {
            "data": one(y=slo_ms),
            "mark": {"type": "rule", "color": ORANGE, "strokeWidth": 1.5},
            "encoding": {"y": y},
        },
        {
            "data": one(x=batch[0], y=slo_ms, label=f"target {slo_ms:g} ms"),
            "mark": {"type": "text", "align": "left", "dx": 4, "dy": -8, "color": ORANGE, "fontWeight": 600},
            "encoding": {"x": x, "y": y, "text": {"field": "label"}},
        },
    ]


def _point(
    batch: Sequence[int],
    value: ArrayLike,
    at: float,
    label: str,
    title: str,
    hue: str,
    *,
    filled: bool,
    above: bool = False,
    top: float | None = None,
) -> list[Spec]:
    """A dot on the curve with its label beside it."""
    values = np.asarray(value, dtype=float)
    height = float(np.interp(np.log2(at), np.log2(np.asarray(batch, dtype=float)), values))
    data = one(x=at, y=height, label=label)
    scale = {"scale": {"domain": [0, top], "nice": False}} if top else {}
    encoding = {"x": doubling("x", X_TITLE, batch), "y": quantity("y", title, **scale)}
    late = at > batch[-1] / 8
    dot = {"type": "point", "size": 110, "filled": filled, "color": hue, "strokeWidth": 2.5, "opacity": 1}
    text = {
        "type": "text",
        "align": "right" if late or above else "left",
        "dx": -8 if late or above else 8,
        "dy": -14 if above else 14,
        "color": INK,
        "fontWeight": 600,
    }
    return [
        {"data": data, "mark": dot, "encoding": encoding},
        {"data": data, "mark": text, "encoding": encoding | {"text": {"field": "label"}}},
    ]


def _format_line(
    batch: Sequence[int], line: Floats, name: str, hue: str, x: Spec, y: Spec, *, strong: bool
) -> list[Spec]:
    data = rows(batch=batch, value=line.tolist(), name=[name] * len(batch))
    at = {"x": x, "y": quantity("value", RELATIVE, **y)}
    return [
        {
            "data": data,
            "mark": {"type": "line", "color": hue, "strokeWidth": 3 if strong else 1.8},
            "encoding": at,
        },
        {
            "data": data,
            "mark": {"type": "point", "size": 250, "opacity": 0, "filled": True},
            "encoding": at | {"tooltip": tooltip(Format="name", Batch="batch", Relative="value|.2f")},
        },
    ]


def _crossing(at: float, name: str, hue: str, x: Spec, y: Spec) -> Spec:
    return {
        "data": one(batch=at, value=1.0, name=name),
        "mark": {"type": "point", "size": 90, "filled": True, "color": hue, "opacity": 1, "stroke": INK},
        "encoding": {
            "x": x,
            "y": quantity("value", RELATIVE, **y),
            "tooltip": tooltip(Format="name", Stops_paying_at="batch|.0f"),
        },
    }


def _end_labels(batch: Sequence[int], lines: dict[str, Floats], span: float, x: Spec, y: Spec) -> list[Spec]:
    """The name of each line beside its end, moved apart where lines meet."""
    names = list(lines)
    ends = [float(lines[name][-1]) for name in names]
    placed = spread(ends, gap=span * 15 / PLOT_HEIGHT)
    return [
        {
            "data": one(batch=batch[-1], value=height, name=name),
            "mark": {"type": "text", "align": "left", "dx": 8, "color": colour(position), "fontWeight": 600},
            "encoding": {
                "x": x,
                "y": quantity("value", RELATIVE, **y),
                "text": {"field": "name"},
            },
        }
        for position, (name, height) in enumerate(zip(names, placed, strict=True))
    ]
