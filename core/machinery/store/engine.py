"""A database that survives what happens to files: SQLite in WAL mode by default, PostgreSQL by its URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from core.basics.errors import StoreError
from core.basics.settings import data_folder, setting

BUSY_TIMEOUT_S: Final = 5           # a second writer waits this long before it is told to try again
CONNECT_TIMEOUT_S: Final = 3        # libpq's parameter: whole seconds, at least 2
FILE: Final = "sweetspot.sqlite3"

# A driver's message -> the sentence a person reads. Checked against sqlite3 3.40 and psycopg 3 messages.
_CAUSES: Final = (
    ("disk is full", "The disk is full: nothing was saved. Free some space and save again."),
    ("no space left", "The disk is full: nothing was saved. Free some space and save again."),
    ("readonly", "The data file is read-only: nothing was saved. Make it writable, or set SWEETSPOT_DATA."),
    ("read-only", "The database is read-only: nothing was saved. Ask the administrator for write access."),
    ("unable to open", "The data folder cannot be written: set SWEETSPOT_DATA to a folder that can."),
    ("not a database", "The data file is damaged or no database: move it away and start again, or restore a copy."),
    ("malformed", "The data file is damaged: move it away and start again, or restore a copy."),
    ("locked", "Somebody else is saving right now: nothing was saved. Try again in a moment."),
)


def database_url() -> str:
    """SWEETSPOT_DATABASE, else a SQLite file in the data folder, which is made if it can be."""
    if url := setting("database"):
        return url
    folder = data_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        raise StoreError("The data folder cannot be made: set SWEETSPOT_DATA to a folder that can.") from None
    return f"sqlite:///{folder / FILE}"


def open_engine(url: str) -> Engine:
    """An engine for `url`. Raises StoreError when the URL or its driver is no good; the URL is not repeated."""
    try:
        parsed = make_url(url)
        engine = create_engine(parsed, pool_pre_ping=True)
    except (ArgumentError, NoSuchModuleError, ImportError, ValueError):
        raise StoreError(
            "The database setting cannot be used: check its address and that its driver is installed."
        ) from None
    prepare(engine)
    return engine


def prepare(engine: Engine) -> None:
    """Write-ahead log and waiting writers on SQLite; on PostgreSQL a bound on how long a server may not answer.

    WAL keeps readers going during a write, and a write killed half-way is rolled back when the file
    is opened next (sqlite.org/wal.html).
    """
    if engine.dialect.name == "sqlite" and not event.contains(engine, "connect", _sqlite_pragmas):
        event.listen(engine, "connect", _sqlite_pragmas)
    if engine.dialect.name == "postgresql" and not event.contains(engine, "do_connect", _connect_in_time):
        event.listen(engine, "do_connect", _connect_in_time)


def _connect_in_time(_dialect: object, _record: object, _args: object, parameters: dict[str, Any]) -> None:
    parameters.setdefault("connect_timeout", CONNECT_TIMEOUT_S)


def _sqlite_pragmas(connection: Any, _record: object) -> None:
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
    cursor.execute("PRAGMA journal_mode = WAL")
    cursor.execute("PRAGMA synchronous = NORMAL")
    cursor.close()


@contextmanager
def transaction(engine: Engine) -> Iterator[Connection]:
    """All or nothing. Database errors become one sentence without address or password."""
    try:
        with engine.begin() as connection:
            yield connection
    except SQLAlchemyError as error:
        raise StoreError(_sentence(error)) from None


def database_bytes(connection: Connection) -> int:
    """Size of the whole database [B]: SQLite's pages, PostgreSQL's own count."""
    if connection.dialect.name == "sqlite":
        pages, page_bytes = (connection.execute(text(f"PRAGMA {name}")).scalar_one()
                             for name in ("page_count", "page_size"))
        return int(pages) * int(page_bytes)
    return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _sentence(error: SQLAlchemyError) -> str:
    cause = str(error.orig if isinstance(error, DBAPIError) else error).lower()
    for sign, sentence in _CAUSES:
        if sign in cause:
            return sentence
    return "The database did not answer: nothing was saved. Planning goes on; try to save again later."
