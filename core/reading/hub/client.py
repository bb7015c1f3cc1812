"""One bounded request to the Hugging Face Hub, and what its refusals mean to a person.

huggingface_hub supplies the connection pool, the headers and the reading of rate limits; its own calls
are not used because `model_info` and `list_models` wait for ever, `list_models` sleeps through five
retries of a further page, and a file is read whole whatever its size (huggingface_hub 1.33). Here every
request has a time-out, a deadline, a size and at most one retry. The token goes into one header of one
request, nowhere else.
"""

import asyncio
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final, TypeAlias

from core.basics.errors import HubError, HubRateLimited, HubUnreachable, InputError, ModelGated, ModelNotFound

if TYPE_CHECKING:
    from httpx import AsyncClient, Response

Params: TypeAlias = Mapping[str, str | int | Sequence[str]]

CONNECT_S: Final = 3.0
READ_S: Final = 5.0            # between two pieces of an answer
ATTEMPTS: Final = 2            # a busy server (502, 503, 504) is asked once more
_PAUSE_S: Final = 0.3
_BUSY: Final = (502, 503, 504)
_OFFLINE_HINT: Final = "the bundled catalogue works without it."


# Questions by how they ended: "answered" or the error's name. Counted in the loop's thread alone.
outcomes: Final[Counter[str]] = Counter()


class FileMissing(ModelNotFound):
    """The repository is there, the file is not."""


class _Busy(Exception):
    """The server answered that it is overloaded."""


class Deadline:
    """The moment by which a chain of requests must have answered."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises: HubUnreachable when there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise self.missed()
        return left

    def missed(self) -> HubUnreachable:
        """What to say when it has passed."""
        return HubUnreachable(f"The Hub took longer than {self.seconds:.0f} s. Try again; {_OFFLINE_HINT}")


@cache
def _loop() -> asyncio.AbstractEventLoop:
    """The loop of a thread of its own, where a deadline ends a request wherever it stands.

    Blocking calls end between two pieces of an answer only: one byte of a header a second holds them for ever.
    """
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="hub", daemon=True).start()
    return loop


@cache
def _session() -> "AsyncClient":
    """The connections of all requests; made and used in the loop's thread."""
    from huggingface_hub.utils import get_async_session

    return get_async_session()


@dataclass(frozen=True, slots=True)
class Reply:
    """The body asked for and, where the server tells, the size of the whole file [B]."""

    body: bytes
    file_bytes: int | None


@dataclass(frozen=True, slots=True)
class Client:
    """Where to ask, with whose token, and until when."""

    endpoint: str
    token: str | None = field(repr=False)
    deadline: Deadline

    def get(self, path: str, *, subject: str, max_bytes: int, params: Params | None = None) -> Reply:
        """The whole body under a path of the endpoint.

        Raises: HubUnreachable, HubRateLimited, ModelNotFound, ModelGated, and OversizeReply when the
        body is larger than `max_bytes`; no more than that is ever held.
        """
        return self._ask(path, subject, max_bytes, params, None)

    def get_range(self, path: str, begin: int, length: int, *, subject: str) -> Reply:
        """`length` bytes of a file from `begin`, fewer where it ends. Raises as `get`."""
        return self._ask(path, subject, length, None, begin)

    def _ask(self, path: str, subject: str, max_bytes: int, params: Params | None,
             begin: int | None) -> Reply:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._once(path, subject, max_bytes, params, begin)
            except _Busy:
                if attempt < ATTEMPTS:
                    time.sleep(min(_PAUSE_S, self.deadline.left()))
        raise HubUnreachable(f"The Hub is overloaded. Try again in a minute; {_OFFLINE_HINT}")

    def _once(self, path: str, subject: str, max_bytes: int, params: Params | None,
              begin: int | None) -> Reply:
        asked = asyncio.run_coroutine_threadsafe(self._counted(path, subject, max_bytes, params, begin), _loop())
        try:
            return asked.result()
        finally:
            asked.cancel()

    async def _counted(self, path: str, subject: str, max_bytes: int, params: Params | None,
                       begin: int | None) -> Reply:
        try:
            reply = await self._answer(path, subject, max_bytes, params, begin)
        except Exception as error:
            outcomes[type(error).__name__.lstrip("_")] += 1
            raise
        outcomes["answered"] += 1
        return reply

    async def _answer(self, path: str, subject: str, max_bytes: int, params: Params | None,
                      begin: int | None) -> Reply:
        import httpx
        from huggingface_hub.errors import OfflineModeIsEnabled

        left = self.deadline.left()
        headers = self._headers() | ({} if begin is None else {"range": f"bytes={begin}-{begin + max_bytes - 1}"})
        timeout = httpx.Timeout(min(READ_S, left), connect=min(CONNECT_S, left))
        try:
            async with asyncio.timeout(left), _session().stream(
                    "GET", self.endpoint + path, params=dict(params or {}), headers=headers,
                    timeout=timeout, follow_redirects=True) as response:
                if response.status_code >= 400:
                    raise refusal(response, subject, self.token is not None)
                return await self._read(response, subject, max_bytes, begin)
        except OfflineModeIsEnabled:
            raise HubUnreachable(f"The Hub is switched off here (HF_HUB_OFFLINE); {_OFFLINE_HINT}") from None
        except TimeoutError:
            raise self.deadline.missed() from None
        except httpx.TimeoutException:
            raise HubUnreachable(f"The Hub did not answer in time. Try again; {_OFFLINE_HINT}") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError):
            raise HubUnreachable(f"The Hub cannot be reached. Check the network; {_OFFLINE_HINT}") from None

    def _headers(self) -> dict[str, str]:
        """User agent, plain bodies (so that sizes mean what they say), and the token if there is one."""
        from huggingface_hub import __version__
        from huggingface_hub.utils import build_hf_headers

        if self.token is not None and not re.fullmatch(r"[\x21-\x7e]{1,256}", self.token):
            raise InputError("The Hub token has characters that no token has; copy it again.")
        plain = {"user-agent": f"sweetspot; hf_hub/{__version__}", "accept-encoding": "identity"}
        return build_hf_headers(token=self.token or False, headers=plain)

    async def _read(self, response: "Response", subject: str, max_bytes: int, begin: int | None) -> Reply:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise HubUnreachable(f"The Hub's answer was not understood. Try again; {_OFFLINE_HINT}")
        ranged = response.status_code == 206
        skip = 0 if ranged or begin is None else begin   # a server may send the whole file
        body = bytearray()
        async for chunk in response.aiter_raw():
            dropped = min(skip, len(chunk))
            skip -= dropped
            body += memoryview(chunk)[dropped:]
            if len(body) > max_bytes:
                if begin is None:
                    raise OversizeReply(f"{subject} is larger than {max_bytes / 1e6:.0f} MB, the most that is read.")
                break
        return Reply(bytes(body[:max_bytes]), _file_bytes(response, ranged))


