"""A repository of the Hub at one commit: its files, read at most once and kept on disk."""

import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

from core.basics.errors import CheckpointInvalid, ConfigInvalid, HubError, HubUnreachable, ModelError
from core.reading.checkpoints.gguf import Gguf
from core.reading.checkpoints.gguf import read_header as read_gguf
from core.reading.checkpoints.safetensors import LENGTH_BYTES, header_bytes, read_header, read_headers
from core.reading.checkpoints.tensors import Tensors, merged
from core.reading.hub.cache import MAIN_IS_FRESH_S, Shelf
from core.reading.hub.client import Client, OversizeReply, parsed
from core.reading.hub.files import CONFIG_MAX_BYTES, json_object, safetensors_files

INDEX: Final = "model.safetensors.index.json"
_INFO_MAX_BYTES: Final = 8_000_000      # a list of 20,000 file names is about 2 MB
_SHARDS_MAX_BYTES: Final = 16_000_000   # every header in one answer; larger repositories are read file by file
_INDEX_MAX_BYTES: Final = 64_000_000    # 497,220 names of moonshotai/Kimi-K3 are about 55 MB
_FIRST_READ: Final = 100_000            # holds the header of most shards; huggingface_hub reads as much
_WORKERS: Final = 8
_SHA: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Repository:
    """One commit. `client` is None offline: then only what was kept can be read."""

    name: str
    sha: str
    files: tuple[str, ...]
    restricted: bool            # gated or private
    client: Client | None
    shelf: Shelf

    def config(self, file: str) -> dict[str, object]:
        """A JSON file of at most CONFIG_MAX_BYTES. Raises: ConfigInvalid when it is larger or no JSON object."""
        kept = self.shelf.read(self.sha, file)
        if kept is None:
            try:
                path, subject = self._path(file), self._subject(file)
                kept = self._online().get(path, subject=subject, max_bytes=CONFIG_MAX_BYTES).body
            except OversizeReply as error:
                raise ConfigInvalid(f"{error} No model configuration is so large.") from None
            json_object(kept, self._subject(file))
            self.shelf.keep(kept, self.sha, file)
        return json_object(kept, self._subject(file))

    def safetensors(self) -> tuple[Tensors, ...]:
        """Rows of all weights, empty when the repository has no safetensors. Reads headers only."""
        files = safetensors_files(self.files)
        if not files and INDEX in self.files:
            files = self._indexed()
        rows = {file: kept for file in files if (kept := self._kept(file)) is not None}
        if len(files) - len(rows) > 1 and INDEX in self.files:
            rows = self._read_at_once() | rows
        missing = [file for file in files if file not in rows]
        if missing:
            with ThreadPoolExecutor(_WORKERS) as pool:
                rows |= dict(zip(missing, pool.map(self._read_header, missing), strict=True))
        return merged(rows[file] for file in files)

    def gguf(self, file: str) -> Gguf:
        """Metadata and tensors of a GGUF file. Reads the header only."""
        kept = self.shelf.read(self.sha, f"{file}.header")
        if kept is not None:
            return _gguf_from(kept)
        client, path, subject = self._online(), self._path(file), self._subject(file)
        file_bytes = client.get_range(path, 0, 1, subject=subject).file_bytes

        def read_at(offset: int, length: int) -> bytes:
            return client.get_range(path, offset, length, subject=subject).body

        header = read_gguf(read_at, subject, file_bytes)
        self.shelf.keep(_gguf_bytes(header), self.sha, f"{file}.header")
        return header

    def check_access(self) -> None:
        """Asks for one byte of a file: of a gated repository anyone may see the list, few the files."""
        file = next((name for name in ("config.json", *self.files) if name in self.files), None)
        if file is not None:
            self._online().get_range(self._path(file), 0, 1, subject=f"'{self.name}'")

    def _online(self) -> Client:
        if self.client is None:
            raise HubUnreachable(f"'{self.name}' has not been read whole before and the Hub is not asked offline;"
                                 " the bundled catalogue works without it.")
        return self.client

    def _path(self, file: str) -> str:
        return f"/{self.name}/resolve/{self.sha}/{quote(file)}"

    def _subject(self, file: str) -> str:
        return f"'{self.name}' ({file})"

    def _kept(self, file: str) -> tuple[Tensors, ...] | None:
        body = self.shelf.read(self.sha, f"{file}.header")
        return None if body is None else _rows_from(body)

    def _keep(self, file: str, rows: Sequence[Tensors]) -> None:
        self.shelf.keep(json.dumps(rows).encode(), self.sha, f"{file}.header")

    def _read_at_once(self) -> dict[str, tuple[Tensors, ...]]:
        """Every shard's header in one answer; none from a Hub without it, or where it is too much."""
        path = f"/api/models/{self.name}/safetensors-metadata/{INDEX}"
        try:
            body = self._online().get(path, subject=f"'{self.name}'", max_bytes=_SHARDS_MAX_BYTES).body
            shards = read_headers(body, f"'{self.name}'")
        except (OversizeReply, ModelError, HubUnreachable):
            return {}
        for file, rows in shards.items():
            self._keep(file, rows)
        return dict(shards)

    def _read_header(self, file: str) -> tuple[Tensors, ...]:
        client, path, subject = self._online(), self._path(file), self._subject(file)
        first = client.get_range(path, 0, _FIRST_READ, subject=subject)
        length = header_bytes(first.body, subject, first.file_bytes)
        header = first.body[LENGTH_BYTES : LENGTH_BYTES + length]
        if len(header) < length:
            header += client.get_range(path, LENGTH_BYTES + len(header), length - len(header), subject=subject).body
        if len(header) < length:
            raise CheckpointInvalid(f"{subject} ends inside its header; the upload is damaged.")
        data_bytes = None if first.file_bytes is None else first.file_bytes - LENGTH_BYTES - length
        rows = read_header(header, subject, data_bytes)
        self._keep(file, rows)
        return rows

    def _indexed(self) -> tuple[str, ...]:
        """Shards under unusual names, as the index lists them."""
        body = self._online().get(self._path(INDEX), subject=self._subject(INDEX), max_bytes=_INDEX_MAX_BYTES).body
        weight_map = json_object(body, self._subject(INDEX)).get("weight_map")
        named = weight_map.values() if isinstance(weight_map, dict) else ()
        return tuple(sorted({file for file in named if isinstance(file, str)} & set(self.files)))


