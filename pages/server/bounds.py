"""What a stranger may ask of the server beside its pages: uploads within bounds, no command over others' caches.

Streamlit bounds the size of one upload and checks its XSRF token; how many files a session may leave in the
server's memory, and how long it may take to send one, is bounded here.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st
from google.protobuf.message import DecodeError
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg

from core.basics.settings import is_public
from core.basics.units import MIB

FILES_PER_SESSION = 10
SESSION_BYTES = 60 * MIB
SERVER_BYTES = 200 * MIB
AT_ONCE = 8
UPLOAD_S = 60.0
KEPT_S = 3600.0                 # after so long an upload no longer counts: its session is gone or nearly so
UPLOAD = re.compile(r".*/_stcore/upload_file/([^/]+)/([^/]+)")


@dataclass
class Uploads:
    """What each session has in the server's memory, as far as this server let it in."""

    clock: Callable[[], float] = time.monotonic
    under_way: int = 0
    held: dict[tuple[str, str], tuple[int, float]] = field(default_factory=dict)     # (session, file): bytes, when

    def refusal(self, session: str, size: int) -> str:
        """Why one more file of that size is not taken, or nothing."""
        now = self.clock()
        self.held = {key: (taken, at) for key, (taken, at) in self.held.items() if now - at < KEPT_S}
        own = [taken for (owner, _), (taken, _) in self.held.items() if owner == session]
        if len(own) >= FILES_PER_SESSION or sum(own) + size > SESSION_BYTES:
            return f"Too much was uploaded: {FILES_PER_SESSION} files and {SESSION_BYTES // MIB} MiB a visit. Reload."
        if self.under_way >= AT_ONCE or sum(taken for taken, _ in self.held.values()) + size > SERVER_BYTES:
            return "The server is busy with other uploads. Try again in a minute."
        return ""


@dataclass
class Answered:
    """Passes an answer on and remembers its status."""

    send: Send
    status: int = 0

    async def __call__(self, message: Message) -> None:
        self.status = message.get("status", self.status)
        await self.send(message)

    @property
    def succeeded(self) -> bool:
        return 200 <= self.status < 300


class Bounds:
    """ASGI middleware around Streamlit's own endpoints."""

    def __init__(self, app: ASGIApp, uploads: Uploads | None = None) -> None:
        self.app = app
        self.uploads = uploads or Uploads()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket" and is_public():
            await self.app(scope, _without_commands(receive), send)
        elif scope["type"] == "http" and (found := UPLOAD.fullmatch(scope["path"])):
            await self._upload(scope, receive, send, found[1], found[2])
        else:
            await self.app(scope, receive, send)

    async def _upload(self, scope: Scope, receive: Receive, send: Send, session: str, file: str) -> None:
        key = (session, file)
        if scope["method"] == "DELETE":
            answered = Answered(send)
            await self.app(scope, receive, answered)
            if answered.succeeded:          # a DELETE that is refused leaves its file
                self.uploads.held.pop(key, None)
            return
        if scope["method"] != "PUT":
            await self.app(scope, receive, send)
            return
        said = dict(scope["headers"]).get(b"content-length", b"")
        if not said.isdigit() or len(said) > 12:
            await PlainTextResponse("Say how long the file is.", 411)(scope, receive, send)
            return
        if why := self.uploads.refusal(session, int(said)):
            await PlainTextResponse(why, 429)(scope, receive, send)
            return
        await self._taken(scope, receive, send, key, int(said))

    async def _taken(self, scope: Scope, receive: Receive, send: Send, key: tuple[str, str], size: int) -> None:
        """Lets one upload in and gives it its time; what the app refuses is not counted."""
        answered = Answered(send)
        self.uploads.held[key] = (size, self.uploads.clock())
        self.uploads.under_way += 1
        try:
            async with asyncio.timeout(UPLOAD_S):
                await self.app(scope, receive, answered)
        except TimeoutError:
            if not answered.status:
                await PlainTextResponse("The upload took too long.", 408)(scope, receive, answered)
        finally:
            self.uploads.under_way -= 1
            if not answered.succeeded:
                self.uploads.held.pop(key, None)


def _without_commands(receive: Receive) -> Receive:
    """Leaves out Streamlit's message that empties every visitor's caches: its page sends it for developers only."""

    async def next_message() -> Message:
        while True:
            message = await receive()
            if message["type"] != "websocket.receive" or not _clears_caches(message.get("bytes")):
                return message

    return next_message


def _clears_caches(frame: bytes | None) -> bool:
    try:
        return frame is not None and BackMsg.FromString(frame).WhichOneof("type") == "clear_cache"
    except DecodeError:         # Streamlit closes the connection for it
        return False


def listens_to_this_machine_only() -> bool:
    """Whether the server's address is one that no other machine can reach."""
    return st.get_option("server.address") in {"localhost", "127.0.0.1", "::1"}
