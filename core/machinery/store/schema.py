"""Tables and how they came to be: one migration a version, run in order, each in one transaction."""

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa
from sqlalchemy import Column, Connection, Engine, MetaData, Table
from sqlalchemy.schema import CreateIndex, CreateTable, Index

from core.basics.errors import StoreError
from core.machinery.store.engine import transaction

metadata = MetaData()
version_table = Table("sweetspot_schema", metadata, Column("version", sa.BigInteger, nullable=False))
items = Table(
    "sweetspot_items",
    metadata,
    Column("id", sa.String(32), primary_key=True),
    Column("space", sa.String(64), nullable=False),        # whose it is: visitors of a public host see only their own
    Column("kind", sa.String(16), nullable=False),
    Column("name", sa.String(200), nullable=False),
    Column("body", sa.Text, nullable=False),               # JSON
    Column("revision", sa.BigInteger, nullable=False),     # grows by one with every write
    Column("created_s", sa.Float, nullable=False),         # seconds since the epoch
    Column("updated_s", sa.Float, nullable=False),
    Column("deleted_s", sa.Float),                         # NULL: not deleted
)
_by_space: Final = Index("sweetspot_items_by_space", items.c.space, items.c.kind)


def _first(connection: Connection) -> None:
    connection.execute(CreateTable(items))
    connection.execute(CreateIndex(_by_space))


MIGRATIONS: Final[tuple[Callable[[Connection], None], ...]] = (_first,)


def migrate(engine: Engine) -> None:
    """Brings the database to this version's schema.

    Raises StoreError when it was written by a newer version, which is left untouched.
    """
    with transaction(engine) as connection:
        if _is_current(connection):         # nothing to write: a read-only database can still be read
            return
    with transaction(engine) as connection:
        if connection.dialect.name == "sqlite":
            connection.execute(sa.text("BEGIN IMMEDIATE"))      # two servers starting at once take turns
        current = _version(connection)
        if current > len(MIGRATIONS):
            raise StoreError(
                f"The saved data is of schema {current}, this version knows {len(MIGRATIONS)}: update Sweetspot. "
                "Nothing was changed."
            )
        for migration in MIGRATIONS[current:]:
            migration(connection)
        connection.execute(version_table.update().values(version=len(MIGRATIONS)))


def _is_current(connection: Connection) -> bool:
    if not sa.inspect(connection).has_table(version_table.name):
        return False
    return connection.execute(sa.select(version_table.c.version)).scalar() == len(MIGRATIONS)


def _version(connection: Connection) -> int:
    """Schema version of the database; creates the version table in a new one."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(727001)"))
    if not sa.inspect(connection).has_table(version_table.name):
        connection.execute(CreateTable(version_table))
        connection.execute(version_table.insert().values(version=0))
    return int(connection.execute(sa.select(version_table.c.version)).scalar_one())
