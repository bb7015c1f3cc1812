"""The roofline: ceilings, operators of both phases, and whole steps over batch and prompt."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from core.answers.regime import ATTENTION, Path, Roof
from core.basics.units import MS_PER_S, TERA
from core.delivery.charts.style import BLUE, INK, TEAL, Spec, decades, figure, one, rows, spread, tooltip
from core.physics.speed import OperatorCost
from core.terms import Bound

DECODE: Final = BLUE
PREFILL: Final = TEAL
HEIGHT: Final = 430
PLOT_PX: Final = 380                # what axes leave of it
LINE_PX: Final = 15
X_TITLE: Final = "Arithmetic intensity, FLOP per byte"
Y_TITLE: Final = "TFLOP/s of one GPU"


def roofline(
    roof: Roof,
    operators: Mapping[str, Sequence[OperatorCost]],
    decode: Path,
    prefill: Path,
    *,
    batch: int,
) -> Spec:
    """Log-log: ceilings of data sheet and practice, operators of both phases, whole steps over batch and prompt.

    `operators`: "decode" and "prefill" -> costs of one step. `batch`: the one marked on the decode path.
    """
    frame = _Frame(roof, operators, decode, prefill)
    layers = [*_ceilings(roof, frame), *_ridge(roof, frame)]
    for phase, path, hue in (("decode", decode, DECODE), ("prefill", prefill, PREFILL)):
        layers += _path(phase, path, hue, frame)
        layers += _operators(phase, operators[phase], hue, frame)
    layers += _here(decode, batch, f"decode, batch {batch:,}", DECODE, frame)
    layers += _here(prefill, prefill.sizes[-1], "prefill", PREFILL, frame)
    layers += _ends(decode, frame)
    return figure(layers, height=HEIGHT)


class _Frame:
    """The axes: a little more than everything drawn."""

    def __init__(self, roof: Roof, operators: Mapping[str, Sequence[OperatorCost]], *paths: Path) -> None:
        dots = [cost for costs in operators.values() for cost in costs if cost.intensity and cost.seconds]
        xs = np.array([*(cost.intensity for cost in dots), *np.concatenate([p.intensity for p in paths])])
        ys = np.array([*(cost.flops / cost.seconds for cost in dots), *np.concatenate([p.flops_per_s for p in paths])])
        self.left = float(min(0.6, xs.min() / 1.6))
        self.right = float(max(6 * roof.ridge_flops_per_byte, 8 * xs.max()))
        self.top = 2.2 * max(ceiling.peak_flops_per_s for ceiling in roof.ceilings) / TERA
        self.bottom = float(min(ys.min() / TERA / 1.8, self.left * roof.peak_bytes_per_s / TERA))

        self._dots = np.log(xs[: len(dots)])

    def free(self, ridge: float) -> float:
        """A place on the slope with room for a name: far from every operator."""
        places = np.linspace(np.log(8 * self.left), np.log(ridge / 4), 40)
        room = np.abs(places[:, None] - self._dots).min(axis=1)
        return float(np.exp(places[int(np.argmax(np.minimum(room, np.log(3))))]))

    def x(self, field: str = "x") -> Spec:
        return decades(field, X_TITLE, self.left, self.right)

    def y(self, field: str = "y") -> Spec:
        return decades(field, Y_TITLE, self.bottom, self.top)


def _ceilings(roof: Roof, frame: _Frame) -> list[Spec]:
    """The roof of the data sheet, solid; what is reached of it, dashed; a second tensor-core rate, thin.

    Names stand left of the slope, where nothing can lie.
    """
    first = roof.ceilings[0]
    achieved = first.achieved_flops_per_s or first.peak_flops_per_s
    layers = [
        _roof_line(roof.achieved_bytes_per_s, achieved, frame, {"strokeDash": [5, 4], "opacity": 0.8}),
        _roof_line(roof.peak_bytes_per_s, first.peak_flops_per_s, frame, {"strokeWidth": 2.2, "opacity": 0.85}),
    ]
    names = {
        first.peak_flops_per_s: f"{first.dtype.upper()} peak {_tera(first.peak_flops_per_s)} TFLOP/s",
        achieved: f"large matmuls reach {_tera(achieved)}",
    }
    for other in roof.ceilings[1:]:
        peak = other.peak_flops_per_s
        layers.append(_roof_line(roof.peak_bytes_per_s, peak, frame, {"strokeWidth": 1, "opacity": 0.45}))
        names[peak] = f"{other.dtype.upper()} peak {_tera(peak)}"
    decades = np.log10(frame.top / frame.bottom)
    apart = spread([float(np.log10(rate)) for rate in names], gap=LINE_PX * decades / PLOT_PX)
    for rate, name, height in zip(names, names.values(), apart, strict=True):
        layers.append(_beside_slope(min(rate, 10**height) / roof.peak_bytes_per_s, 10**height / TERA, name, frame))
    low = frame.free(roof.ridge_flops_per_byte)
    peak_label = f"{roof.peak_bytes_per_s / TERA:.2f} TB/s peak"
    reached = f"{roof.achieved_bytes_per_s / TERA:.2f} reached"
    layers.append(_beside_slope(low, low * roof.peak_bytes_per_s / TERA, [peak_label, reached], frame, dy=-18))
    return layers


def _beside_slope(x: float, y: float, label: str | list[str], frame: _Frame, dy: int = 0) -> Spec:
    return {
        "data": one(x=x, y=y, label=label),
        "mark": {"type": "text", "align": "right", "dx": -9, "dy": dy, "color": INK, "lineHeight": LINE_PX},
        "encoding": {"x": frame.x(), "y": frame.y(), "text": {"field": "label"}},
    }


def _roof_line(bandwidth: float, flops: float, frame: _Frame, style: Spec) -> Spec:
    xs = [frame.left, flops / bandwidth, frame.right]
    ys = [frame.left * bandwidth / TERA, flops / TERA, flops / TERA]
    return {
        "data": rows(x=xs, y=ys),
        "mark": {"type": "line", "color": INK, "clip": True, **style},
        "encoding": {"x": frame.x(), "y": frame.y()},
    }


def _ridge(roof: Roof, frame: _Frame) -> list[Spec]:
    """The textbook ridge as a line down to the axis."""
    ridge, peak = roof.ridge_flops_per_byte, roof.ceilings[0].peak_flops_per_s / TERA
    return [
        {
            "data": one(x=ridge, y=frame.bottom, y2=peak),
            "mark": {"type": "rule", "color": INK, "strokeDash": [2, 4], "opacity": 0.7},
            "encoding": {"x": frame.x(), "y": frame.y(), "y2": {"field": "y2"}},
        },
        {
            "data": one(x=ridge, y=frame.bottom, label=f"ridge {ridge:,.0f}"),
            "mark": {"type": "text", "align": "left", "dx": 5, "dy": -10, "color": INK, "opacity": 0.9},
            "encoding": {"x": frame.x(), "y": frame.y(), "text": {"field": "label"}},
        },
    ]


def _path(phase: str, path: Path, hue: str, frame: _Frame) -> list[Spec]:
    """Whole steps as a line with a dot a size, and its two ends named."""
    size = "batch" if phase == "decode" else "prompt tokens"
    data = rows(
        x=path.intensity.tolist(), y=(path.flops_per_s / TERA).tolist(), size=list(path.sizes),
        ms=(path.seconds * MS_PER_S).tolist(),
    )
    at = {"x": frame.x(), "y": frame.y()}
    tips = tooltip(**{size.capitalize(): "size"}, Step_ms="ms|.2f", TFLOPs_per_s="y|.1f", FLOP_per_byte="x|.1f")
    return [
        {"data": data, "mark": {"type": "line", "color": hue, "strokeWidth": 2, "opacity": 0.65}, "encoding": at},
        {
            "data": data,
            "mark": {"type": "point", "filled": True, "color": hue, "size": 22, "opacity": 0.8},
            "encoding": at | {"tooltip": tips},
        },
    ]


def _operators(phase: str, costs: Sequence[OperatorCost], hue: str, frame: _Frame) -> list[Spec]:
    """A ring per operator, larger the longer it takes; matrices and attention are named once."""
    total = sum(cost.seconds for cost in costs)
    dots = [cost for cost in costs if cost.intensity and cost.seconds]
    data = rows(
        x=[cost.intensity for cost in dots],
        y=[cost.flops / cost.seconds / TERA for cost in dots],
        name=[f"{cost.name}, {phase}" for cost in dots],
        share=[100 * cost.seconds / total for cost in dots],
        bound=[str(cost.bound) for cost in dots],
        size=[60 + 600 * cost.seconds / total for cost in dots],
    )
    at = {"x": frame.x(), "y": frame.y()}
    tips = tooltip(
        Operator="name", FLOP_per_byte="x|.1f", TFLOPs_per_s="y|.1f", Share_of_the_step="share|.0f", Limited_by="bound"
    )
    ring: Spec = {
        "data": data,
        "mark": {"type": "point", "filled": True, "fillOpacity": 0.3, "stroke": hue, "color": hue, "strokeWidth": 1.8},
        "encoding": at | {"size": {"field": "size", "type": "quantitative", "scale": None}, "tooltip": tips},
    }
    return [ring, *(_operator_label(cost, name, hue, frame) for cost, name in _named(dots))]


def _named(dots: Sequence[OperatorCost]) -> list[tuple[OperatorCost, str]]:
    """The longest matrix and attention: the others lie next to the matrix."""
    matrices = [cost for cost in dots if cost.name != ATTENTION]
    longest = max(matrices, key=lambda cost: cost.seconds, default=None)
    named = [(longest, "experts" if "expert" in longest.name else "matrices")] if longest else []
    return named + [(cost, ATTENTION) for cost in dots if cost.name == ATTENTION]


def _operator_label(cost: OperatorCost, name: str, hue: str, frame: _Frame) -> Spec:
    """Left of the slope where memory limits, to the right where compute does."""
    left, right = {"align": "right", "dx": -14, "dy": -7}, {"align": "left", "dx": 12, "dy": 8}
    place = left if cost.bound is Bound.MEMORY else right
    return {
        "data": one(x=cost.intensity, y=cost.flops / cost.seconds / TERA, label=name),
        "mark": {"type": "text", "color": hue, **place},
        "encoding": {"x": frame.x(), "y": frame.y(), "text": {"field": "label"}},
    }


def _here(path: Path, size: int, label: str, hue: str, frame: _Frame) -> list[Spec]:
    """A filled dot on the path where the plan stands."""
    logs = np.log(np.asarray(path.sizes, float))
    x, y = (float(np.exp(np.interp(np.log(size), logs, np.log(line)))) for line in (path.intensity, path.flops_per_s))
    data, at = one(x=x, y=y / TERA, label=label), {"x": frame.x(), "y": frame.y()}
    return [
        {
            "data": data,
            "mark": {"type": "point", "shape": "diamond", "filled": True, "color": hue, "size": 190, "opacity": 1,
                     "stroke": INK, "strokeWidth": 1},
            "encoding": at,
        },
        {
            "data": data,
            "mark": {"type": "text", "align": "left", "dx": 3, "dy": 32, "color": hue, "fontWeight": 600},
            "encoding": at | {"text": {"field": "label"}},
        },
    ]


def _ends(path: Path, frame: _Frame) -> list[Spec]:
    """The first and last batch of the decode path, small."""
    ends = ((0, "left", 5, 12, f"batch {path.sizes[0]:,}"), (-1, "left", 7, -3, f"{path.sizes[-1]:,}"))
    return [
        {
            "data": one(x=float(path.intensity[at]), y=float(path.flops_per_s[at]) / TERA, label=label),
            "mark": {"type": "text", "align": align, "dx": dx, "dy": dy, "color": DECODE, "fontSize": 11},
            "encoding": {"x": frame.x(), "y": frame.y(), "text": {"field": "label"}},
        }
        for at, align, dx, dy, label in ends
    ]


def _tera(flops_per_s: float) -> str:
    value = flops_per_s / TERA
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
