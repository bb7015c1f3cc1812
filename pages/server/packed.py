"""The app's own files, compressed once and kept: a first visit fetches a third of the bytes.

Streamlit compresses what it computes and leaves its bundles as they are, for its middleware would pack them anew at
every request. Their names carry a hash of what they hold, so what was packed once is right for good.
"""

import asyncio
import gzip
import re
from dataclasses import dataclass, field

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

BUNDLE = re.compile(r".*/static/.+\.(js|css|svg)")


@dataclass
class Whole:
    """Takes an answer in instead of sending it."""

    status: int = 0
    headers: MutableHeaders = field(default_factory=MutableHeaders)
    body: bytearray = field(default_factory=bytearray)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], MutableHeaders(raw=list(message["headers"]))
        elif message["type"] == "http.response.body":
            self.body += message.get("body", b"")

    @property
    def lasts(self) -> bool:
        """Whether these bytes belong to this address for good: index.html answers for files that are not there."""
        return self.status == 200 and "immutable" in self.headers.get("cache-control", "")

    async def pack(self) -> None:
        """Compresses the body; in a thread, for the largest bundle takes a tenth of a second."""
        self.body = bytearray(await asyncio.to_thread(gzip.compress, bytes(self.body), 9))
        self.headers["content-encoding"], self.headers["content-length"] = "gzip", str(len(self.body))
        self.headers.add_vary_header("Accept-Encoding")
        if tag := self.headers.get("etag"):
            self.headers["etag"] = f"W/{tag.removeprefix('W/')}"

    async def to(self, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status, "headers": self.headers.raw})
        await send({"type": "http.response.body", "body": bytes(self.body)})


class Packed:
    """ASGI middleware in front of Streamlit's bundles; there are about 300 of them, 6 MB when packed."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.kept: dict[str, Whole] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _may_be_packed(scope):
            await self.app(scope, receive, send)
            return
        answer = self.kept.get(scope["path"])
        if answer is None:
            answer = Whole()
            await self.app(scope, receive, answer)
            if answer.lasts:
                await answer.pack()
                self.kept[scope["path"]] = answer
        await answer.to(send)


def _may_be_packed(scope: Scope) -> bool:
    """A plain request for a bundle by somebody who unpacks."""
    if scope["type"] != "http" or scope["method"] != "GET" or not BUNDLE.fullmatch(scope["path"]):
        return False
    asked = Headers(scope=scope)
    return "gzip" in asked.get("accept-encoding", "") and "range" not in asked and "if-none-match" not in asked
