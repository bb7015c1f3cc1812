"""Pictures of traffic: waiting against the rate, what each rate costs, replicas by the hour."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from core.delivery.charts.style import (
    BLUE,
    GREY,
    INK,
    ROSE,
    TEAL,
    Spec,
    figure,
    one,
    quantity,
    rows,
    spread,
    tooltip,
    vertical_rule,
)

HEIGHT = 240
PLOT_HEIGHT = 185        # what axes leave of it, roughly [px]
LABEL_PX = 15
X_TITLE = "Requests per second"
SHARES = {"p99": (ROSE, 2.5), "p90": (BLUE, 1.8), "p50": (TEAL, 1.8)}


def percentiles_over_rate(
    rate: Sequence[float],
    p50_ms: ArrayLike,
    p90_ms: ArrayLike,
    p99_ms: ArrayLike,
    *,
    title: str,
    slo_ms: float,
    asked: float,
) -> Spec:
    """Three percentiles [ms] over the rate, the target and the rate asked for.

    The axis ends at twice the target, or a little above the data where they stay far below it: what
    lies beyond is a queue that grows without end.
    """
    lines = {"p99": np.asarray(p99_ms, float), "p90": np.asarray(p90_ms, float), "p50": np.asarray(p50_ms, float)}
    highest = float(np.nanmax(lines["p99"]))
    top = min(2.0 * slo_ms, 1.15 * highest)
    x, y = _rate(rate), quantity("y", title, scale={"domain": [0, top], "nice": False})
    layers: list[Spec] = []
    for name, values in lines.items():
        shown = np.minimum(values, top)
        tint, width = SHARES[name]
        layers.append({
            "data": rows(x=rate, y=shown.tolist(), value=values.tolist(), name=[name] * len(values)),
            "mark": {"type": "line", "color": tint, "strokeWidth": width, "clip": True,
                     "point": {"color": tint, "size": 28}},
            "encoding": {"x": x, "y": y, "tooltip": tooltip(**{
                X_TITLE: "x|,.3~g", "percentile": "name", title: "value|,.3~s"})},
        })
    layers += _names(rate, lines, top, x, y)
    if slo_ms <= top:
        layers += [
            {"data": one(y=slo_ms), "mark": {"type": "rule", "color": INK, "strokeDash": [4, 4], "opacity": 0.6},
             "encoding": {"y": y}},
            {"data": one(x=min(rate), y=slo_ms, label=f"target {slo_ms:,.0f} ms"),
             "mark": {"type": "text", "align": "left", "dx": 4, "dy": -7, "color": INK, "opacity": 0.85},
             "encoding": {"x": x, "y": y, "text": {"field": "label"}}},
        ]
    layers += vertical_rule(asked, f"asked: {asked:,.3g}/s", x, side="right")
    return figure(layers, height=HEIGHT)


def _rate(rate: Sequence[float]) -> Spec:
    """The axis of rates, with room on its right for the names of lines."""
    low, high = min(rate), max(rate)
    return {
        "field": "x", "type": "quantitative",
        "scale": {"domain": [low - 0.02 * (high - low), high + 0.1 * (high - low)], "nice": False, "zero": False},
        "axis": {"title": X_TITLE, "grid": False, "tickCount": 5, "tickOpacity": 0.4, "domainOpacity": 0.4},
    }


def _names(rate: Sequence[float], lines: dict[str, np.ndarray], top: float, x: Spec, y: Spec) -> list[Spec]:
    """The name of each line at its right end, moved apart where they would meet."""
    ends = [min(float(values[-1]), top) * (1 - 1e-6 * below) for below, values in enumerate(lines.values())]
    placed = spread(ends, top * LABEL_PX / PLOT_HEIGHT)
    over = max(0.0, max(placed) - top * (1 - LABEL_PX / 2 / PLOT_HEIGHT))
    return [
        {
            "data": one(x=rate[-1], y=max(0.0, at - over), label=name),
            "mark": {"type": "text", "align": "left", "dx": 8, "baseline": "middle", "color": SHARES[name][0]},
            "encoding": {"x": x, "y": y, "text": {"field": "label"}},
        }
        for name, at in zip(lines, placed, strict=True)
    ]


def cost_over_rate(
    rate: Sequence[float],
    replicas: Sequence[int],
    cost: ArrayLike,
    per_million: ArrayLike,
    *,
    title: str,
    asked: float,
) -> Spec:
    """What the fleet each rate needs costs, with its number of replicas beside each point.

    Replicas are whole: the line steps, and between two points shows what holds the higher rate.

    `title` names `cost`: US dollars per hour, or replicas where no price is known.
    """
    values = np.asarray(cost, float)
    top = 1.25 * float(values.max()) or 1.0
    x, y = _rate(rate), quantity("y", title, scale={"domain": [0, top], "nice": False})
    data = rows(
        x=rate, y=values.tolist(), n=list(replicas), million=np.asarray(per_million, float).tolist(),
        label=[f"×{n:,}" if n != before else "" for n, before in zip(replicas, [0, *replicas], strict=False)],
    )
    tips = {X_TITLE: "x|,.3~g", "Replicas": "n", title: "y|,.2f"}
    if np.isfinite(np.asarray(per_million, float)).all():
        tips["USD_per_million_output_tokens"] = "million|,.3f"
    layers: list[Spec] = [
        {"data": data, "mark": {"type": "line", "color": BLUE, "strokeWidth": 2.5, "interpolate": "step-before",
                                "point": {"color": BLUE, "size": 40}},
         "encoding": {"x": x, "y": y, "tooltip": tooltip(**tips)}},
        {"data": data, "mark": {"type": "text", "dy": -11, "color": INK},
         "encoding": {"x": x, "y": y, "text": {"field": "label"}}},
    ]
    layers += vertical_rule(asked, f"asked: {asked:,.3g}/s", x, side="right")
    return figure(layers, height=HEIGHT)


def replicas_by_hour(
    labels: Sequence[str], replicas: Sequence[int], requests_per_s: Sequence[float], *, fixed: int, title: str
) -> Spec:
    """Replicas an autoscaler would run in each window, against a fixed fleet."""
    data = rows(x=labels, y=list(replicas), rate=list(requests_per_s))
    x = {
        "field": "x", "type": "ordinal", "sort": None,
        "axis": {"title": title, "labelAngle": 0, "labelOverlap": "greedy", "domain": False, "ticks": False},
    }
    top = 1.2 * max(fixed, *replicas)
    y = quantity("y", "Replicas", scale={"domain": [0, top], "nice": False},
                 axis={"tickMinStep": 1, "format": "d"})
    layers: list[Spec] = [
        {"data": data, "mark": {"type": "bar", "color": BLUE, "cornerRadiusEnd": 2},
         "encoding": {"x": x, "y": y, "tooltip": tooltip(**{title: "x", "Replicas": "y",
                                                            X_TITLE: "rate|,.3~g"})}},
        {"data": one(y=fixed), "mark": {"type": "rule", "color": GREY, "strokeDash": [4, 4], "strokeWidth": 1.5},
         "encoding": {"y": y}},
        {"data": one(y=fixed, label=f"fixed: {fixed:,}"),
         "mark": {"type": "text", "align": "left", "dx": 4, "dy": -8, "color": INK, "opacity": 0.85},
         "encoding": {"x": {"value": 0}, "y": y, "text": {"field": "label"}}},
    ]
    return figure(layers, height=HEIGHT - 40)
