"""Answers of the Hub kept on disk, by endpoint, repository, revision and file; never a token.

A revision is a commit, so what is kept under it never goes stale; only which commit `main` is does.
"""

import contextlib
import hashlib
import os
import stat
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from core.basics.settings import data_folder

MAIN_IS_FRESH_S: Final = 600.0   # for so long `main` is taken to be the commit it was
MAX_BYTES: Final = 256_000_000   # of everything kept: about 60 of the largest configs, or 1,000 usual models
_sweep: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Shelf:
    """What is kept of one repository."""

    folder: Path

    @classmethod
    def of(cls, endpoint: str, repo: str) -> "Shelf":
        """The shelf of a repository of an endpoint."""
        place = hashlib.sha256(endpoint.encode()).hexdigest()[:12]
        return cls(data_folder() / "hub" / place / quote(repo.replace("/", "--"), safe=""))

    def _path(self, *parts: str) -> Path:
        return self.folder.joinpath(*(quote(part, safe="") + "_" for part in parts))

    def read(self, *parts: str, max_age_s: float | None = None) -> bytes | None:
        """What was kept, or None; also None when older than `max_age_s`."""
        path = self._path(*parts)
        try:
            if max_age_s is not None and time.time() - path.stat().st_mtime > max_age_s:
                return None
            return path.read_bytes()
        except OSError:
            return None

    def keep(self, body: bytes, *parts: str) -> None:
        """Keeps a body, whole or not at all; a disk that cannot be written is no error."""
        path = self._path(*parts)
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=path.parent)
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(body)
                Path(name).replace(path)
            except OSError:
                Path(name).unlink(missing_ok=True)
                raise
            make_room(data_folder() / "hub")


def make_room(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Removes the files written longest ago until a quarter is free, once there are more than `max_bytes`.

    What is removed is asked of the Hub again. One sweep at a time; a file that another process removed is no error.
    """
    if not _sweep.acquire(blocking=False):
        return
    try:
        kept = sorted(_sizes(folder))
        taken = sum(size for _, size, _ in kept)
        if taken <= max_bytes:
            return
        for _, size, path in kept:
            if taken <= 0.75 * max_bytes:
                return
            path.unlink(missing_ok=True)
            taken -= size
    finally:
        _sweep.release()


def _sizes(folder: Path) -> Iterator[tuple[float, int, Path]]:
    """When each file was written [s since the epoch], its size [B], its path."""
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            told = path.stat()
            if stat.S_ISREG(told.st_mode):
                yield told.st_mtime, told.st_size, path