def opened(name: str, client: Client | None, shelf: Shelf, *, trusts_disk: bool) -> Repository:
    """The repository at the commit `main` points to, asked again after MAIN_IS_FRESH_S.

    What was kept answers when the Hub does not. Kept facts of a gated or private repository are shown
    only after the Hub has let this token in, or on a machine of one's own (`trusts_disk`).
    Raises: ModelNotFound, ModelGated, HubUnreachable, HubRateLimited.
    """
    fresh = _remembered(name, client, shelf, MAIN_IS_FRESH_S)
    if fresh is not None and not fresh.restricted:
        return fresh
    stale = _remembered(name, None, shelf, None)
    usable = stale is not None and (trusts_disk or not stale.restricted)
    if client is None:
        if stale is not None and usable:
            return stale
        raise HubUnreachable(
            f"'{name}' is not in the catalogue and the Hub is not asked offline; pick a bundled model."
        )
    try:
        found = _asked(name, client, shelf)
        if found.restricted:
            found.check_access()
    except HubError:
        if stale is not None and usable:
            return stale
        raise
    return found


def _asked(name: str, client: Client, shelf: Shelf) -> Repository:
    params = {"expand": ["sha", "siblings", "gated", "private"]}
    reply = client.get(f"/api/models/{name}", subject=f"'{name}'", max_bytes=_INFO_MAX_BYTES, params=params)
    answer = parsed(reply.body)
    info = answer if isinstance(answer, dict) else {}
    sha, siblings = info.get("sha"), info.get("siblings")
    if not isinstance(sha, str) or not _SHA.fullmatch(sha) or not isinstance(siblings, list):
        raise HubUnreachable("The Hub's answer was not understood. Try again; the bundled catalogue works without it.")
    files = [item["rfilename"] for item in siblings
             if isinstance(item, dict) and isinstance(item.get("rfilename"), str)]
    restricted = bool(info.get("gated")) or bool(info.get("private"))
    shelf.keep(json.dumps({"sha": sha, "files": files, "restricted": restricted}).encode(), "main")
    return Repository(name, sha, tuple(files), restricted, client, shelf)


def _remembered(name: str, client: Client | None, shelf: Shelf, max_age_s: float | None) -> Repository | None:
    kept = shelf.read("main", max_age_s=max_age_s)
    if kept is None:
        return None
    try:
        ref = json.loads(kept)
        return Repository(name, ref["sha"], tuple(ref["files"]), ref["restricted"], client, shelf)
    except (ValueError, KeyError, TypeError):
        return None


def _rows_from(body: bytes) -> tuple[Tensors, ...] | None:
    try:
        return tuple(Tensors(row[0], row[1], tuple(row[2]), *row[3:]) for row in json.loads(body))
    except (ValueError, TypeError, IndexError):
        return None


def _gguf_bytes(header: Gguf) -> bytes:
    return json.dumps([header.metadata, header.lengths, header.tensors]).encode()


def _gguf_from(body: bytes) -> Gguf:
    metadata, lengths, tensors = json.loads(body)
    rows = tuple(Tensors(row[0], row[1], tuple(row[2]), *row[3:]) for row in tensors)
    plain = {key: tuple(value) if isinstance(value, list) else value for key, value in metadata.items()}
    return Gguf(plain, lengths, rows)
