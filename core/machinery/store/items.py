"""Save, list, rename, delete and bring back; nothing is lost between two tabs or half-written."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import Engine, RowMapping, func, select

from core.basics.errors import InputError, StoreError
from core.basics.fields import check, json_value
from core.machinery.store.engine import database_bytes, prepare, transaction
from core.machinery.store.schema import items, migrate

MAX_BODY_BYTES: Final = 1_000_000
MAX_NAME: Final = 200
MAX_ITEMS: Final = 2_000            # of one space, deleted ones included: with the next line it bounds what a
MAX_SPACE_BYTES: Final = 20_000_000  # visitor can fill a public host with
MAX_DATABASE_BYTES: Final = 2_000_000_000   # of all spaces together: a visitor may have any number of cookies
EXPORT_VERSION: Final = 1


class Kind(StrEnum):
    """What can be kept."""

    PLAN = "plan"
    MEASUREMENT = "measurement"     # a probe of a GPU
    QUALITY = "quality"             # what formats cost on somebody's prompts
    GPU = "gpu"
    MODEL = "model"


@dataclass(frozen=True, slots=True)
class Saved:
    """One thing kept."""

    id: str
    kind: Kind
    name: str
    body: Mapping[str, Any]
    revision: int
    created_s: float
    updated_s: float
    broken: bool = False            # the body in the database cannot be read; `body` is then empty


class Store:
    """What one space (a visitor's, or everyone's on a local machine) keeps in a database."""

    def __init__(self, engine: Engine, space: str = "local") -> None:
        """Raises StoreError when the database cannot be used or is of a newer version."""
        prepare(engine)
        migrate(engine)
        self._engine = engine
        self._space = space

    def save(self, kind: Kind, name: str, body: Mapping[str, Any]) -> Saved:
        """Keeps something new. Raises InputError for a bad name or body, StoreError when it cannot be written."""
        return self._insert([(kind, name, body)])[0]

    def all(self, kind: Kind) -> tuple[Saved, ...]:
        """Everything of a kind that is not deleted, newest first."""
        mine = (items.c.space == self._space) & (items.c.kind == kind.value) & items.c.deleted_s.is_(None)
        with transaction(self._engine) as connection:
            rows = connection.execute(select(items).where(mine).order_by(items.c.updated_s.desc())).mappings().all()
        return tuple(_saved(row) for row in rows)

    def get(self, item_id: str) -> Saved:
        """One thing. Raises StoreError when it does not exist or is deleted."""
        query = select(items).where(items.c.space == self._space, items.c.id == item_id, items.c.deleted_s.is_(None))
        with transaction(self._engine) as connection:
            row = connection.execute(query).mappings().first()
        if row is None:
            raise StoreError("This is no longer kept: it was deleted, or the link is of another visitor.")
        return _saved(row)

    def rename(self, item: Saved, name: str) -> Saved:
        """Gives it another name. Raises StoreError when another tab changed it meanwhile."""
        return self._write(item, {"name": _name(name)})

    def replace(self, item: Saved, body: Mapping[str, Any]) -> Saved:
        """Writes a new body. Raises StoreError when another tab changed it meanwhile."""
        return self._write(item, {"body": _encoded(body)})

    def delete(self, item: Saved) -> None:
        """Hides it; `restore` brings it back until `purge`."""
        self._write(item, {"deleted_s": time.time()})

    def restore(self, item_id: str) -> Saved:
        """Brings back what was deleted. Raises StoreError when it is gone for good."""
        with transaction(self._engine) as connection:
            connection.execute(
                items.update().where(items.c.space == self._space, items.c.id == item_id).values(deleted_s=None)
            )
        return self.get(item_id)

    def purge(self, older_than_s: float) -> int:
        """Removes for good what was deleted longer ago; returns how many."""
        gone = items.delete().where(items.c.space == self._space, items.c.deleted_s < time.time() - older_than_s)
        with transaction(self._engine) as connection:
            return int(connection.execute(gone).rowcount)

    def export(self) -> str:
        """Everything kept, as JSON text that `load` reads."""
        kept = [
            {"kind": item.kind.value, "name": item.name, "body": item.body}
            for kind in Kind
            for item in self.all(kind)
            if not item.broken
        ]
        return json.dumps({"sweetspot_export": EXPORT_VERSION, "items": kept}, indent=2)

    def load(self, text: str) -> int:
        """Adds everything of an export; all or nothing. Raises InputError naming what is wrong."""
        return len(self._insert([_entry(entry) for entry in _export_items(text)]))

    def _insert(self, entries: Sequence[tuple[Kind, str, Mapping[str, Any]]]) -> list[Saved]:
        """Keeps all of them or none."""
        now = time.time()
        rows = [
            {
                "id": uuid4().hex, "space": self._space, "kind": kind.value, "name": _name(name),
                "body": _encoded(body), "revision": 1, "created_s": now, "updated_s": now, "deleted_s": None,
            }
            for kind, name, body in entries
        ]
        lengths = func.coalesce(func.sum(func.length(items.c.body)), 0)
        taken = select(func.count(), lengths).select_from(items).where(items.c.space == self._space)
        size = sum(len(str(row["body"])) for row in rows)
        with transaction(self._engine) as connection:
            if database_bytes(connection) + size > MAX_DATABASE_BYTES:
                raise StoreError("The server's storage is full: nothing was saved. Tell its administrator.")
            count, bytes_taken = connection.execute(taken).one()
            if count + len(rows) > MAX_ITEMS or bytes_taken + size > MAX_SPACE_BYTES:
                raise StoreError(
                    f"Nothing more can be kept: {MAX_ITEMS:,} things and {MAX_SPACE_BYTES / 1e6:.0f} MB is the most. "
                    "What is deleted makes room after 30 days."
                )
            if rows:
                connection.execute(items.insert(), rows)
        return [_saved(row) for row in rows]

    def _write(self, item: Saved, values: Mapping[str, Any]) -> Saved:
        """Writes only if nobody wrote since `item` was read."""
        changed = {**values, "revision": item.revision + 1, "updated_s": time.time()}
        same = (items.c.space == self._space) & (items.c.id == item.id) & (items.c.revision == item.revision)
        with transaction(self._engine) as connection:
            if connection.execute(items.update().where(same).values(changed)).rowcount != 1:
                raise StoreError(
                    f"'{item.name}' was changed in another tab: nothing was overwritten. Reload and try again."
                )
            row = connection.execute(select(items).where(items.c.id == item.id)).mappings().one()
        return _saved(row)


def _name(name: str) -> str:
    clean = " ".join(name.split())
    try:
        check(clean)
    except ValueError:
        raise InputError("This name holds characters that cannot be written: type it again.") from None
    if not clean or len(clean) > MAX_NAME:
        raise InputError(f"A name has 1 to {MAX_NAME} characters; this one has {len(clean)}.")
    return clean


def _encoded(body: Mapping[str, Any]) -> str:
    try:
        check(body)
        encoded = json.dumps(body, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError) as error:
        why = error if "nested" in str(error) else "it holds something that is neither text nor a number"
        raise InputError(f"This cannot be kept: {why}.") from None
    if len(encoded.encode()) > MAX_BODY_BYTES:
        raise InputError(f"This is too large to keep: at most {MAX_BODY_BYTES:,} bytes.")
    return encoded


def _saved(row: RowMapping | Mapping[str, Any]) -> Saved:
    body = _decoded(row["body"])
    return Saved(
        id=row["id"], kind=Kind(row["kind"]), name=row["name"], body=body or {}, revision=row["revision"],
        created_s=row["created_s"], updated_s=row["updated_s"], broken=body is None,
    )


def _decoded(text: str) -> Mapping[str, Any] | None:
    """A body as it was kept; None for one that another program wrote, or an older version let in."""
    try:
        body = json_value(text)
    except ValueError:
        return None
    return body if isinstance(body, dict) else None


def _export_items(text: str) -> list[Any]:
    try:
        data = json_value(text)
    except ValueError as error:
        why = "it is not JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise InputError(f"This file is no Sweetspot export: {why}.") from None
    known = isinstance(data, dict) and data.get("sweetspot_export") == EXPORT_VERSION
    if not known or not isinstance(data.get("items"), list):
        raise InputError("This file is no Sweetspot export of this version: export it again from the Saved page.")
    if len(data["items"]) > MAX_ITEMS:
        raise InputError(f"This export holds more than {MAX_ITEMS:,} things: split it.")
    return list(data["items"])


def _entry(entry: object) -> tuple[Kind, str, Mapping[str, Any]]:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str) or not isinstance(entry.get("body"), dict):
        raise InputError("This export holds an entry without a name or a body: export it again from the Saved page.")
    try:
        return Kind(str(entry.get("kind"))), entry["name"], entry["body"]
    except ValueError:
        raise InputError("This export holds an entry of an unknown kind: it may be of a newer version.") from None
