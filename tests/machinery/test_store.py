"""What is kept stays whole: two tabs, a killed writer, a full disk, a read-only file, a newer schema.

Everything that is not about a file runs on SQLite and on a real PostgreSQL, where one is installed.
"""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from itertools import count

import pytest
import sqlalchemy as sa

from core.basics.errors import InputError, StoreError
from core.machinery.store import Kind, Store, database_url, open_engine, schema
from core.machinery.store.engine import transaction
from core.machinery.store.items import MAX_BODY_BYTES, MAX_SPACE_BYTES
from core.machinery.store.schema import items
from tests.postgresql import BINARIES, cluster, empty_database

PLAN = {"model": "meta-llama/Llama-3.1-8B", "gpu": "H100 SXM5 80GB", "concurrency": 16}


DATABASES = ["sqlite", *(["postgresql"] if BINARIES else [])]
_numbers = count()


@pytest.fixture(scope="module")
def postgresql():
    """One cluster for the tests of this module."""
    with cluster() as address:
        yield address


@pytest.fixture
def file_url(tmp_path, monkeypatch):
    """An empty SQLite file where the settings put it."""
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path / "kept"))
    return database_url()


@pytest.fixture(params=DATABASES)
def url(request):
    """An empty database of each kind."""
    if request.param == "sqlite":
        return request.getfixturevalue("file_url")
    return empty_database(request.getfixturevalue("postgresql"), f"kept_{next(_numbers)}")


@pytest.fixture
def opened():
    """Opens engines, and closes them after the test."""
    engines = []

    def open_one(url):
        engines.append(open_engine(url))
        return engines[-1]

    yield open_one
    for engine in engines:
        engine.dispose()


@pytest.fixture
def store(url, opened):
    return Store(opened(url))


def test_kept_through_a_restart(url, store, opened):
    saved = store.save(Kind.PLAN, "  my   plan ", PLAN)
    again = Store(opened(url)).get(saved.id)
    assert (again.name, again.body, again.kind) == ("my plan", PLAN, Kind.PLAN)


def test_write_ahead_log_is_on(file_url, opened, tmp_path):
    Store(opened(file_url))
    with sqlite3.connect(tmp_path / "kept" / "sweetspot.sqlite3") as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_delete_can_be_undone_until_purged(store):
    saved = store.save(Kind.PLAN, "plan", PLAN)
    store.delete(saved)
    assert store.all(Kind.PLAN) == ()
    back = store.restore(saved.id)
    assert back.body == PLAN
    store.delete(back)
    assert store.purge(older_than_s=3600) == 0
    assert store.purge(older_than_s=-1) == 1
    with pytest.raises(StoreError, match="no longer kept"):
        store.restore(saved.id)


def test_two_tabs_do_not_overwrite_each_other(store):
    seen_by_both = store.save(Kind.PLAN, "plan", PLAN)
    store.rename(seen_by_both, "first tab")
    with pytest.raises(StoreError, match="changed in another tab"):
        store.rename(seen_by_both, "second tab")
    assert [item.name for item in store.all(Kind.PLAN)] == ["first tab"]


def test_visitors_see_only_their_own(url, store, opened):
    saved = store.save(Kind.PLAN, "plan", PLAN)
    other = Store(opened(url), space="other")
    assert other.all(Kind.PLAN) == ()
    with pytest.raises(StoreError, match="no longer kept"):
        other.get(saved.id)


def test_writers_at_once_lose_nothing(url, store, opened):
    def write(name):
        mine = Store(opened(url))
        for i in range(25):
            mine.save(Kind.PLAN, f"{name}-{i}", PLAN)

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({item.name for item in store.all(Kind.PLAN)}) == 100


def test_a_killed_writer_leaves_whole_items_only(url, store, opened):
    """kill -9 in the middle of imports of three: their number stays a multiple of three."""
    code = (
        "from core.machinery.store import Store, open_engine\nimport json, sys\n"
        "store = Store(open_engine(sys.argv[1]))\n"
        "item = {'kind': 'plan', 'name': 'x', 'body': {'big': 'y' * 200_000}}\n"
        "text = json.dumps({'sweetspot_export': 1, 'items': [item] * 3})\n"
        "print('ready', flush=True)\n"
        "while True: store.load(text)\n"
    )
    for delay_s in (0.05, 0.11, 0.23):
        writer = subprocess.Popen([sys.executable, "-c", code, url], stdout=subprocess.PIPE, text=True)
        assert writer.stdout.readline() == "ready\n"
        time.sleep(delay_s)
        os.kill(writer.pid, signal.SIGKILL)
        writer.wait()
        kept = Store(opened(url)).all(Kind.PLAN)
        assert len(kept) % 3 == 0
        assert all(len(item.body["big"]) == 200_000 for item in kept)
    assert kept


