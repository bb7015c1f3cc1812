"""How speed changes with the batch: throughput, time per token, and one format against another."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.delivery.charts.style import (
    BLUE,
    INK,
    ORANGE,
    Mark,
    Spec,
    doubling,
    figure,
    format_mark,
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
LABEL_ROOM = 14          # how far the axis runs on, as a factor, to hold the names at the ends of lines
Floats = NDArray[np.float64]


def throughput_over_batch(
    batch: Sequence[int],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    *,
    memory_limit: float,
    limit: int | None,
    best_value: int | None,
    chosen: int,
) -> Spec:
    """Output tokens/s over the batch with its range, as far as the memory reaches.

    Marked are the batch limit to launch with, the batch of best value, and the load planned for, `chosen`.
    """
    title = "Output tokens/s"
    seen = _reached(batch, memory_limit)
    marks = _limits(seen, memory_limit, limit)
    if best_value is not None and best_value > seen[0]:
        label = f"best value up to {best_value:,}"
        marks += _point(batch, seen, value, best_value, label, title, INK, filled=False, above=best_value > chosen)
    above = best_value is None or chosen >= best_value
    marks += _point(batch, seen, value, chosen, _load(chosen), title, ORANGE, filled=True, above=above)
    return figure([*_curve(batch, seen, value, low, high, title, memory_limit, number=",.0f"), *marks], height=HEIGHT)


def time_over_batch(
    batch: Sequence[int],
    value_ms: ArrayLike,
    low_ms: ArrayLike,
    high_ms: ArrayLike,
    *,
    name: str,
    memory_limit: float,
    limit: int | None,
    slo_ms: float,
    chosen: int,
) -> Spec:
    """TPOT or TTFT, by `name` [ms], over the batch with its range and target, as far as the memory reaches.

    The axis ends a little above the target or the plan, whichever is higher: what lies far beyond the
    target is of no use to the reader and would flatten what matters.
    """
    title = f"{name}, ms"
    values, seen = np.asarray(value_ms, dtype=float), _reached(batch, memory_limit)
    drawn = np.asarray(batch) <= seen[-1]
    at_plan = float(np.interp(chosen, batch, values))
    reached, highest = (float(np.max(np.asarray(line)[drawn], initial=0.0, where=np.isfinite(np.asarray(line)[drawn])))
                        for line in (values, high_ms))
    top = min(highest or slo_ms, 2.2 * max(slo_ms, at_plan if np.isfinite(at_plan) else 0.0))
    top = max(top, 1.15 * slo_ms if slo_ms < 4 * reached else 0.0)
    marks = _limits(seen, memory_limit, limit)
    if slo_ms <= top:
        marks += _slo(slo_ms, seen, title, top)
    marks += _point(batch, seen, values, chosen, _load(chosen), title, ORANGE, filled=True, above=True, top=top)
    curve = _curve(batch, seen, values, low_ms, high_ms, title, memory_limit, number=".1f", top=top)
    return figure([*curve, *marks], height=HEIGHT)


def _load(chosen: int) -> str:
    return f"this load: {chosen:,}"


def _reached(batch: Sequence[int], memory_limit: float) -> list[int]:
    """The batches that the axis shows: those that fit, and the next one."""
    beyond = int(np.searchsorted(batch, memory_limit))
    return list(batch[: max(2, beyond + 1)])


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
    known = [float(value) for line in lines.values() for value in line if np.isfinite(value)]
    top, bottom = 1.05 * max(1.25, *known, 0.0), 0.95 * min(0.7, *known, 1.0)
    y = {"scale": {"domain": [max(0.0, bottom), top], "nice": False, "zero": False}}
    x = doubling("batch", X_TITLE, batch, last=batch[-1] * LABEL_ROOM)
    layers: list[Spec] = [
        {
            "data": one(y=1.0, x=batch[0], x2=batch[-1]),
            "mark": {"type": "rule", "color": INK, "opacity": 0.5, "strokeDash": [4, 4]},
            "encoding": {"y": quantity("y", RELATIVE, **y), "x": {**x, "field": "x"}, "x2": {"field": "x2"}},
        }
    ]
    for name in sorted(names, key=lambda name: name == chosen):        # the recommended one on top
        layers += _format_line(batch, lines[name], name, format_mark(name), x, y, strong=name == chosen)
        if (crossing := stops_paying_at(batch, lines[name])) is not None and name != baseline:
            layers.append(_crossing(crossing, name, format_mark(name).hue, x, y))
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
    seen: Sequence[int],
    value: ArrayLike,
    low: ArrayLike,
    high: ArrayLike,
    title: str,
    memory_limit: float,
    *,
    number: str,
    top: float | None = None,
) -> list[Spec]:
    """The range as a band and the value as a line; both end where the memory does."""
    columns = {name: np.asarray(column, dtype=float)
               for name, column in (("value", value), ("low", low), ("high", high))}
    scale = {"scale": {"domain": [0, top], "nice": False}} if top else {}
    data = _until(batch, columns, memory_limit)
    x = doubling("batch", X_TITLE, seen)
    y = quantity("value", title, **scale)
    band: Spec = {
        "data": data,
        "mark": {"type": "area", "color": BLUE, "opacity": 0.2, "clip": True},
        "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}},
    }
    line: Spec = {
        "data": data,
        "mark": {"type": "line", "color": BLUE, "strokeWidth": 2.5, "clip": True},
        "encoding": {"x": x, "y": y},
    }
    hover: Spec = {
        "data": data,
        "mark": {"type": "point", "size": 300, "opacity": 0, "filled": True, "clip": True},
        "encoding": {
            "x": x,
            "y": y,
            "tooltip": [
                *tooltip(Batch="batch|,.0f"),
                {"field": "value", "title": title, "type": "quantitative", "format": number},
                *tooltip(Low=f"low|{number}", High=f"high|{number}"),
            ],
        },
    }
    return [band, line, hover]


def _until(batch: Sequence[int], columns: Mapping[str, Floats], limit: float) -> Spec:
    """The part of curves below `limit`, with a last point on the limit itself."""
    size = np.asarray(batch, dtype=float)
    if limit >= size[-1]:
        return rows(batch=size.tolist(), **{name: column.tolist() for name, column in columns.items()})
    inside = [*size[size < limit].tolist(), float(limit)] if limit >= size[0] else []
    ends = {name: np.interp(np.log2(inside), np.log2(size), column).tolist() for name, column in columns.items()}
    return rows(batch=inside, **ends)


def _limits(seen: Sequence[int], memory_limit: float, limit: int | None) -> list[Spec]:
    """Rules at the batch limit to launch with and at the end of the memory; one where they are the same."""
    at_memory = f"memory ends at {memory_limit:,.0f}"
    rules = {} if limit is None else {float(limit): f"batch limit {limit:,}"}
    if memory_limit in rules:
        rules = {memory_limit: f"batch limit {limit:,}: memory ends"}
    elif seen[0] <= memory_limit <= seen[-1]:
        rules[memory_limit] = at_memory
    x, middle = doubling("x", X_TITLE, seen), np.sqrt(seen[0] * seen[-1])
    drawn = {at: label for at, label in rules.items() if seen[0] <= at <= seen[-1]}
    near = min(drawn, default=0.0)      # both names stand left of the first rule: none strikes through another's
    return [
        layer for row, (at, label) in enumerate(drawn.items())
        for layer in vertical_rule(at, label, x, side="left" if near > middle else "right", row=row,
                                   beside=near if near > middle else max(drawn))
    ]


def _slo(slo_ms: float, batch: Sequence[int], title: str, top: float) -> list[Spec]:
    y = quantity("y", title, scale={"domain": [0, top], "nice": False})
    x = doubling("x", X_TITLE, batch)
    return [
        {
            "data": one(y=slo_ms),
            "mark": {"type": "rule", "color": INK, "strokeDash": [4, 4], "opacity": 0.6},
            "encoding": {"y": y},
        },
        {
            "data": one(x=batch[0], y=slo_ms, label=f"target {slo_ms:g} ms"),
            "mark": {"type": "text", "align": "left", "dx": 4, "dy": -8, "color": INK, "opacity": 0.85},
            "encoding": {"x": x, "y": y, "text": {"field": "label"}},
        },
    ]


def _point(
    batch: Sequence[int],
    seen: Sequence[int],
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
    encoding = {"x": doubling("x", X_TITLE, seen), "y": quantity("y", title, **scale)}
    dot = {"type": "point", "size": 110, "filled": filled, "color": hue, "strokeWidth": 2.5, "opacity": 1}
    text = {
        "type": "text",
        "align": "right" if above else "left",
        "dx": -8 if above else 8,
        "dy": -14 if above else 14,
        "color": INK,
        "fontWeight": 600,
    }
    return [
        {"data": data, "mark": dot, "encoding": encoding},
        {"data": data, "mark": text, "encoding": encoding | {"text": {"field": "label"}}},
    ]


def _format_line(
    batch: Sequence[int], line: Floats, name: str, mark: Mark, x: Spec, y: Spec, *, strong: bool
) -> list[Spec]:
    data = rows(batch=batch, value=line.tolist(), name=[name] * len(batch))
    at = {"x": x, "y": quantity("value", RELATIVE, **y)}
    return [
        {
            "data": data,
            "mark": {"type": "line", "color": mark.hue, "strokeDash": list(mark.dash),
                     "strokeWidth": 3.5 if strong else 1.8},
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
    """The name of each line beside its end, moved apart where lines meet; one that lies under another says so."""
    names = list(lines)
    ends = [float(lines[name][-1]) for name in names]
    under = {name for n, name in enumerate(names) for other in names[:n]
             if np.allclose(lines[name], lines[other], rtol=0.01)}
    placed = spread(ends, gap=span * 15 / PLOT_HEIGHT)
    return [
        {
            "data": one(batch=batch[-1], value=height, name=f"= {name}" if name in under else name),
            "mark": {"type": "text", "align": "left", "dx": 8, "color": format_mark(name).hue, "fontWeight": 600},
            "encoding": {
                "x": x,
                "y": quantity("value", RELATIVE, **y),
                "text": {"field": "name"},
            },
        }
        for name, height in zip(names, placed, strict=True)
    ]
