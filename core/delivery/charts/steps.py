"""What a step spends its time on."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from core.answers.regime import Path, Share
from core.basics.units import MS_PER_S
from core.delivery.charts.style import BLUE, BROWN, CYAN, GREY, INK, OLIVE, ROSE, TEAL, VIOLET, Spec, figure, tooltip
from core.physics.speed.regime import DRAFTING, HOST_MEMORY

PARTS: Final[Mapping[str, str]] = {
    "weights": BLUE, "KV cache": VIOLET, "compute": TEAL, "activations": GREY, "communication": CYAN,
    "overhead": ROSE, HOST_MEMORY: BROWN, DRAFTING: OLIVE,
}
LABELLED_SHARE: Final = 0.11        # narrower parts of a bar have no room for their figure


def step_bars(steps: Mapping[str, Sequence[Share]]) -> Spec:
    """One bar a phase, split by what its time is spent on, each as long as the other."""
    data = []
    for name, parts in steps.items():
        total, start = sum(part.seconds for part in parts), 0.0
        for part in parts:
            share = part.seconds / total
            label = f"{100 * share:.0f} %" if share >= LABELLED_SHARE else ""
            data.append({
                "step": name, "part": part.name, "start": start, "end": start + share, "middle": start + share / 2,
                "label": label, "ms": part.seconds * MS_PER_S, "percent": 100 * share, "hue": PARTS[part.name],
            })
            start += share
    y: Spec = {
        "field": "step", "type": "nominal", "sort": list(steps),
        "axis": {"title": None, "domain": False, "ticks": False, "labelLimit": 130},
        "scale": {"paddingInner": 0.35},
    }
    x: Spec = {"type": "quantitative", "scale": {"domain": [0, 1]}, "axis": None}
    return figure(
        [
            {
                "data": {"values": data},
                "mark": {"type": "bar", "cornerRadius": 2},
                "encoding": {
                    "x": {**x, "field": "start"}, "x2": {"field": "end"}, "y": y,
                    "color": {"field": "hue", "type": "nominal", "scale": None},
                    "tooltip": tooltip(Part="part", ms="ms|.3f", Share="percent|.0f"),
                },
            },
            {
                "data": {"values": data},
                "mark": {"type": "text", "color": "#ffffff", "fontWeight": 600},
                "encoding": {"x": {**x, "field": "middle"}, "y": y, "text": {"field": "label"}},
            },
        ],
        height=46 * len(steps),
    )


def shares_over_batch(path: Path, *, chosen: int) -> Spec:
    """What a decode step is spent on over the batch, as columns of equal height; `chosen` is framed."""
    data, tops = [], []
    for size, parts, seconds in zip(path.sizes, path.shares, path.seconds, strict=True):
        total, start = sum(part.seconds for part in parts), 0.0
        for part in parts:
            share = 100 * part.seconds / total
            data.append({"batch": size, "part": part.name, "start": start, "end": start + share, "share": share,
                         "ms": part.seconds * MS_PER_S, "hue": PARTS[part.name]})
            start += share
        tops.append({"batch": size, "y": 100, "label": _ms(float(seconds) * MS_PER_S)})
    x: Spec = {
        "field": "batch", "type": "ordinal",
        "axis": {"title": "Requests in flight", "labelAngle": 0, "domain": False, "ticks": False},
        "scale": {"paddingInner": 0.12},
    }
    y: Spec = {
        "type": "quantitative", "scale": {"domain": [0, 100], "nice": False},
        "axis": {"title": "Share of the step, %", "tickCount": 4, "grid": False, "domain": False, "tickOpacity": 0.4},
    }
    nearest = min(path.sizes, key=lambda size: abs(np.log(size / chosen)))
    return figure(
        [
            {
                "data": {"values": data},
                "mark": {"type": "bar"},
                "encoding": {
                    "x": x, "y": {**y, "field": "start"}, "y2": {"field": "end"},
                    "color": {"field": "hue", "type": "nominal", "scale": None},
                    "tooltip": tooltip(Batch="batch", Part="part", ms="ms|.2f", Share="share|.0f"),
                },
            },
            {
                "data": {"values": [{"batch": nearest, "start": 0, "end": 100}]},
                "mark": {"type": "bar", "filled": False, "stroke": INK, "strokeWidth": 2},
                "encoding": {"x": x, "y": {**y, "field": "start"}, "y2": {"field": "end"}},
            },
            {
                "data": {"values": tops},
                "mark": {"type": "text", "dy": -8, "color": INK, "fontSize": 11},
                "encoding": {"x": x, "y": {**y, "field": "y"}, "text": {"field": "label"}},
            },
        ],
        height=230,
    )


def _ms(value: float) -> str:
    return f"{value:.0f}" if value >= 9.95 else f"{value:.1f}"