def test_a_full_disk_says_so_and_keeps_what_was_there(file_url, opened):
    """SQLITE_FULL, as a full disk gives it, through a file that may not grow."""
    store = Store(opened(file_url))
    store.save(Kind.PLAN, "kept", PLAN)
    engine = open_engine(file_url)
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
        full = Store.__new__(Store)
        full._engine, full._space = engine, "local"
    with pytest.raises(StoreError, match="disk is full"):
        full.save(Kind.PLAN, "too big", {"x": "y" * 500_000})
    assert [item.name for item in store.all(Kind.PLAN)] == ["kept"]


def test_a_read_only_file_says_so_and_still_reads(file_url, opened, tmp_path):
    store = Store(opened(file_url))
    saved = store.save(Kind.PLAN, "kept", PLAN)
    path = tmp_path / "kept" / "sweetspot.sqlite3"
    engine = open_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    read_only = Store.__new__(Store)
    read_only._engine, read_only._space = engine, "local"
    assert read_only.get(saved.id).body == PLAN
    with pytest.raises(StoreError, match="read-only"):
        read_only.save(Kind.PLAN, "new", PLAN)


def test_a_newer_schema_is_left_alone(url, store, opened):
    store.save(Kind.PLAN, "kept", PLAN)
    engine = opened(url)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE sweetspot_schema SET version = 99")
    with pytest.raises(StoreError, match="update Sweetspot"):
        Store(opened(url))
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT version FROM sweetspot_schema").scalar_one() == 99
        assert connection.exec_driver_sql("SELECT count(*) FROM sweetspot_items").scalar_one() == 1


def wider(connection):
    """A migration of a version to come."""
    connection.exec_driver_sql("ALTER TABLE sweetspot_items ADD COLUMN colour VARCHAR(20)")


def broken(connection):
    wider(connection)
    connection.exec_driver_sql("ALTER TABLE no_such_table ADD COLUMN x INTEGER")


def version_of(engine):
    with engine.connect() as connection:
        return connection.exec_driver_sql("SELECT version FROM sweetspot_schema").scalar_one()


def test_an_older_schema_is_brought_up_with_its_data(url, store, opened, monkeypatch):
    saved = store.save(Kind.PLAN, "kept", PLAN)
    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, wider))
    engine = opened(url)
    assert Store(engine).get(saved.id).body == PLAN
    assert version_of(engine) == len(schema.MIGRATIONS)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT colour FROM sweetspot_items").scalar_one() is None


def test_a_migration_that_fails_half_way_changes_nothing(url, store, opened, monkeypatch):
    saved = store.save(Kind.PLAN, "kept", PLAN)
    before = len(schema.MIGRATIONS)
    engine = opened(url)
    with monkeypatch.context() as patch:
        patch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, broken))
        with pytest.raises(StoreError):
            Store(engine)
    assert version_of(engine) == before
    assert "colour" not in {column["name"] for column in sa.inspect(engine).get_columns("sweetspot_items")}
    assert Store(engine).get(saved.id).body == PLAN


def test_two_servers_starting_at_once_make_one_schema(url, opened):
    """Both find an empty database; one makes the tables, the other waits and finds them made."""
    failed = []

    def start():
        try:
            Store(opened(url)).save(Kind.PLAN, "plan", PLAN)
        except StoreError as error:
            failed.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert len(Store(opened(url)).all(Kind.PLAN)) == 4


def test_a_damaged_file_says_so(file_url, tmp_path):
    (tmp_path / "kept" / "sweetspot.sqlite3").write_bytes(b"this is no database" * 500)
    with pytest.raises(StoreError, match="damaged"):
        Store(open_engine(file_url))


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path / "file" / "below"))
    with pytest.raises(StoreError, match="SWEETSPOT_DATA"):
        database_url()


@pytest.mark.parametrize("url", ["no-such-database://user:secret@host/x", "not a url", "postgresql+nodriver://a:secret@b/c"])
def test_a_bad_address_is_not_repeated(url):
    with pytest.raises(StoreError) as error:
        open_engine(url)
    assert "secret" not in str(error.value)


