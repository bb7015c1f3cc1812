"""Speed per user against tokens per dollar or joule: the Pareto front, with the rest faint."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10

from core.delivery.charts.style import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    STEPS,
    Spec,
    decades,
    figure,
    one,
    rows,
    tooltip,
    vertical_rule,
)

HEIGHT = 380
X_TITLE = "Tokens/s for each user"
Y_TITLE = "Tokens/s per $/hour"
APART = 0.055            # of the axis: labels nearer than this would touch
NAME_ROOM = 3.5          # the axis runs on for the names at its end
MEMORY = re.compile(r" \d+GB$")      # ends a catalogue name


@dataclass(frozen=True, slots=True)
class Offer:
    """A layout in the plane."""

    user: float                # tokens/s for each user
    good: float                # tokens for what they take: dollars an hour, joules
    gpu: str
    gpus: int
    what: str                  # formats, engine and split, for the tooltip
    usd_per_hour: float
    meets: bool
    on_front: bool


def pareto(offers: Sequence[Offer], marked: Sequence[tuple[Offer, str]], *, target: float, title: str) -> Spec:
    """Offers over two logarithmic axes; `marked` are named by a word, `target` is the slowest flow accepted.

    `title` says what tokens are weighed against.
    """
    if not offers:
        return figure([], height=HEIGHT)
    x = _logarithmic("user", X_TITLE, [offer.user for offer in offers] + [target], room=NAME_ROOM)
    y = _logarithmic("good", title, [offer.good for offer in offers])
    best = sorted((offer for offer in offers if offer.on_front), key=lambda offer: offer.user)
    layers = [
        _points([o for o in offers if not o.on_front and not o.meets], x, y,
                {"filled": False, "color": GREY, "opacity": 0.28, "size": 22}),
        _points([o for o in offers if not o.on_front and o.meets], x, y,
                {"filled": True, "color": GREY, "opacity": 0.38, "size": 26}),
        {"data": _data(best), "mark": {"type": "line", "color": BLUE, "strokeWidth": 2, "interpolate": "step-before"},
         "encoding": {"x": x, "y": y}},
        _points(best, x, y, {"filled": True, "color": BLUE, "opacity": 1, "size": 70}),
        *_marks(marked, x, y),
        *_names(best, x, y),
    ]
    if x["scale"]["domain"][0] < target < x["scale"]["domain"][1]:
        layers += vertical_rule(target, f"target {target:.0f}", x, side="right")
    return figure(layers, height=HEIGHT)


def _data(offers: Sequence[Offer]) -> Spec:
    return rows(
        user=[o.user for o in offers], good=[o.good for o in offers], gpu=[o.gpu for o in offers],
        what=[o.what for o in offers], price=[o.usd_per_hour for o in offers],
        meets=["yes" if o.meets else "no" for o in offers],
    )


def _points(offers: Sequence[Offer], x: Spec, y: Spec, style: Spec) -> Spec:
    return {
        "data": _data(offers),
        "mark": {"type": "point", **style},
        "encoding": {
            "x": x, "y": y,
            "tooltip": tooltip(
                GPU="gpu", Deployment="what", Tokens_per_s_and_user="user|,.0f", **{y["axis"]["title"]: "good|,.3r"},
                Dollars_an_hour="price|,.2f", Meets_the_targets="meets",
            ),
        },
    }


def _marks(marked: Sequence[tuple[Offer, str]], x: Spec, y: Spec) -> list[Spec]:
    """A ring and a word for each pick."""
    ring = {"type": "point", "size": 190, "filled": False, "color": ORANGE, "strokeWidth": 2.5, "opacity": 1}
    layers: list[Spec] = []
    for offer, word in marked:
        text = {"type": "text", "align": "right" if offer.on_front else "left", "dx": -13 if offer.on_front else 13,
                "dy": 12, "color": ORANGE, "fontWeight": 700}
        data = one(user=offer.user, good=offer.good, word=word)
        layers += [{"data": data, "mark": ring, "encoding": {"x": x, "y": y}},
                   {"data": data, "mark": text, "encoding": {"x": x, "y": y, "text": {"field": "word"}}}]
    return layers


def _names(best: Sequence[Offer], x: Spec, y: Spec) -> list[Spec]:
    """What stands along the front, above it where nothing else is, as far as there is room."""
    low, high = (log10(edge) for edge in y["scale"]["domain"])
    named: list[Offer] = []
    for offer in best:
        if all(abs(log10(offer.good / other.good)) > APART * (high - low) for other in named):
            named.append(offer)
    names = _short({o.gpu for o in best})
    return [{
        "data": rows(user=[o.user for o in named], good=[o.good for o in named],
                     name=[f"{o.gpus} × {names[o.gpu]}" if o.gpus > 1 else names[o.gpu] for o in named]),
        "mark": {"type": "text", "align": "left", "dx": 11, "dy": -8, "color": INK, "opacity": 0.9},
        "encoding": {"x": x, "y": y, "text": {"field": "name"}},
    }]


def _short(names: set[str]) -> dict[str, str]:
    """The names without their memory, "B300 SXM 288GB" as "B300 SXM", where that tells them apart."""
    short = {name: MEMORY.sub("", name) for name in names}
    seen = list(short.values())
    return {name: word if seen.count(word) == 1 else name for name, word in short.items()}


def _logarithmic(field: str, title: str, values: Sequence[float], room: float = 1.25) -> Spec:
    """A logarithmic axis around the values; `room` is how far it runs on, as a factor."""
    return decades(field, title, min(values) / 1.15, max(values) * room, STEPS)