class OversizeReply(HubError):
    """The body is larger than anything it could honestly be."""


def _file_bytes(response: "Response", ranged: bool) -> int | None:
    headers = response.headers
    said = headers.get("content-range", "").rpartition("/")[2] if ranged else headers.get("content-length", "")
    return int(said) if said.isdecimal() and len(said) < 19 else None


def refusal(response: "Response", subject: str, with_token: bool) -> Exception:
    """The error that a 4xx or 5xx answer stands for.

    Codes: huggingface_hub 1.33 `hf_raise_for_status`. 401 is also what the Hub says of a repository
    that does not exist when nobody is signed in.
    """
    status, code = response.status_code, response.headers.get("x-error-code", "")
    if status in _BUSY:
        return _Busy()
    if status == 429:
        return HubRateLimited(f"The Hub asks to slow down. Come back in {_wait_s(response)} s; {_OFFLINE_HINT}")
    if status >= 500:
        return HubUnreachable(f"The Hub answered with an error ({status}). Try again later; {_OFFLINE_HINT}")
    if code == "EntryNotFound":
        return FileMissing(f"{subject} is not in the repository.")
    if code == "GatedRepo" and with_token:
        return ModelGated(f"Your token has no access to {subject}. Accept its licence on its Hub page with the same"
                          " account, or pick another model.")
    if code == "GatedRepo":
        return ModelGated(f"{subject} is gated. Accept its licence on its Hub page, then enter your Hub token here.")
    if "disabled" in response.headers.get("x-error-message", "").lower():
        return ModelNotFound(f"{subject} has been disabled on the Hub. Pick another model.")
    if status in (401, 403) and with_token:
        return ModelGated(f"The Hub refuses your token for {subject}. Check that it is valid and may read this model.")
    if status in (401, 403, 404):
        return ModelNotFound(f"No model {subject} on the Hub. Check the spelling, enter a token if it is private, or"
                             " pick one from the catalogue.")
    return HubUnreachable(f"The Hub did not accept the question ({status}); {_OFFLINE_HINT}")


def _wait_s(response: "Response") -> int:
    """Seconds until the rate limit ends: the RateLimit header, else Retry-After, else a minute."""
    from huggingface_hub.utils import parse_ratelimit_headers

    limit = parse_ratelimit_headers(response.headers)
    if limit is not None and limit.remaining == 0:
        return min(limit.reset_in_seconds, 86_400)
    said = response.headers.get("retry-after", "")
    return min(int(said), 86_400) if said.isdecimal() and len(said) < 9 else 60


def parsed(body: bytes) -> object:
    """JSON of an answer of the Hub itself. Raises: HubUnreachable when it is rubbish."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise HubUnreachable(f"The Hub's answer was not understood. Try again; {_OFFLINE_HINT}") from None
