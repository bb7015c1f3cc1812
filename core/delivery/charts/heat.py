"""Two things turned at once: batch and context."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from core.delivery.charts.style import HEAT, INK, ORANGE, Spec, figure, tooltip

CELL_HEIGHT = 30


def batch_by_context(
    batches: Sequence[int],
    contexts: Sequence[int],
    value: ArrayLike,
    *,
    fits: ArrayLike,
    meets: ArrayLike,
    title: str,
    chosen: tuple[int, int],
) -> Spec:
    """A table of `value` [contexts, batches] coloured by size.

    Cells that do not fit are left empty, those that miss the SLO are dimmed, and the cell nearest to
    the plan, `chosen` = (batch, context), is framed.
    """
    values = np.asarray(value, dtype=float)
    fit, meet = np.asarray(fits, dtype=bool), np.asarray(meets, dtype=bool) & np.asarray(fits, dtype=bool)
    rank = _rank(values, fit)
    near = (_nearest(contexts, chosen[1]), _nearest(batches, chosen[0]))
    cells = [
        {
            "batch": batch,
            "context": context,
            "value": float(values[row, column]) if fit[row, column] else None,
            "label": _short(values[row, column]) if fit[row, column] else "–",
            "says": _says(bool(fit[row, column]), bool(meet[row, column])),
            "rank": float(rank[row, column]),
            "ink": _ink(float(rank[row, column]), dimmed=not meet[row, column]),
            "opacity": 0.0 if not fit[row, column] else 1.0 if meet[row, column] else 0.3,
            "text": 0.5 if not fit[row, column] else 1.0,
            "framed": (row, column) == near,
        }
        for row, context in enumerate(contexts)
        for column, batch in enumerate(batches)
    ]
    data = {"values": cells}
    x = {
        "field": "batch",
        "type": "ordinal",
        "axis": {"title": "Requests in flight", "labelAngle": 0, "domain": False, "ticks": False},
    }
    y = {
        "field": "context",
        "type": "ordinal",
        "sort": "descending",
        "axis": {
            "title": "Context, tokens",
            "domain": False,
            "ticks": False,
            "labelExpr": "datum.value >= 1024 ? format(datum.value / 1024, '.3~r') + 'k' : datum.value",
        },
    }
    rect: Spec = {
        "data": data,
        "mark": {"type": "rect", "cornerRadius": 3},
        "encoding": {
            "x": x,
            "y": y,
            "color": {
                "field": "rank",
                "type": "quantitative",
                "scale": {"range": list(HEAT), "domain": [0, 1], "interpolate": "lab"},
                "legend": None,
            },
            "opacity": {"field": "opacity", "type": "quantitative", "scale": None},
            "tooltip": [
                *tooltip(Batch="batch", Context="context"),
                {"field": "label", "title": title},
                *tooltip(Plan="says"),
            ],
        },
    }
    text: Spec = {
        "data": data,
        "mark": {"type": "text", "fontSize": 10.5},
        "encoding": {
            "x": x,
            "y": y,
            "text": {"field": "label"},
            "color": {"field": "ink", "type": "nominal", "scale": None},
            "opacity": {"field": "text", "type": "quantitative", "scale": None},
        },
    }
    frame: Spec = {
        "data": {"values": [cell for cell in cells if cell["framed"]]},
        "mark": {"type": "rect", "filled": False, "stroke": ORANGE, "strokeWidth": 2.5, "cornerRadius": 3},
        "encoding": {"x": x, "y": y},
    }
    own_colours = {"scale": {"color": "independent"}}
    return figure([rect, text, frame], height=CELL_HEIGHT * len(contexts), resolve=own_colours)


def _short(value: float) -> str:
    """Three figures at most, to stay inside a cell on a phone: 0.31, 7.4, 141, 1.0k, 10k."""
    if value >= 9950:
        return f"{value / 1000:.0f}k"
    if value >= 999.5:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 0.995 else f"{value:.2f}"


def _ink(rank: float, *, dimmed: bool) -> str:
    """Text that stands out on its cell; a dimmed cell lets the page's background through."""
    if dimmed:
        return INK
    return "#ffffff" if rank > 0.4 else "#12233d"


def _says(fits: bool, meets: bool) -> str:
    if not fits:
        return "does not fit"
    return "meets the targets" if meets else "misses a target"


def _rank(values: NDArray[np.float64], fit: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Position of each value between the smallest and largest that fit, on a logarithmic scale, 0..1."""
    logs = np.log(np.where(values > 0, values, np.nan))
    seen = logs[fit & np.isfinite(logs)]
    if seen.size == 0 or seen.max() == seen.min():
        return np.zeros_like(values)
    rank: NDArray[np.float64] = np.nan_to_num((logs - seen.min()) / (seen.max() - seen.min()))
    return rank


def _nearest(values: Sequence[int], wanted: int) -> int:
    return int(np.argmin(np.abs(np.log(np.asarray(values, dtype=float)) - np.log(wanted))))


