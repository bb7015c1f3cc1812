"""Files that start a deployment elsewhere: what each is called, what it holds, how it is used."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from typing import Final

import yaml

from core.basics.errors import InputError
from core.basics.units import GIB
from core.delivery.export.launch import Launch, command
from core.delivery.export.order import Order, is_as_shipped
from core.physics.network import hosts
from core.products.engines import ENGINES
from core.products.options import image

SHARED_MEMORY_GIB: Final = 16        # for the exchange between processes of one server; vLLM docs, Using Docker
MODELS: Final = "/models"            # where a folder with own checkpoints is mounted
CONFIG: Final = "/config"            # where files that the command reads are mounted
_16BIT_BYTES: Final = 2
CACHE: Final = "/root/.cache/huggingface"
_RESOURCES: Final = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu", "Intel": "gpu.intel.com/xe"}


@dataclass(frozen=True, slots=True)
class Manifest:
    """A file to take away."""

    label: str
    file: str
    language: str              # of its text
    text: str
    use: str                   # the command that uses it
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Container:
    """How a server runs in its published image."""

    image: str
    entry: tuple[str, ...]     # replaces the image's own; empty: the image's own
    args: tuple[str, ...]
    launch: Launch
    own_checkpoint: bool       # read from MODELS


class _Dumper(yaml.SafeDumper):
    """Indents lists under their keys, as people write them, and never uses anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def to_yaml(*documents: object, notes: tuple[str, ...] = ()) -> str:
    """Documents as YAML, with notes as comments above."""
    text = yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110)
    return "".join(f"# {' '.join(note.split())}\n" for note in notes) + text


def slug(name: str) -> str:
    """A name for labels and services: RFC 1123, letters, digits and dashes, at most 50."""
    clean = re.sub(r"[^a-z0-9]+", "-", name.rpartition("/")[2].lower()).strip("-")[:50].strip("-")
    return clean if clean[:1].isalpha() else f"llm-{clean}".strip("-")


def container(ordered: Order, port: int) -> Container:
    """The server in its image. Raises InputError where the engine publishes none for these GPUs."""
    d = ordered.deployment
    found = image(d.engine, d.gpu.vendor)
    if found is None:
        label = ENGINES[d.engine].label if d.engine in ENGINES else d.engine
        raise InputError(f"No published container of {label} for {d.gpu.vendor} GPUs is known here: use the command.")
    made = command(ordered, {"host": "0.0.0.0", "port": port})
    words = [_inside(word, made) for word in made.command]
    built_in = found.entry_words
    entry = () if built_in else (("python3", *words[1:3]) if words[0] == "python" else (words[0],))
    own = any(_is_checkpoint(word) for word in made.command)
    return Container(found.image, entry, tuple(words[built_in or len(entry):]), made, own)


def _is_checkpoint(word: str) -> bool:
    """Whether a word of a command names a checkpoint beside it."""
    return word.startswith("./") or word.endswith(".gguf")


def _inside(word: str, made: Launch) -> str:
    """A word of the command as the container sees it."""
    if word in made.files:
        return f"{CONFIG}/{word}"
    return f"{MODELS}/{word.removeprefix('./')}" if _is_checkpoint(word) else word


def resources(ordered: Order, pods: int = 1) -> tuple[str, int]:
    """What a cluster calls the GPUs, and how many each of a server's pods takes."""
    d = ordered.deployment
    name = _RESOURCES.get(d.gpu.vendor)
    if name is None:
        raise InputError(f"There is no device plugin name for {d.gpu.vendor} GPUs here: use the command.")
    machines = hosts(d)
    if machines > pods:
        raise InputError(f"One server takes {d.gpus:,} GPUs of {machines} machines, a pod those of one: use a "
                         "LeaderWorkerSet or Ray Serve.")
    return name, d.gpus // pods


def weights_gib(ordered: Order) -> int:
    """Room the checkpoint takes on a disk [GiB], a fifth more than its weights."""
    d = ordered.deployment
    held = ordered.choice.footprint.term("weights").bytes * d.tp * d.pp
    downloaded = held if is_as_shipped(ordered) else max(held, ordered.spec.total_params * _16BIT_BYTES)
    return max(1, ceil(1.2 * downloaded / GIB))


Maker = Callable[[Order], Manifest]
