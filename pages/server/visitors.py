"""On a public host every visitor gets a random key as a cookie: what they keep is theirs alone.

The key is set on the response that carries the page, so it is there before the first script runs. It is
in no link, so a plan can be shared without sharing what is kept.
"""

import re
from secrets import token_urlsafe

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.basics.settings import is_public

COOKIE = "sweetspot_own"
KEY = re.compile(r"[A-Za-z0-9_-]{32}")
A_YEAR_S = 31_536_000


class OwnKey:
    """ASGI middleware that sets the cookie where it is missing."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not is_public() or not _asks_for_a_page(Request(scope)):
            await self.app(scope, receive, send)
            return

        async def with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("set-cookie", _cookie(Request(scope)))
            await send(message)

        await self.app(scope, receive, with_cookie)


def _asks_for_a_page(request: Request) -> bool:
    """A browser's request for a page by somebody without a key."""
    wants_html = "text/html" in request.headers.get("accept", "")
    return request.method == "GET" and wants_html and not KEY.fullmatch(request.cookies.get(COOKIE, ""))


def _cookie(request: Request) -> str:
    secure = "https" in (request.headers.get("x-forwarded-proto", ""), request.url.scheme)
    return (f"{COOKIE}={token_urlsafe(24)}; Max-Age={A_YEAR_S}; Path=/; HttpOnly; SameSite=Lax"
            + ("; Secure" if secure else ""))
