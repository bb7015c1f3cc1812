"""A throw-away PostgreSQL for the tests of the store: its own folder, a Unix socket, no port."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa

# As installed on the path, else where Debian puts them.
_FOLDERS = (Path(shutil.which("initdb") or "/").resolve().parent, *sorted(Path("/usr/lib/postgresql").glob("*/bin")))
BINARIES = next((folder for folder in reversed(_FOLDERS) if (folder / "initdb").is_file()), None)


def _owner() -> str | None:
    """PostgreSQL refuses to run as root: the user of its package then, or nobody."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in known else "nobody"


@contextmanager
def cluster() -> Iterator[str]:
    """The URL of an empty cluster's `postgres` database; it is gone afterwards."""
    assert BINARIES is not None, "PostgreSQL is not installed"
    owner = _owner()
    folder = Path(tempfile.mkdtemp(prefix="sweetspot-pg-"))
    if owner:
        shutil.chown(folder, owner)
    data = folder / "data"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": folder, "user": owner}
    try:
        subprocess.run(
            [BINARIES / "initdb", "-D", data, "-U", "sweetspot", "--auth=trust", "--no-sync", "-E", "UTF8"],
            check=True, **quiet,
        )
        options = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        control = [BINARIES / "pg_ctl", "-D", data, "-w", "-t", "30"]
        subprocess.run([*control, "-o", options, "start"], check=True, **quiet)
        try:
            yield f"postgresql+psycopg://sweetspot@/postgres?host={folder}"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], check=True, **quiet)
    finally:
        shutil.rmtree(folder)


def empty_database(cluster_url: str, name: str) -> str:
    """The URL of a new database in the cluster."""
    engine = sa.create_engine(cluster_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name}")
    engine.dispose()
    return sa.make_url(cluster_url).set(database=name).render_as_string(hide_password=False)
