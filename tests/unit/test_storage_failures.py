"""What SQLite raises, as an error of ours: the file by name, and what to do."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from monitor.errors import Reason, StoreError
from monitor.storage.failures import failure


def not_a_database(path: Path) -> None:
    path.write_bytes(b"This is a letter to my aunt. " * 200)
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE t (x)")


def locked(path: Path) -> None:
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path, timeout=0)) as other:
        one.execute("BEGIN IMMEDIATE")
        other.execute("BEGIN IMMEDIATE")


def no_folder(path: Path) -> None:
    sqlite3.connect(path / "x").close()


def read_only(path: Path) -> None:
    sqlite3.connect(path).close()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        database.execute("CREATE TABLE t (x)")


def full(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA max_page_count = 2")
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")


def malformed(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE t (x)")
        database.execute("INSERT INTO t VALUES (zeroblob(100000))")
    page = path.read_bytes()
    path.write_bytes(page[:4096] + b"\xff" * (len(page) - 4096))
    with closing(sqlite3.connect(path)) as database:
        database.execute("SELECT * FROM t").fetchall()


def unknown(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("SELECT * FROM none_such")


@pytest.mark.parametrize(
    ("happens", "reason", "said", "remedy"),
    [
        (not_a_database, Reason.STORAGE, "file is not a database", "; name another file in database.url, or move"),
        (locked, Reason.STORAGE, "database is locked", "; another process has been writing"),
        (no_folder, Reason.STORAGE, "unable to open database file", "; name a file in database.url, in a folder"),
        (
            read_only,
            Reason.STORAGE,
            "attempt to write a readonly database",
            "; make the file, and its folder, writable",
        ),
        (full, Reason.STORAGE_FULL, "database or disk is full", "; free some space"),
        (malformed, Reason.STORAGE, "database disk image is malformed", "; put a backup in its place"),
        (unknown, Reason.STORAGE, "no such table: none_such", ""),
    ],
)
def test_the_file_is_named_and_what_to_do(
    tmp_path: Path, happens: Callable[[Path], None], reason: Reason, said: str, remedy: str
) -> None:
    path = tmp_path / "store.sqlite3"
    with pytest.raises(sqlite3.Error) as caught:
        happens(path)
    found = failure(caught.value, make_url(f"sqlite+aiosqlite:///{path}"))
    assert isinstance(found, StoreError)
    assert found.reason is reason
    assert found.detail.startswith(f"database.url ({path}): {said}{remedy}")
    assert "\n" not in str(found)


def test_a_password_is_never_told() -> None:
    url = make_url("sqlite+aiosqlite://someone:hunter2@/store.sqlite3")
    assert "hunter2" not in str(failure(sqlite3.OperationalError("no hunter2 here"), url))
    assert "hunter2" not in str(failure(OSError("no hunter2"), make_url("postgresql+asyncpg://me:hunter2@host/db")))
