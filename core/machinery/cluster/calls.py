"""What is asked of a cluster and what is heard of it: plain data that travels between processes."""

import base64
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

DEADLINE_S: Final = 600.0       # of a call that names none

Tell = Callable[..., None]      # share done, what now, and a partial result where there is one


@dataclass(frozen=True, slots=True)
class Node:
    """A machine of the cluster."""

    id: str
    host: str
    name: str                   # the host; with the beginning of the id where others bear the same
    cpus: int
    gpus: int
    gpu_type: str               # as Ray names accelerators; empty without a GPU


@dataclass(frozen=True, slots=True)
class Call:
    """A function to run once, somewhere in the cluster."""

    function: Callable[..., Any]        # of a module of core; handed a `Tell`, then the arguments
    arguments: tuple[Any, ...]
    seconds: float = DEADLINE_S         # it may take once it runs
    node: str = ""                      # id of the node it must run on; empty: any
    gpu_type: str = ""                  # it must run on; empty: any
    gpus: int = 0


@dataclass(frozen=True, slots=True)
class News:
    """How far a call is."""

    call: int                   # position among the calls
    share: float
    note: str
    part: Any = None


@dataclass(frozen=True, slots=True)
class Result:
    """What a call returned."""

    call: int
    value: Any


@dataclass(frozen=True, slots=True)
class Loss:
    """A call that returned nothing, and why in one sentence."""

    call: int
    reason: str


Heard = News | Result | Loss


def packed(what: object) -> str:
    """Data as text for a line between processes."""
    return base64.b64encode(pickle.dumps(what)).decode("ascii")


def unpacked(text: str) -> Any:
    """Unpacks what one of our own processes packed; never anything else, since unpacking can run code."""
    return pickle.loads(base64.b64decode(text))
