"""Pictures of a probe: bandwidth by size, tokens/s by batch, measured beside estimated."""

from collections.abc import Mapping, Sequence
from math import log10

from core.basics.units import TERA
from core.delivery.charts.style import (
    GREY,
    INK,
    TEAL,
    Spec,
    colour,
    decades,
    doubling,
    figure,
    format_mark,
    one,
    quantity,
    rows,
    spread,
    tooltip,
    vertical_rule,
)

HEIGHT = 260
ROOF_STYLES = ("solid", "dashed", "dotted")
DASHES: tuple[Sequence[int], ...] = ((), (6, 4), (2, 3))     # of those styles
BYTES = "bytes moved"


def bandwidth_over_size(series: Mapping[str, Sequence[tuple[int, float]]], sheet_bytes_per_s: float | None) -> Spec:
    """Bandwidth [B/s] of each kind over the size [B], against the data sheet where it is known."""
    sizes = [size for points in series.values() for size, _ in points]
    highest = max([rate for points in series.values() for _, rate in points] + [sheet_bytes_per_s or 0.0]) / 1e9
    ticks = sorted({2**power for power in range(min(sizes).bit_length() - 1, max(sizes).bit_length())})
    x = doubling("MiB", "MiB", [max(1, tick // 2**20) for tick in ticks], last=max(sizes) / 2**20 * 2.2)
    y = quantity("rate", "GB/s", scale={"domain": [0, highest * 1.12], "nice": False})
    layers: list[Spec] = []
    for position, (name, points) in enumerate(series.items()):
        mib, rates = [size / 2**20 for size, _ in points], [rate / 1e9 for _, rate in points]
        data = rows(MiB=mib, rate=rates, name=[name] * len(points))
        layers += [
            {"data": data, "mark": {"type": "line", "color": colour(position), "strokeWidth": 2.5, "point": {
                "color": colour(position), "size": 50}},
             "encoding": {"x": x, "y": y, "tooltip": tooltip(Kind="name", MiB="MiB|,.0f", GB_per_s="rate|,.1f")}},
        ]
    ends = spread([points[-1][1] / 1e9 for points in series.values()], gap=highest * 0.07)
    for position, ((name, points), end) in enumerate(zip(series.items(), ends, strict=True)):
        layers.append({
            "data": one(MiB=points[-1][0] / 2**20, rate=end, name=name),
            "mark": {"type": "text", "align": "left", "dx": 8, "color": colour(position), "fontWeight": 600},
            "encoding": {"x": x, "y": y, "text": {"field": "name"}},
        })
    if sheet_bytes_per_s:
        sheet = one(rate=sheet_bytes_per_s / 1e9, label=f"data sheet {sheet_bytes_per_s / 1e9:,.0f} GB/s")
        layers += [
            {"data": sheet, "mark": {"type": "rule", "color": INK, "strokeDash": [4, 4], "opacity": 0.6},
             "encoding": {"y": y}},
            {"data": sheet, "mark": {"type": "text", "align": "left", "dx": 4, "dy": -8, "color": INK},
             "encoding": {"x": {"value": 0}, "y": y, "text": {"field": "label"}}},
        ]
    return figure(layers, height=HEIGHT)


def tokens_over_batch(
    series: Mapping[str, Sequence[tuple[int, float, float, float]]],
    estimated: Mapping[str, Sequence[tuple[int, float]]], crossings: Mapping[str, tuple[float, float]],
) -> Spec:
    """Decode tokens/s of the whole model over the batch: (batch, value, low, high) of each format.

    Rings are `estimated` (batch, value); a diamond stands where a format falls to the 16-bit one's speed.
    """
    batches = sorted({batch for points in series.values() for batch, *_ in points})
    x = doubling("batch", "sequences decoded together", batches, last=batches[-1] * 6)
    rates = [rate for points in series.values() for _, *three in points for rate in three]
    rates += [rate for points in estimated.values() for _, rate in points]
    low, high = min(rates) / 1.4, max(rates) * 3       # room for names above
    y = decades("rate", "tokens/s", low, high)
    layers: list[Spec] = []
    for name, points in series.items():
        mark = format_mark(name)
        hue = mark.hue
        data = rows(
            batch=[p[0] for p in points], rate=[p[1] for p in points], low=[p[2] for p in points],
            high=[p[3] for p in points], name=[name] * len(points),
        )
        layers += [
            {"data": data, "mark": {"type": "area", "color": hue, "opacity": 0.18},
             "encoding": {"x": x, "y": {**y, "field": "low"}, "y2": {"field": "high"}}},
            {"data": data, "mark": {"type": "line", "color": hue, "strokeDash": list(mark.dash), "strokeWidth": 2.5,
                                    "point": {"color": hue, "size": 50}},
             "encoding": {"x": x, "y": y, "tooltip": tooltip(
                 Format="name", Batch="batch", Tokens_per_s="rate|,.0f", Low="low|,.0f", High="high|,.0f")}},
        ]
        if name in estimated:
            rings = rows(batch=[b for b, _ in estimated[name]], rate=[r for _, r in estimated[name]],
                         name=[name] * len(estimated[name]))
            layers.append({
                "data": rings, "mark": {"type": "point", "size": 90, "color": hue, "strokeWidth": 2, "opacity": 1},
                "encoding": {"x": x, "y": y, "tooltip": tooltip(
                    Format="name", Batch="batch", Estimated_tokens_per_s="rate|,.0f")},
            })
    layers += _crossings(crossings, x, y)
    ends = spread([log10(points[-1][1]) for points in series.values()], gap=0.07 * log10(high / low))
    for (name, points), end in zip(series.items(), ends, strict=True):
        layers.append({
            "data": one(batch=points[-1][0], rate=10**end, name=name),
            "mark": {"type": "text", "align": "left", "dx": 8, "color": format_mark(name).hue, "fontWeight": 600},
            "encoding": {"x": x, "y": y, "text": {"field": "name"}},
        })
    return figure(layers, height=HEIGHT)


def _crossings(crossings: Mapping[str, tuple[float, float]], x: Spec, y: Spec) -> list[Spec]:
    """A diamond at each under a dashed line, with the format and the batch at its top."""
    layers = []
    for row, (name, (batch, rate)) in enumerate(crossings.items()):
        layers += vertical_rule(batch, f"{name} pays to batch {batch:,.0f}", x, row=row)
        layers.append({
            "data": one(batch=batch, rate=rate, name=name),
            "mark": {"type": "point", "shape": "diamond", "filled": True, "size": 130, "color": INK, "opacity": 1},
            "encoding": {"x": x, "y": y, "tooltip": tooltip(Format="name", Batch="batch|,.0f")},
        })
    return layers


def measured_roofline(
    points: Mapping[str, Sequence[tuple[float, float]]], roofs: Mapping[str, tuple[float, float]],
) -> Spec:
    """Log-log: what each format's linears reached (FLOP/B, FLOP/s), under roofs (B/s, FLOP/s) by name.

    The first roof is drawn solid, the second dashed, the third dotted.
    """
    xs = [x for series in points.values() for x, _ in series]
    ys = [y / TERA for series in points.values() for _, y in series]
    left, right = min(xs) / 1.5, 1.5 * max(*xs, *(flops / bandwidth for bandwidth, flops in roofs.values()))
    top = 1.6 * max(*ys, *(flops / TERA for _, flops in roofs.values()))
    x, y = decades("x", "FLOP per byte", left, right), decades("y", "TFLOP/s", min(ys) / 1.5, top)
    layers: list[Spec] = []
    for dash, (name, (bandwidth, flops)) in zip(DASHES, roofs.items(), strict=False):
        corner = flops / bandwidth
        layers.append({
            "data": rows(x=[left, corner, right], y=[left * bandwidth / TERA, flops / TERA, flops / TERA],
                         name=[name] * 3),
            "mark": {"type": "line", "color": INK, "strokeWidth": 1.6, "strokeDash": list(dash), "opacity": 0.75,
                     "clip": True},
            "encoding": {"x": x, "y": y, "tooltip": tooltip(Roof="name")},
        })
    for name, series in points.items():
        layers.append({
            "data": rows(x=[a for a, _ in series], y=[b / TERA for _, b in series], name=[name] * len(series)),
            "mark": {"type": "line", "color": format_mark(name).hue, "strokeDash": list(format_mark(name).dash),
                     "strokeWidth": 1.5, "opacity": 0.9, "point": {"color": format_mark(name).hue, "size": 45}},
            "encoding": {"x": x, "y": y, "tooltip": tooltip(
                Format="name", FLOP_per_byte="x|,.1f", TFLOPS="y|,.1f")},
        })
    return figure(layers, height=HEIGHT + 60)


def measured_against_estimated(
    names: Sequence[str], measured: Sequence[float], estimated: Sequence[float | None],
) -> Spec:
    """Shares of the data sheet: a filled dot measured, a ring estimated, joined where both are known."""
    y = {"field": "name", "type": "nominal", "sort": None, "title": None,
         "axis": {"labelLimit": 190, "domain": False, "ticks": False}}
    top = max(1.0, *measured)
    x = quantity("share", "share of the data sheet", scale={"domain": [0, top * 1.05], "nice": False},
                 axis={"format": ".0%"})
    pairs = [(n, m, e) for n, m, e in zip(names, measured, estimated, strict=True) if e is not None]
    ring = rows(name=[n for n, _, _ in pairs], share=[e for _, _, e in pairs])
    joined = rows(name=[n for n, _, _ in pairs], share=[m for _, m, _ in pairs], to=[e for _, _, e in pairs])
    return figure([
        {"data": joined, "mark": {"type": "rule", "color": GREY, "strokeWidth": 2},
         "encoding": {"y": y, "x": x, "x2": {"field": "to"}}},
        {"data": ring, "mark": {"type": "point", "size": 110, "color": GREY, "strokeWidth": 2.5, "opacity": 1},
         "encoding": {"y": y, "x": x, "tooltip": tooltip(What="name", Estimated="share|.1%")}},
        {"data": rows(name=names, share=measured),
         "mark": {"type": "point", "filled": True, "size": 130, "color": TEAL, "opacity": 1},
         "encoding": {"y": y, "x": x, "tooltip": tooltip(What="name", Measured="share|.1%")}},
    ], height=max(120, 34 * len(names) + 40))
