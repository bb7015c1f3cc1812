"""The layers of a model as a strip: what mixes tokens in each, and what follows it."""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from core.delivery.charts.style import BLUE, BROWN, GREY, INK, ROSE, TEAL, VIOLET, Spec, figure, rows, tooltip

# One colour a way of mixing, the same for every model; what is close in kind is close in colour.
_COLOURS: Final = {
    "full": BLUE, "sliding": TEAL, "latent": VIOLET, "latent sparse": ROSE, "sparse": ROSE, "none": GREY,
}
_RECURRENT: Final = BROWN
_FEED_FORWARD: Final = {"experts": 0.9, "dense": 0.35, "none": 0.0}
_LABELS: Final = {"experts": "mixture of experts", "dense": "dense feed-forward", "none": "attention"}
GAP: Final = 0.12               # of a layer's width
ROW_PX: Final = 22
AXIS_PX: Final = 46             # taken from the height by the axis below


def colour_of_kind(kind: str) -> str:
    """The colour of a way to mix tokens; everything with a state of fixed size is brown."""
    if kind.startswith("compressed"):
        return ROSE if kind.endswith("128x") else VIOLET
    return _COLOURS.get(kind, BLUE if kind.startswith("full") else _RECURRENT)


def layer_strip(layers: Sequence[tuple[str, str]]) -> Spec:
    """Two rows of cells, a column a layer; `layers` holds (kind, feed-forward) of each, first to last."""
    count = len(layers)
    numbers = range(1, count + 1)
    gap = GAP if count < 150 else 0.0
    data = rows(
        layer=list(numbers),
        start=[number - 1 + gap for number in numbers],
        end=list(numbers),
        kind=[kind for kind, _ in layers],
        after=[_LABELS.get(after, after) for _, after in layers],
        colour=[colour_of_kind(kind) for kind, _ in layers],
        opacity=[_FEED_FORWARD[after] for _, after in layers],
    )
    ticks = sorted({0, *range(10 if count <= 64 else 20, count - 2, 10 if count <= 64 else 20), count})
    axis = {"title": "layer", "values": ticks, "grid": False, "domain": False, "tickOpacity": 0.4, "format": "d"}
    scale = {"domain": [0, count], "nice": False}
    x: Spec = {"field": "start", "type": "quantitative", "scale": scale, "axis": axis}
    told = tooltip(Layer="layer", Mixes="kind", Then="after")
    kinds: Spec = {
        "data": data,
        "mark": {"type": "bar", "height": ROW_PX},
        "encoding": {
            "x": x, "x2": {"field": "end"}, "y": {"value": ROW_PX / 2},
            "color": {"field": "colour", "type": "nominal", "scale": None}, "tooltip": told,
        },
    }
    after: Spec = {
        "data": data,
        "mark": {"type": "bar", "height": ROW_PX / 3, "color": GREY, "stroke": INK, "strokeWidth": 0},
        "encoding": {
            "x": x, "x2": {"field": "end"}, "y": {"value": ROW_PX * 1.35},
            "opacity": {"field": "opacity", "type": "quantitative", "scale": None}, "tooltip": told,
        },
    }
    return figure([kinds, after], height=int(ROW_PX * 1.6) + AXIS_PX)


def strip_legend(layers: Sequence[tuple[str, str]]) -> list[tuple[str, str, float]]:
    """(text, colour, opacity) of everything in the strip, with the number of layers."""
    kinds, after = (Counter(column) for column in zip(*layers, strict=True))
    return [
        *((f"{name} × {count}", colour_of_kind(name), 1.0) for name, count in kinds.most_common()),
        *((f"{_LABELS[name]} × {count}", GREY, _FEED_FORWARD[name]) for name, count in after.most_common()
          if _FEED_FORWARD.get(name)),
    ]
