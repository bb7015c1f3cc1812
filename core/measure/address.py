"""Addresses of OpenAI-compatible servers: which may be asked here, and whether one answers."""

import json
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from core.basics.errors import InputError, ProbeError
from core.basics.settings import is_public, setting

ANSWER_S: Final = 5.0
MOST_BYTES: Final = 1_000_000        # of a list of models
MODELS: Final = "/v1/models"


def checked(url: str) -> str:
    """The address without what may stand behind it. Raises InputError where it may not be asked.

    Servers of this machine may, and those that the administrator names: SWEETSPOT_ENDPOINTS, addresses with spaces
    between them. On a public host none may.
    """
    if is_public():
        raise InputError("Servers are not measured from a public host: run `sweetspot measure server` on your own.")
    try:
        parts = urlsplit(url.strip())
        port = parts.port
    except ValueError:
        raise InputError(f"'{url[:80]}' is no address: write it as http://localhost:8000.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query or parts.fragment:
        raise InputError(f"'{url[:80]}' is no address: write it as http://localhost:8000.")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    base = f"{parts.scheme}://{host}{f':{port}' if port else ''}"
    if not _is_here(parts.hostname) and base not in {one.rstrip("/") for one in (setting("endpoints") or "").split()}:
        raise InputError(f"{base} may not be measured from here: its administrator names it in SWEETSPOT_ENDPOINTS.")
    return base


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def status(url: str, path: str, token: str = "") -> tuple[int, bytes]:
    """What a server answers to a GET; 0 where it does not answer. Redirects are not followed."""
    parts = urlsplit(url)
    kind = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=ANSWER_S)
    headers: Mapping[str, str] = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read(MOST_BYTES)
    except (OSError, HTTPException):
        return 0, b""
    finally:
        connection.close()


def model_served(url: str, wanted: str, token: str) -> str:
    """The model to ask for: the one named, or the only one. Raises ProbeError where the server has no such one."""
    code, body = status(url, MODELS, token)
    if code == 0:
        raise ProbeError(f"No server answers at {url}: start it, or check the address.")
    if code != 200:
        raise ProbeError(f"The server at {url} answers {code} to {MODELS}: check the address and the token.")
    served = _names(body)
    if wanted in served or (not wanted and len(served) == 1):
        return wanted or served[0]
    listed = ", ".join(name[:80] for name in served[:5]) or "none"
    raise ProbeError(f"The server at {url} has these models: {listed}. Name one with --served-model.")


def _names(body: bytes) -> list[str]:
    try:
        data: Any = json.loads(body)["data"]
        return [str(one["id"]) for one in data]
    except (ValueError, KeyError, TypeError, RecursionError):
        return []
