"""What all charts share: colours, axes and the marks that say what a line means.

Colours have a contrast of at least 3:1 on both the light and the dark background and stay apart
for the common kinds of colour blindness; lines are labelled directly as well, so that colour is
never the only carrier. Text and rules take `currentColor`, which is the page's own text colour.

A colour has one meaning on every page: orange is the recommendation, dashed ink a target, and a weight format has
its own colour and dash (`format_mark`): formats of one kind share a colour.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import Any, Final, TypeAlias

Spec: TypeAlias = dict[str, Any]

INK: Final = "currentColor"
BLUE: Final = "#5978b2"
ORANGE: Final = "#d9730d"
TEAL: Final = "#00a97a"
VIOLET: Final = "#c274ea"
ROSE: Final = "#cf384e"
GREY: Final = "#7a8290"
BROWN: Final = "#a3713c"
CYAN: Final = "#1f9bb4"
OLIVE: Final = "#7f8a2b"
CYCLE: Final = (BLUE, TEAL, VIOLET, ROSE, GREY, ORANGE)
HEAT: Final = ("#cfe3f7", "#2f7ed8", "#12305c")     # light to dark: more is darker, in both themes
FONT_SIZE: Final = 12


@dataclass(frozen=True, slots=True)
class Mark:
    """How the line of a format is drawn; `dash` is empty for a solid one."""

    hue: str
    dash: tuple[int, ...] = ()

    @property
    def words(self) -> str:
        """The dash in words, for a legend that shows the colour alone."""
        return {(): "", _DASHED: ", dashed", _DOTTED: ", dotted"}[self.dash]


_DASHED, _DOTTED = (6, 4), (2, 3)
_FORMATS: Final = {
    "FP8": Mark(BLUE), "MXFP8": Mark(BLUE, _DASHED), "W4A8": Mark(BLUE, _DOTTED),
    "INT8 W8A8": Mark(TEAL), "INT8 weight-only": Mark(TEAL, _DASHED), "INT8 weights": Mark(TEAL, _DASHED),
    "GGUF Q8_0": Mark(TEAL, _DOTTED),
    "AWQ INT4": Mark(VIOLET), "GPTQ INT4": Mark(VIOLET, _DASHED), "GGUF Q4_K_M": Mark(VIOLET, _DOTTED),
    "NVFP4": Mark(ROSE), "bitsandbytes NF4": Mark(ROSE, _DASHED), "MXFP4 experts": Mark(ROSE, _DOTTED),
    "BF16": Mark(GREY), "FP16": Mark(GREY), "bitsandbytes INT8": Mark(GREY, _DASHED),
}


def format_mark(label: str) -> Mark:
    """The colour and dash of a weight format by its label; dotted grey for those that share a chart with few."""
    return _FORMATS.get(label, Mark(GREY, _DOTTED))


def colour(position: int) -> str:
    """The colour of the n-th series of a chart; the cycle starts over after six."""
    return CYCLE[position % len(CYCLE)]


def figure(layers: Sequence[Spec], *, height: int, **more: Any) -> Spec:
    """A chart of several layers, without a frame."""
    return {
        "layer": [layer for layer in layers if layer],
        "height": height,
        "padding": {"left": 0, "right": 0, "top": 4, "bottom": 6},
        "config": {
            "view": {"stroke": None},
            "axis": {"labelFontSize": FONT_SIZE, "titleFontSize": FONT_SIZE, "titleFontWeight": "normal"},
            "text": {"fontSize": FONT_SIZE},
        },
        **more,
    }


def rows(**columns: Iterable[Any]) -> Spec:
    """Columns of equal length as inline data."""
    names = list(columns)
    return {"values": [dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)]}


def one(**row: Any) -> Spec:
    """A single row as inline data."""
    return {"values": [row]}


def quantity(field: str, title: str | None, **more: Any) -> Spec:
    """A linear axis from zero with few, faint grid lines."""
    axis = {"title": title, "tickCount": 4, "gridOpacity": 0.5, "domain": False, "ticks": False}
    return {"field": field, "type": "quantitative", "axis": axis | more.pop("axis", {}), **more}


STEPS: Final = (1, 2, 5)         # ticks of a decade where one is too few


def doubling(field: str, title: str, values: Sequence[int], *, last: float | None = None) -> Spec:
    """A base-2 logarithmic axis without grid, ticked at every power of four that was asked for.

    `last` widens the axis beyond the data, to leave room for labels at the ends of lines.
    """
    low, high = min(values), max(values)
    ticks = [value for value in values if value & (value - 1) == 0]
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"type": "log", "base": 2, "domain": [low, last or high], "nice": False},
        "axis": {
            "title": title,
            "values": ticks,
            "grid": False,
            "labelOverlap": "greedy",
            "format": "d",
            "tickOpacity": 0.4,
            "domainOpacity": 0.4,
        },
    }


def decades(field: str, title: str, low: float, high: float, steps: Sequence[int] = (1,)) -> Spec:
    """A logarithmic axis ticked at `steps` of every decade, without grid."""
    powers = range(floor(log10(low)), ceil(log10(high)) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"type": "log", "domain": [low, high], "nice": False},
        "axis": {
            "title": title, "values": ticks, "grid": False, "tickOpacity": 0.4, "domainOpacity": 0.4,
            "labelOverlap": "greedy",
            "labelExpr": "datum.value >= 1 ? format(datum.value, ',d') : format(datum.value, '~g')",
        },
    }


def tooltip(**fields: str) -> list[Spec]:
    """Tooltip entries: title=field; a field may carry a number format after a bar: `value|,.0f`."""
    return [_entry(title, field) for title, field in fields.items()]


def _entry(title: str, field: str) -> Spec:
    name, _, number_format = field.partition("|")
    entry: Spec = {"field": name, "title": title.replace("_", " ")}
    if number_format:
        entry |= {"type": "quantitative", "format": number_format}
    return entry


def vertical_rule(
    x: float, label: str, x_axis: Mapping[str, Any], *, side: str = "left", row: int = 0, beside: float | None = None
) -> list[Spec]:
    """A dashed line across the chart at `x` with its label at the top, `row` lines down, or `beside` another."""
    at = {**x_axis, "field": "x"}
    return [
        {
            "data": one(x=x),
            "mark": {"type": "rule", "color": INK, "strokeDash": [4, 4], "opacity": 0.6},
            "encoding": {"x": at},
        },
        {
            "data": one(x=x if beside is None else beside, label=label),
            "mark": {
                "type": "text",
                "align": "right" if side == "left" else "left",
                "dx": -5 if side == "left" else 5,
                "baseline": "top",
                "color": INK,
                "opacity": 0.85,
            },
            "encoding": {"x": at, "y": {"value": 2 + 15 * row}, "text": {"field": "label"}},
        },
    ]


def spread(positions: Sequence[float], gap: float) -> list[float]:
    """Moves label positions apart so that neighbours are at least `gap` from each other.

    Order is kept; crowded labels spread evenly around their common middle.
    """
    order = sorted(range(len(positions)), key=lambda index: positions[index])
    groups: list[tuple[float, list[int]]] = []          # (middle, members from low to high)
    for index in order:
        groups.append((positions[index], [index]))
        while len(groups) > 1 and _top(groups[-2], gap) + gap > _bottom(groups[-1], gap):
            (low_middle, low), (high_middle, high) = groups[-2:]
            middle = (low_middle * len(low) + high_middle * len(high)) / (len(low) + len(high))
            groups[-2:] = [(middle, low + high)]
    placed = [0.0] * len(positions)
    for group in groups:
        for step, index in enumerate(group[1]):
            placed[index] = _bottom(group, gap) + step * gap
    return placed


def _bottom(group: tuple[float, list[int]], gap: float) -> float:
    middle, members = group
    return middle - gap * (len(members) - 1) / 2


def _top(group: tuple[float, list[int]], gap: float) -> float:
    middle, members = group
    return middle + gap * (len(members) - 1) / 2