def test_export_comes_back_whole(url, store, opened):
    store.save(Kind.PLAN, "=cmd()", PLAN)
    store.save(Kind.GPU, "my card", {"memory_gib": 24})
    other = Store(opened(url), space="other")
    assert other.load(store.export()) == 2
    assert other.all(Kind.GPU)[0].body == {"memory_gib": 24}


@pytest.mark.parametrize("text", [
    "", "[]", "{}", "[" * 100_000, '{"sweetspot_export": 1, "items": [' + "[" * 64 + "]" * 64 + "]}",
    json.dumps({"sweetspot_export": 1, "items": [{"kind": "gpu", "name": "\ud800x", "body": {}}]}),
    json.dumps({"sweetspot_export": 1, "items": [{"kind": "gpu", "name": "a\0b", "body": {}}]}),
    '{"sweetspot_export": 2, "items": []}', '{"sweetspot_export": 1, "items": [3]}',
    '{"sweetspot_export": 1, "items": [{"kind": "virus", "name": "x", "body": {}}]}',
    json.dumps({"sweetspot_export": 1, "items": [
        {"kind": "plan", "name": "good", "body": {}}, {"kind": "plan", "name": "", "body": {}},
    ]}),
])
def test_a_bad_import_changes_nothing(store, text):
    with pytest.raises(InputError):
        store.load(text)
    assert store.all(Kind.PLAN) == ()


def nested(depth):
    body = 1
    for _ in range(depth):
        body = {"a": body}
    return body


def test_a_body_too_deep_is_refused_and_one_in_the_database_is_broken_not_fatal(store, url):
    """977 levels pass a shallow stack's JSON reader and break every page that reads them with a deeper one."""
    with pytest.raises(InputError, match="nested too deeply"):
        store.save(Kind.GPU, "deep", nested(977))
    kept = store.save(Kind.GPU, "card", {"memory_gib": 24})
    with transaction(open_engine(url)) as connection:
        connection.execute(items.update().values(body='{"a":' * 977 + "1" + "}" * 977))
    (row,) = store.all(Kind.GPU)
    assert row.broken and row.body == {} and row.name == "card"
    assert json.loads(store.export())["items"] == []
    store.delete(row)
    assert store.all(Kind.GPU) == () and kept.id == row.id


def test_a_full_database_takes_no_more(store, monkeypatch):
    monkeypatch.setattr("core.machinery.store.items.MAX_DATABASE_BYTES", 10_000)
    with pytest.raises(StoreError, match="storage is full"):
        store.save(Kind.PLAN, "plan", {})


def test_a_space_is_full_at_its_bound(store):
    for _ in range(MAX_SPACE_BYTES // 1_000_000):
        store.save(Kind.PLAN, "big", {"x": "y" * 999_900})
    with pytest.raises(StoreError, match="20 MB is the most"):
        store.save(Kind.PLAN, "one more", {"x": "y" * 999_900})


@pytest.mark.parametrize("body", [{"x": float("nan")}, {"x": object()}, {"x": "y" * (MAX_BODY_BYTES + 1)}])
def test_what_cannot_be_kept_is_refused(store, body):
    with pytest.raises(InputError):
        store.save(Kind.PLAN, "plan", body)


@pytest.mark.parametrize("database", DATABASES[1:])
def test_a_read_only_database_says_so_and_still_reads(database, request, opened):
    url = empty_database(request.getfixturevalue(database), f"kept_{next(_numbers)}")
    saved = Store(opened(url)).save(Kind.PLAN, "kept", PLAN)
    name = sa.make_url(url).database
    with opened(url).begin() as connection:
        connection.execute(sa.text(f"ALTER DATABASE {name} SET default_transaction_read_only = on"))
    read_only = Store(opened(url))
    assert read_only.get(saved.id).body == PLAN
    with pytest.raises(StoreError, match="read-only"):
        read_only.save(Kind.PLAN, "new", PLAN)


@pytest.mark.parametrize("database", DATABASES[1:])
def test_a_server_that_stops_is_said_in_one_sentence_without_its_address(database, opened):
    with cluster() as address:
        kept = Store(opened(address))
        kept.save(Kind.PLAN, "kept", PLAN)
    with pytest.raises(StoreError, match="did not answer") as error:
        kept.save(Kind.PLAN, "lost", PLAN)
    assert "sweetspot-pg" not in str(error.value)
