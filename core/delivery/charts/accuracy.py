"""Estimates against published figures."""

from typing import Final

import numpy as np

from core.calibration.track_record import Points
from core.delivery.charts.style import CYCLE, GREY, INK, STEPS, Spec, decades, figure, rows, tooltip

MOST_POINTS: Final = 10_000          # more make a browser slow
NAMED: Final = 5                     # kinds with a colour of their own; the others share grey
HEIGHT: Final = 440


def predicted_against_measured(points: Points, kind: str, *, scale: float, unit: str) -> tuple[Spec, dict[str, str]]:
    """Log-log scatter of cross-validated estimates [unit = base unit x scale], and the colour of each name.

    Solid line: right. Dashed: half and twice. The commonest values of `kind` ("gpu", "weights", "engine")
    have colours of their own.
    """
    known = np.isfinite(points.predicted)
    shown = np.flatnonzero(known)[:MOST_POINTS]
    names = getattr(points, kind)[shown]
    hues = colours(names.tolist())
    x, y = points.measured[shown] * scale, points.predicted[shown] * scale
    low, high = float(min(x.min(), y.min())) / 1.3, float(max(x.max(), y.max())) * 1.3
    data = rows(
        x=x.round(4).tolist(), y=y.round(4).tolist(), hue=[hues.get(name, GREY) for name in names.tolist()],
        model=[name.rpartition("/")[2] for name in points.model[shown].tolist()], gpu=points.gpu[shown].tolist(),
        weights=points.weights[shown].tolist(), engine=points.engine[shown].tolist(),
        source=points.source[shown].tolist(),
    )
    at = {"x": decades("x", f"Published, {unit}", low, high, STEPS),
          "y": decades("y", f"Estimated, {unit}", low, high, STEPS)}
    tips = tooltip(
        Published="x|,.3~r", Estimated="y|,.3~r", Model="model", GPU="gpu", Weights="weights", Engine="engine",
        Source="source",
    )
    return figure(
        [
            *(_line(low, high, times, at) for times in (0.5, 2.0, 1.0)),
            {
                "data": data,
                "mark": {"type": "circle", "size": 26, "opacity": 0.55},
                "encoding": {**at, "color": {"field": "hue", "type": "nominal", "scale": None}, "tooltip": tips},
            },
            *(_line_name(high, times, name, at) for times, name in ((2.0, "twice"), (0.5, "half"))),
        ],
        height=HEIGHT,
    ), hues


def colours(names: list[str]) -> dict[str, str]:
    """The commonest names, each with its colour, commonest first."""
    kinds, counts = np.unique(np.array(names), return_counts=True)
    common = [str(kinds[i]) for i in np.argsort(-counts, kind="stable")[:NAMED]]
    return dict(zip(common, CYCLE, strict=False))


def _line(low: float, high: float, times: float, at: Spec) -> Spec:
    """Estimates that are `times` the published figure."""
    right = times == 1.0
    style = {"strokeWidth": 1.5, "opacity": 0.8} if right else {"strokeWidth": 1, "strokeDash": [4, 4], "opacity": 0.5}
    return {
        "data": rows(x=[low, high], y=[low * times, high * times]),
        "mark": {"type": "line", "color": INK, "clip": True, **style},
        "encoding": at,
    }


def _line_name(high: float, times: float, name: str, at: Spec) -> Spec:
    """Beside the upper end of a dashed line."""
    x = high / max(times, 1.0) / 1.15
    return {
        "data": rows(x=[x], y=[x * times], label=[name]),
        "mark": {"type": "text", "color": INK, "opacity": 0.8, "align": "right" if times > 1 else "left",
                 "dx": -10 if times > 1 else 4, "dy": -6 if times > 1 else 16},
        "encoding": {**at, "text": {"field": "label"}},
    }
