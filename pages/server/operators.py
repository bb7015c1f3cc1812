"""Figures for the operator: `GET /metrics` with the administrator's token, as Prometheus reads them."""

import hmac
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import REGISTRY, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.basics.settings import setting
from pages.server.turns import TURNS

PATH = "/metrics"
SHORTEST_TOKEN = 16
PAGES = Histogram("sweetspot_page_seconds", "Time to draw a page, its wait for a turn left out.", ["page"],
                  buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30))
ERRORS = Counter("sweetspot_page_errors", "Pages that ended in an error: said in a sentence, ours, or a forged input.",
                 ["kind"])
ANSWERS = Counter("sweetspot_http_answers", "Answers over HTTP by their status.", ["status"])


class Now(Collector):
    """What is read where it is kept, when it is asked for."""

    def collect(self) -> Iterable[Metric]:
        from core.reading.hub import outcomes  # here: the server answers before it has read our tables

        drawn, waiting = TURNS.counted()
        yield GaugeMetricFamily("sweetspot_pages_drawn", "Pages that are drawn now.", value=drawn)
        yield GaugeMetricFamily("sweetspot_pages_waiting", "Pages that wait for their turn.", value=waiting)
        asked = CounterMetricFamily("sweetspot_hub_questions", "Questions to the Hub by how they ended.",
                                    labels=["outcome"])
        for outcome, number in dict(outcomes).items():
            asked.add_metric([outcome], number)
        yield asked


REGISTRY.register(Now())


@contextmanager
def drawn(page: str) -> Iterator[None]:
    """Times a page."""
    with PAGES.labels(page).time():
        yield


class Operators:
    """ASGI middleware: counts answers, and gives the figures to who has SWEETSPOT_ADMIN_TOKEN."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                ANSWERS.labels(message["status"]).inc()
            await send(message)

        if scope["path"] == PATH and _is_operator(Headers(scope=scope)):
            await PlainTextResponse(generate_latest(REGISTRY), media_type="text/plain; version=0.0.4")(
                scope, receive, counted)
        elif scope["path"] == PATH:
            await PlainTextResponse("Not found", 404)(scope, receive, counted)
        else:
            await self.app(scope, receive, counted)


def _is_operator(headers: Headers) -> bool:
    token = setting("admin_token") or ""
    said = headers.get("authorization", "").removeprefix("Bearer ")
    return len(token) >= SHORTEST_TOKEN and hmac.compare_digest(said.encode(), token.encode())
