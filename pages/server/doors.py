"""Who may knock, and what the answer says to the browser: hosts, origins, headers, metrics.

A server for this machine alone answers to this machine's names only: a page elsewhere whose name was pointed at
127.0.0.1 (DNS rebinding) would otherwise read what is kept here.
"""

import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.basics.settings import is_public, setting

# Streamlit evaluates the specs of charts and carries its styles inline, so scripts are not restricted here.
HEADERS = {
    "content-security-policy": "frame-ancestors 'self'; object-src 'none'; base-uri 'self'; form-action 'self'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
}
METRICS = "/_stcore/metrics"


class Doors:
    """ASGI middleware: refuses foreign hosts and origins, hides metrics from strangers, adds the headers."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        if why := refusal(Headers(scope=scope), scope["type"] == "websocket"):
            await _refused(scope, receive, send, why)
        elif scope["path"].endswith(METRICS) and is_public():
            await PlainTextResponse("Not found", 404)(scope, receive, send)
        else:
            await self.app(scope, receive, _with_headers(send))


def refusal(headers: Headers, is_websocket: bool) -> str:
    """Why a request is not for this server, or nothing."""
    host, origin = headers.get("host", ""), headers.get("origin")
    if not is_public() and not _is_ours(urlsplit(f"//{host}").hostname or ""):
        return f"This server answers to this machine only, not to '{host[:100]}'. Name other hosts in SWEETSPOT_HOSTS."
    if is_websocket and not is_public() and origin is not None and urlsplit(origin).netloc != host:
        return "A page of another address may not speak to this server."
    return ""


def _is_ours(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost") or host in (setting("hosts") or "").split(","):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


async def _refused(scope: Scope, receive: Receive, send: Send, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": why[:120]})
    else:
        await PlainTextResponse(why, 403)(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def adding(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return adding
