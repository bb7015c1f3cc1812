"""A model of the Hugging Face Hub: its configuration and its headers, and the Hub's own search."""

import re
from dataclasses import dataclass, replace
from typing import Final

from core.basics.errors import HubError, HubUnreachable, ModelNotFound
from core.models import ModelSpec
from core.reading.checkpoints import described
from core.reading.checkpoints.tensors import merged
from core.reading.configs import architecture
from core.reading.gguf_models import read_gguf_model
from core.reading.hub.cache import Shelf
from core.reading.hub.client import Client, Deadline, Params, parsed
from core.reading.hub.files import gguf_files
from core.reading.hub.repository import Repository, opened

RESOLVE_S: Final = 25.0        # for all requests of one model together
_SEARCH_MAX_BYTES: Final = 4_000_000
# org/name, org/name:QUANT or org/name/file.gguf; huggingface_hub 1.33 validate_repo_id
_ID: Final = re.compile(
    r"((?:[\w.-]{1,96}/)?[\w.-]{1,96})(?::([\w.-]{1,60})|/(.{1,200}\.gguf))?", re.ASCII | re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class HubHit:
    """One repository found by the Hub's search."""

    name: str                 # Hub id
    downloads: int            # of the last 30 days
    likes: int
    gated: bool
    params: int | None        # elements in its safetensors files, as the Hub counts them
    library: str


def _endpoint(endpoint: str | None) -> str:
    """Where the Hub is: as given, else HF_ENDPOINT, else huggingface.co."""
    from huggingface_hub import constants

    return (endpoint or constants.ENDPOINT).rstrip("/")


def load(name: str, *, token: str | None, offline: bool, endpoint: str | None, trusts_disk: bool) -> ModelSpec:
    """The model of a Hub id, weights as its headers show them.

    Raises: ModelNotFound, ModelGated, HubUnreachable, HubRateLimited, ConfigInvalid,
    ArchitectureUnknown, CheckpointInvalid.
    """
    found = _ID.fullmatch(name.strip())
    if found is None or ".." in found[1] or "--" in found[1]:
        raise ModelNotFound(
            f"'{name[:80]}' is not a Hugging Face model id. Write it as organisation/name, or pick one from the "
            "catalogue."
        )
    base = _endpoint(endpoint)
    client = None if offline else Client(base, token or None, Deadline(RESOLVE_S))
    repository = opened(found[1], client, Shelf.of(base, found[1]), trusts_disk=trusts_disk)
    wanted = found[2] or found[3] or ""
    if wanted or "config.json" not in repository.files:
        return _gguf(repository, name, wanted)
    return _transformers(repository, name)


def config_json(name: str, *, token: str | None, offline: bool) -> dict[str, object]:
    """config.json of a Hub id, as it was read last where `offline`. Raises: as `load`."""
    base = _endpoint(None)
    client = None if offline else Client(base, token or None, Deadline(RESOLVE_S))
    repository = opened(name, client, Shelf.of(base, name), trusts_disk=True)
    if "config.json" not in repository.files:
        raise ModelNotFound(_no_model(repository))
    return repository.config("config.json")


def declared(name: str, *, token: str | None, endpoint: str | None) -> tuple[dict[str, object], ModelSpec]:
    """config.json of a Hub id as `main` has it, and the model it describes. Raises: as `load`."""
    base = _endpoint(endpoint)
    repository = opened(name, Client(base, token, Deadline(RESOLVE_S)), Shelf.of(base, name), trusts_disk=True)
    if "config.json" not in repository.files:
        raise ModelNotFound(_no_model(repository))
    return repository.config("config.json"), _transformers(repository, name)


def _transformers(repository: Repository, name: str) -> ModelSpec:
    config = repository.config("config.json")
    quant_config = repository.config("hf_quant_config.json") if "hf_quant_config.json" in repository.files else None
    spec = architecture(config, name=name)
    spec = replace(spec, source=f"Hugging Face Hub, {repository.name}, commit {repository.sha[:12]}")
    try:
        headers = repository.safetensors()
    except HubError as error:
        note = f"Weights are computed, not read: {error}"
        return described(replace(spec, notes=(*spec.notes, note)), config, quant_config, ())
    return described(spec, config, quant_config, headers)


def _gguf(repository: Repository, name: str, wanted: str) -> ModelSpec:
    parts = gguf_files(repository.files, wanted)
    if not parts:
        raise ModelNotFound(_no_model(repository))
    headers = [repository.gguf(part) for part in parts]
    spec = read_gguf_model(headers[0], merged(header.tensors for header in headers), name)
    return replace(spec, source=f"Hugging Face Hub, {repository.name}, commit {repository.sha[:12]}")


def _no_model(repository: Repository) -> str:
    if "adapter_config.json" in repository.files:
        return f"'{repository.name}' is an adapter, not a model. Plan the base model it adapts."
    return f"'{repository.name}' has neither config.json nor a GGUF file. Pick a repository with a language model."


def search(query: str, *, token: str | None, endpoint: str | None, limit: int, timeout_s: float) -> tuple[HubHit, ...]:
    """Text-generation repositories the Hub finds, most downloaded first; rows it garbles are left out.

    Raises: HubUnreachable, HubRateLimited, ModelGated (a refused token).
    """
    client = Client(_endpoint(endpoint), token or None, Deadline(timeout_s))
    return _hits(client, {"search": query.strip()[:200]}, limit)


def popular(*, token: str | None, endpoint: str | None, limit: int) -> tuple[HubHit, ...]:
    """The text-generation repositories that are downloaded most. Raises: as `search`."""
    client = Client(_endpoint(endpoint), token, Deadline(RESOLVE_S))
    return _hits(client, {"pipeline_tag": "text-generation"}, limit)


def _hits(client: Client, wanted: Params, limit: int) -> tuple[HubHit, ...]:
    params: Params = {**wanted, "sort": "downloads", "limit": limit,
                      "expand": ["downloads", "likes", "gated", "library_name", "safetensors", "pipeline_tag"]}
    answer = parsed(client.get("/api/models", subject="the search", max_bytes=_SEARCH_MAX_BYTES, params=params).body)
    if not isinstance(answer, list):
        raise HubUnreachable("The Hub's answer was not understood. Try again; the bundled catalogue works without it.")
    hits = (_hit(item) for item in answer[:limit] if isinstance(item, dict))
    return tuple(hit for hit in hits if hit is not None)


def _hit(item: dict[str, object]) -> HubHit | None:
    name, stored = item.get("id"), item.get("safetensors")
    if not isinstance(name, str) or not _ID.fullmatch(name):
        return None
    total = stored.get("total") if isinstance(stored, dict) else None
    return HubHit(
        name=name,
        downloads=_count(item.get("downloads")) or 0,
        likes=_count(item.get("likes")) or 0,
        gated=bool(item.get("gated")),
        params=_count(total),
        library=str(item.get("library_name") or "")[:40],
    )


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
