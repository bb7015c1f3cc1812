"""A visitor without a browser: Streamlit's own messages over its websocket, as its page sends them.

    async with Visitor(address, "/regime?gpu=L40S") as visitor:
        await visitor.run()
        await visitor.change("Requests in flight", 48)
        assert "48 requests" in visitor.verdict

Hundreds of times cheaper than a browser: for what is asked of the server, not of what is drawn.
"""

import asyncio
import time
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Self, TypeVar
from urllib.parse import urlsplit

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Element_pb2 import Element
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect

from tests.conftest import PATIENCE_S

LARGEST_MESSAGE = 64 * 2**20
T = TypeVar("T")


def finish(work: Coroutine[object, object, T]) -> T:
    """Runs asynchronous work to its end, in a thread of its own: a browser under test has its loop in this one."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


class Visitor:
    """One open tab: what it was sent by the last run, and what it has typed so far."""

    def __init__(self, address: str, path: str = "/", *, headers: dict[str, str] | None = None) -> None:
        parts = urlsplit(path)
        self.page, self.query = parts.path.strip("/"), parts.query
        self.elements: list[Element] = []
        self.pages: dict[str, str] = {}
        self.session_id = self.page_hash = ""
        self.verdict = ""
        self.not_found = False
        self._url = address.replace("http", "ws", 1) + "/_stcore/stream"
        self._headers = {"Origin": address} | (headers or {})
        self._typed: dict[str, WidgetState] = {}
        self._socket: ClientConnection | None = None

    async def __aenter__(self) -> Self:
        self._socket = await connect(
            self._url, subprotocols=["streamlit"], additional_headers=self._headers, max_size=LARGEST_MESSAGE,
            ping_interval=None,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._socket.close()

    async def send(self, message: BackMsg) -> None:
        """Any message a page could send."""
        await self._socket.send(message.SerializeToString())

    async def run(self) -> float:
        """Asks for the page with everything typed so far; seconds until its first heading, its last where it has one.

        The run is followed to its end; a page that redraws itself at once is followed through that as well.
        """
        message = BackMsg()
        message.rerun_script.query_string, message.rerun_script.page_name = self.query, self.page
        message.rerun_script.page_script_hash = self.pages.get(self.page, "")
        message.rerun_script.widget_states.widgets.extend(self._typed.values())
        message.rerun_script.context_info.url = "http://localhost/"
        start = time.perf_counter()
        await self.send(message)
        return await asyncio.wait_for(self._follow(start), PATIENCE_S)

    async def _follow(self, start: float) -> float:
        answered = None
        while True:
            message = ForwardMsg.FromString(await self._socket.recv())
            kind = message.WhichOneof("type")
            if kind == "new_session":
                self.elements, self.session_id = [], message.new_session.initialize.session_id
                self.page_hash = message.new_session.page_script_hash
            elif kind == "page_not_found":
                self.not_found = True
            elif kind == "navigation":
                self.pages = {page.url_pathname: page.page_script_hash for page in message.navigation.app_pages}
                self.page_hash = message.navigation.page_script_hash
            elif kind == "page_info_changed":
                self.query = message.page_info_changed.query_string
            elif kind == "delta" and message.delta.WhichOneof("type") == "new_element":
                element = message.delta.new_element
                self.elements.append(element)
                if element.WhichOneof("type") == "heading" and answered is None:
                    answered, self.verdict = time.perf_counter() - start, element.heading.body
            elif kind == "script_finished" and message.script_finished != ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                return answered if answered is not None else time.perf_counter() - start

    def found(self, kind: str, label: str | None = None) -> list[Element]:
        """The elements of a kind in the last run, in order; with that label where one is given."""
        return [
            element for element in self.elements
            if element.WhichOneof("type") == kind
            and (label is None or getattr(element, kind).label == label)
        ]

    def type(self, label: str, value: object) -> None:
        """Fills in a widget by its label; the next run sends it."""
        for kind in ("number_input", "selectbox", "text_input", "text_area", "slider", "button"):
            for element in self.found(kind, label):
                widget = getattr(element, kind)
                self._typed[widget.id] = _state(kind, widget, value)
                return
        raise AssertionError(f"no widget is called {label!r}")

    async def change(self, label: str, value: object) -> float:
        """Fills in one widget and runs; seconds until the heading that answers it."""
        self.type(label, value)
        return await self.run()

    async def press(self, label: str) -> float:
        """Presses a button."""
        self.type(label, True)
        seconds = await self.run()
        self._typed = {key: state for key, state in self._typed.items() if not state.trigger_value}
        return seconds

    def sentences(self) -> list[str]:
        """What the alerts of the last run say: errors, warnings, notes."""
        return [element.alert.body for element in self.found("alert")]


def opened(address: str, path: str) -> Visitor:
    """A tab in which that link has been opened once."""
    async def visited() -> Visitor:
        async with Visitor(address, path) as visitor:
            await visitor.run()
            return visitor

    return finish(visited())


def _state(kind: str, widget: object, value: object) -> WidgetState:
    state = WidgetState(id=widget.id)
    if kind == "button":
        state.trigger_value = True
    elif kind == "number_input" and widget.data_type == widget.INT:
        state.int_value = int(value)
    elif kind == "number_input":
        state.double_value = float(value)
    elif kind == "slider":
        state.double_array_value.data.append(float(value))
    else:
        state.string_value = str(value)
    return state
