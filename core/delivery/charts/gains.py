"""What would help, and by how much."""

from collections.abc import Sequence
from typing import Final

from core.answers.regime import Gain
from core.basics.units import MS_PER_S
from core.delivery.charts.style import INK, Spec, figure, rows, tooltip

ROW_HEIGHT: Final = 60              # two lines and a bar [px]


def gain_bars(gains: Sequence[Gain], hue: str) -> Spec:
    """A change a row: its name and factor, what it costs and the figure it moves, and a bar as long as the gain."""
    data = rows(
        row=list(range(len(gains))),
        label=[gain.label for gain in gains],
        factor=[f"{gain.factor:.2f} ×" for gain in gains],
        note=[gain.note for gain in gains],
        moves=[moves(gain) for gain in gains],
        gain=[gain.factor - 1 for gain in gains],
        zero=[0.0] * len(gains),
        span=[span(gain) for gain in gains],
    )
    top = max(gain.factor - 1 for gain in gains)
    y: Spec = {"field": "row", "type": "ordinal", "axis": None, "scale": {"padding": 0}}
    x: Spec = {"field": "gain", "type": "quantitative", "axis": None, "scale": {"domain": [0, top], "nice": False}}
    tips = tooltip(Change="label", Needs="note", Predicted="moves", Range="span", Factor="factor")

    def text(field: str, side: str, dy: int, **style: object) -> Spec:
        end = {"value": 0} if side == "left" else {"value": "width"}
        return {
            "data": data,
            "mark": {"type": "text", "align": side, "dy": dy, "color": INK, "baseline": "middle", **style},
            "encoding": {"y": y, "x": end, "text": {"field": field}},
        }

    return figure(
        [
            {
                "data": data,
                "mark": {"type": "bar", "height": 5, "color": hue, "yOffset": 17, "cornerRadius": 2},
                "encoding": {"y": y, "x": x, "x2": {"field": "zero"}, "tooltip": tips},
            },
            text("label", "left", -15, fontWeight=600),
            text("factor", "right", -15, fontWeight=600),
            text("note", "left", 2, opacity=0.75, fontSize=11.5),
            text("moves", "right", 2, opacity=0.75, fontSize=11.5),
        ],
        height=ROW_HEIGHT * len(gains),
    )


def moves(gain: Gain) -> str:
    """ "TTFT 124 → 82 ms", "1,510 → 3,814 tokens/s"."""
    if gain.figure == "tokens/s":
        return f"{gain.before:,.0f} → {gain.after:,.0f} tokens/s"
    return f"{gain.figure} {_three(gain.before * MS_PER_S)} → {_three(gain.after * MS_PER_S)} ms"


def span(gain: Gain) -> str:
    """The 80 % range of what the change leads to."""
    scale, unit = (1.0, "tokens/s") if gain.figure == "tokens/s" else (MS_PER_S, "ms")
    return f"{_three(gain.low * scale)} – {_three(gain.high * scale)} {unit}"


def _three(value: float) -> str:
    return f"{value:,.0f}" if value >= 99.5 else f"{value:.1f}" if value >= 9.95 else f"{value:.2f}"
