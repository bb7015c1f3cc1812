"""Pictures of quality: what each format loses against what it gives, and how far variants stray."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import floor, log10
from typing import Final

from core.delivery.charts.style import BLUE, GREY, INK, ORANGE, TEAL, Spec, figure, one, quantity, rows, tooltip
from core.terms import Basis, Estimate

HEIGHT: Final = 300
ROW_HEIGHT: Final = 34
HUES: Final = {Basis.MEASURED: TEAL, Basis.PUBLISHED: BLUE, Basis.ESTIMATED: GREY}
LOSS_TICKS: Final = (0, 0.5, 1, 2, 5, 10, 20, 50, 100)     # %
NAME_ROOM: Final = 1.3          # the axis runs on for the names at its end
APART: Final = 0.06             # of the axis: names nearer than this would touch


@dataclass(frozen=True, slots=True)
class Weighed:
    """A format with what it loses and what it costs otherwise."""

    name: str
    x: float
    loss: Estimate              # relative increase of perplexity
    chosen: bool


def loss_against(formats: Sequence[Weighed], title: str, unit: str, tolerance: float) -> Spec:
    """Loss of quality [%] over `title`, with 80 % ranges; the dashed line is what is accepted, the ring the choice.

    Linear up to 1 %, logarithmic beyond, so that both INT8 and 4 bits can be read.
    """
    top = max([5.0, 100 * tolerance, *(100 * one.loss.value for one in formats)]) * 1.5
    ticks = {"values": [tick for tick in LOSS_TICKS if tick <= top],
             "labelExpr": "datum.value == 0 ? '0' : datum.label"}
    y = quantity("loss", "Loss of quality, % (logarithmic above 1)", axis=ticks, scale={
        "type": "symlog", "constant": 1, "domain": [-0.15, top], "nice": False, "clamp": True})
    low, high = (edge(one.x for one in formats) for edge in (min, max))
    room = (high - low) or high
    x = quantity("x", f"{title}, {unit}", scale={
        "domain": [max(0.0, low - 0.08 * room), high + 0.08 * room + room * (NAME_ROOM - 1)], "nice": False})
    limit = one(loss=100 * tolerance, label=f"accepted {100 * tolerance:g} %")
    return figure([
        {"data": limit, "mark": {"type": "rule", "color": INK, "strokeDash": [4, 4], "opacity": 0.6},
         "encoding": {"y": y}},
        {"data": limit, "mark": {"type": "text", "align": "right", "dy": -7, "color": INK, "opacity": 0.85},
         "encoding": {"x": {"value": "width"}, "y": y, "text": {"field": "label"}}},
        *(layer for basis in HUES for layer in _points([f for f in formats if f.loss.basis is basis], x, y, title)),
        *_names(formats, x, y),
    ], height=HEIGHT)


def _points(formats: Sequence[Weighed], x: Spec, y: Spec, title: str) -> list[Spec]:
    """Formats of one basis with their ranges."""
    if not formats:
        return []
    hue = HUES[formats[0].loss.basis]
    data = rows(
        name=[f.name for f in formats], x=[f.x for f in formats], loss=[100 * f.loss.value for f in formats],
        low=[100 * f.loss.low for f in formats], high=[100 * f.loss.high for f in formats],
        basis=[str(f.loss.basis) for f in formats],
    )
    tips = tooltip(Format="name", Loss_percent="loss|.2f", Low="low|.2f", High="high|.2f", Loss_is="basis",
                   **{title.replace(" ", "_"): "x|.3~g"})
    return [
        {"data": data, "mark": {"type": "rule", "color": hue, "strokeWidth": 2, "opacity": 0.45},
         "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
        {"data": data, "mark": {"type": "point", "filled": True, "size": 75, "color": hue, "opacity": 1},
         "encoding": {"x": x, "y": y, "tooltip": tips}},
    ]


def _names(formats: Sequence[Weighed], x: Spec, y: Spec) -> list[Spec]:
    """The choice in a ring, and the names of those that nothing beats on both axes, where there is room."""
    low, high = x["scale"]["domain"]
    best = [f for f in formats if f.chosen or not any(
        o.x <= f.x and o.loss.value <= f.loss.value and (o.x, o.loss.value) != (f.x, f.loss.value) for o in formats)]
    named: list[Weighed] = []
    for f in sorted(best, key=lambda f: not f.chosen):
        if all(abs(f.x - o.x) > APART * (high - low) or abs(_level(f) - _level(o)) > 2 * APART for o in named):
            named.append(f)
    chosen = [f for f in formats if f.chosen]
    layers: list[Spec] = [{
        "data": rows(x=[f.x for f in chosen], loss=[100 * f.loss.value for f in chosen]),
        "mark": {"type": "point", "size": 220, "filled": False, "color": ORANGE, "strokeWidth": 2.5, "opacity": 1},
        "encoding": {"x": x, "y": y},
    }]
    for f in named:
        style = {"color": ORANGE, "fontWeight": 700, "dy": -9} if f.chosen else {"color": INK, "opacity": 0.9}
        crowded = any(0 < o.x - f.x < 2 * APART * (high - low) and abs(_level(f) - _level(o)) < APART for o in formats)
        side = {"align": "right", "dx": -10} if crowded and not f.chosen else {"align": "left", "dx": 12}
        layers.append({
            "data": one(x=f.x, loss=100 * f.loss.value, name=f.name), "mark": {"type": "text", **side, **style},
            "encoding": {"x": x, "y": y, "text": {"field": "name"}},
        })
    return layers


def _level(f: Weighed) -> float:
    """Where a loss stands on the axis, roughly, 0..1 for 0 to 100 %."""
    return log10(1 + 100 * max(f.loss.value, 0.0)) / 2


@dataclass(frozen=True, slots=True)
class Strayed:
    """A variant's divergence from the reference [nats/token]."""

    name: str
    kl: float
    standard_error: float
    is_floor: bool


