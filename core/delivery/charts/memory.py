"""What fills the memory of one GPU, against what it has."""

from collections.abc import Sequence
from dataclasses import dataclass

from core.basics.units import GIB
from core.delivery.charts.style import BLUE, BROWN, CYAN, GREY, INK, ROSE, VIOLET, Spec, figure, one, rows, tooltip
from core.physics.memory import Footprint
from core.terms import Workload

OVERHEADS = (GREY, ROSE, CYAN, BROWN)


@dataclass(frozen=True, slots=True)
class Segment:
    """One stretch of the memory bar."""

    name: str
    gib: float
    colour: str
    opacity: float = 1.0


def memory_bar(segments: Sequence[Segment], *, memory_gib: float, usable_gib: float) -> Spec:
    """A stacked bar of GiB per GPU with a line where the memory ends.

    The scale grows with the bar, so a plan that is over its memory shows by how much.
    `usable_gib` is what the engine may take; a fainter line marks it when it differs.
    """
    ends = [sum(segment.gib for segment in segments[: position + 1]) for position in range(len(segments))]
    starts = [0.0, *ends[:-1]]
    right = max(memory_gib, ends[-1] if ends else 0.0) * 1.04
    scale = {"domain": [0, right], "nice": False}
    axis = {"title": "GiB per GPU", "grid": False, "domain": False, "tickCount": 6, "tickOpacity": 0.4}
    bars: Spec = {
        "data": rows(
            name=[segment.name for segment in segments],
            gib=[segment.gib for segment in segments],
            start=starts,
            end=ends,
            colour=[segment.colour for segment in segments],
            opacity=[segment.opacity for segment in segments],
        ),
        "mark": {"type": "bar", "height": 34, "stroke": INK, "strokeWidth": 0},
        "encoding": {
            "x": {"field": "start", "type": "quantitative", "scale": scale, "axis": axis},
            "x2": {"field": "end"},
            "color": {"field": "colour", "type": "nominal", "scale": None},
            "opacity": {"field": "opacity", "type": "quantitative", "scale": None},
            "y": {"value": 42},
            "tooltip": tooltip(Part="name", GiB="gib|.2f"),
        },
    }
    lines = [_line(memory_gib, f"{memory_gib:.0f} GiB of memory", scale, strong=True)]
    if usable_gib < 0.995 * memory_gib:
        lines.append(_line(usable_gib, f"engine may use {usable_gib:.0f}", scale, strong=False))
    return figure([bars, *(layer for line in lines for layer in line)], height=62)


def _line(gib: float, label: str, scale: Spec, *, strong: bool) -> list[Spec]:
    at = {"field": "x", "type": "quantitative", "scale": scale, "axis": None}
    dash = [] if strong else [3, 3]
    rule: Spec = {
        "data": one(x=gib),
        "mark": {"type": "rule", "color": INK, "strokeWidth": 2 if strong else 1.2, "strokeDash": dash},
        "encoding": {"x": at, "y": {"value": 18 if strong else 22}, "y2": {"value": 62}},
    }
    text: Spec = {
        "data": one(x=gib, label=label),
        "mark": {
            "type": "text",
            "align": "right",
            "dx": 0 if strong else -4,
            "color": INK,
            "baseline": "bottom",
            "fontWeight": 600 if strong else 400,
        },
        "encoding": {"x": at, "y": {"value": 15}, "text": {"field": "label"}},
    }
    return [rule, text] if strong else [rule]


def footprint_segments(footprint: Footprint, requests: float, load: Workload) -> tuple[Segment, ...]:
    """What fills one GPU at `requests` per replica, each at its full length: terms, cache in use, cache free.

    Cache that is needed and not there is drawn too: the bar then passes the memory line.
    """
    used = footprint.cache.load_bytes(requests, load.context_tokens, load.shared_tokens)
    weights = footprint.term("weights").bytes
    overheads = sorted((term for term in footprint.terms if term.name != "weights"), key=lambda term: -term.bytes)
    free = footprint.kv_cache_bytes - used
    parts = [
        Segment("weights", weights / GIB, BLUE),
        Segment("KV cache in use", used / GIB, VIOLET),
        *(Segment(term.name, term.bytes / GIB, OVERHEADS[n % len(OVERHEADS)]) for n, term in enumerate(overheads)),
        Segment("KV cache free", free / GIB, VIOLET, opacity=0.25),
    ]
    return tuple(part for part in parts if part.gib > 0)
