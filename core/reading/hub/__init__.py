"""Finding a model: the bundled catalogue first, then this machine, then the Hugging Face Hub."""

from collections.abc import Sequence

from core.basics.errors import HubUnreachable, ModelNotFound
from core.models import ModelSpec
from core.reading import catalogue, meant
from core.reading.hub import local, remote
from core.reading.hub.client import outcomes
from core.reading.hub.remote import HubHit, declared, popular
from core.reading.written import as_asked

__all__ = ["HubHit", "config_json", "declared", "outcomes", "popular", "resolve", "search"]


def resolve(name: str, *, token: str | None = None, offline: bool = False, endpoint: str | None = None,
            allow_local: bool = True) -> ModelSpec:
    """The model of that name: a catalogue id, a path on this machine, or a Hub id.

    A Hub id may name a GGUF file: `org/name:Q4_K_M` or `org/name/file.gguf`. `endpoint` is for an
    administrator's mirror; without `allow_local` paths are refused unseen. With `offline` the Hub is
    not asked; repositories read before still answer. A name without a publisher means the obvious model.
    Raises: ModelNotFound, ModelGated, HubUnreachable, HubRateLimited, ConfigInvalid,
    ArchitectureUnknown, CheckpointInvalid: one sentence each.
    """
    name = as_asked(name)
    if not name:
        raise ModelNotFound("Name a model: a Hub id such as Qwen/Qwen3-8B, or one from the catalogue.")
    here = allow_local and local.exists(name)
    if not (here and "/" not in name) and (spec := catalogue.load(name)) is not None:
        return spec
    if local.names_a_path(name) or here:
        if not allow_local:
            raise ModelNotFound("Paths are not read here. Name a Hub id, or pick a model from the catalogue.")
        return local.load(name)
    if (spec := meant.guess(name)) is not None:
        return spec
    if ":" in name and "/" not in name:
        raise ModelNotFound(f"'{name[:80]}' is no Ollama tag that is known.{_did_you_mean(meant.closest(name))}")
    try:
        return remote.load(name, token=token, offline=offline, endpoint=endpoint, trusts_disk=allow_local)
    except (ModelNotFound, HubUnreachable) as error:
        may_exist = isinstance(error, HubUnreachable)
        spec = (meant.guess_copy(name) if may_exist else None) or meant.guess_published(name)
        if spec is not None:
            return spec
        raise type(error)(f"{error}{_did_you_mean(meant.closest(name))}") from None


def config_json(name: str, *, token: str | None = None, offline: bool = False) -> dict[str, object]:
    """The whole config.json of a model on this machine or the Hub, of which the catalogue keeps what it reads.

    Raises: ModelNotFound, ModelGated, HubUnreachable, HubRateLimited, ConfigInvalid.
    """
    if local.names_a_path(name) or local.exists(name):
        return local.config_json(name)
    return remote.config_json(name, token=token, offline=offline)


def _did_you_mean(names: Sequence[str]) -> str:
    """The nearest names as a question; empty where none is near."""
    *others, last = names or ("",)
    if not last:
        return ""
    return f" Did you mean {', '.join(others)} or {last}?" if others else f" Did you mean {last}?"


def search(query: str, *, token: str | None = None, endpoint: str | None = None, limit: int = 20,
           timeout_s: float = 5.0) -> tuple[HubHit, ...]:
    """Repositories the Hub finds for a query as it is typed, most downloaded first; none for no query.

    Raises: HubUnreachable or HubRateLimited within `timeout_s`; ModelGated when the token is refused.
    """
    if not query.strip():
        return ()
    return remote.search(query, token=token, endpoint=endpoint, limit=limit, timeout_s=timeout_s)