def divergence(variants: Sequence[Strayed]) -> Spec:
    """KL divergence of each variant with its standard error, over the noise floor."""
    least = min(max(v.kl, 1e-5) for v in variants)
    decade, highest = floor(log10(least * 0.9)), max(1.0, *(2 * v.kl for v in variants))
    x: Spec = {
        "field": "kl", "type": "quantitative",
        "scale": {"type": "log", "domain": [10.0**decade, highest], "nice": False, "clamp": True},
        "axis": {"title": "KL divergence, nats per token", "format": "~g", "grid": True, "gridOpacity": 0.5,
                 "values": [10.0**power for power in range(decade, floor(log10(highest)) + 1)], "domain": False,
                 "ticks": False},
    }
    y: Spec = {"field": "name", "type": "nominal", "sort": None, "title": None,
               "axis": {"labelLimit": 180, "domain": False, "ticks": False}}
    floors = [v for v in variants if v.is_floor]
    shown = rows(
        name=[v.name for v in variants], kl=[max(v.kl, 1e-5) for v in variants],
        low=[max(v.kl - v.standard_error, least / 3) for v in variants],
        high=[v.kl + v.standard_error for v in variants], error=[v.standard_error for v in variants],
        hue=[GREY if v.is_floor else TEAL for v in variants],
    )
    return figure([
        {"data": rows(kl=[v.kl for v in floors]),
         "mark": {"type": "rule", "color": INK, "strokeDash": [4, 4], "opacity": 0.6}, "encoding": {"x": x}},
        {"data": shown, "mark": {"type": "rule", "strokeWidth": 2},
         "encoding": {"y": y, "x": {**x, "field": "low"}, "x2": {"field": "high"},
                      "color": {"field": "hue", "type": "nominal", "scale": None}}},
        {"data": shown, "mark": {"type": "point", "filled": True, "size": 110, "opacity": 1},
         "encoding": {"y": y, "x": x, "color": {"field": "hue", "type": "nominal", "scale": None},
                      "tooltip": tooltip(Variant="name", KL="kl|.4f", Standard_error="error|.4f")}},
    ], height=ROW_HEIGHT * len(variants) + 50)
