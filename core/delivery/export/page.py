"""One printable page: self-contained HTML, its charts inside as SVG, every word escaped."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from core.basics.places import ASSETS
from core.delivery.charts import Spec

CHART_PX, WIDE_PX = 270, 620
_PADDING: Final = {"left": 5, "top": 5, "right": 28, "bottom": 5}       # names at the end of a line stand beyond it


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with what it rests on and, below it, its range or what else belongs to it."""

    name: str
    basis: str
    value: str
    span: str


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart and the line below it; `parts` are the entries of its legend."""

    svg: Markup
    says: str
    wide: bool = False
    parts: Sequence[dict[str, object]] = ()


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading. Columns of `numbers` are set to the right."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """What a page says, in the order it is printed."""

    title: str
    sentence: str
    asked: str
    sources: str
    reason: str = ""
    figures: Sequence[Figure] = ()
    charts: Sequence[Picture] = ()
    tables: Sequence[Table] = field(default=())
    launch: str = ""


def render(page: Page) -> str:
    """The page as HTML that needs nothing else: no script, no font, no address."""
    template = Environment(
        loader=FileSystemLoader(ASSETS), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("report.html")
    return template.render(page=page, date=datetime.now(UTC).strftime("%Y-%m-%d"))


def svg(spec: Spec, width: int = CHART_PX) -> Markup:
    """A Vega-Lite chart as SVG in the colours of the page, drawn by vl-convert without a browser."""
    import vl_convert  # half a second to load: only where a report is asked for

    drawn: Any = vl_convert.vegalite_to_svg({**spec, "width": width, "padding": _PADDING})
    return Markup(drawn)      # Vega escapes the text in it
