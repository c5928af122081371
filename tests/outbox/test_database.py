"""The relay's own connection: its transactions, in whatever mode the connection was opened."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from messaging.outbox import Database
from messaging.sql.database import Cursor

MODES: list[dict[str, Any]] = [{}, {"isolation_level": None}, {"isolation_level": "EXCLUSIVE"}]
if sys.version_info >= (3, 12):
    MODES += [{"autocommit": True}, {"autocommit": False}]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "school.db")) as connection:
        connection.execute("CREATE TABLE notes (n integer)")
    return tmp_path / "school.db"


def notes(file: Path) -> list[int]:
    with closing(sqlite3.connect(file)) as connection:
        return [n for (n,) in connection.execute("SELECT n FROM notes ORDER BY n")]


def write_and_fail(cursor: Cursor) -> None:
    cursor.change("INSERT INTO notes VALUES (:n)", [{"n": 3}])
    cursor.read("SELECT * FROM nowhere")


@pytest.mark.parametrize("mode", MODES, ids=str)
def test_a_transaction_is_committed_or_rolled_back(file: Path, mode: dict[str, Any]) -> None:
    with closing(Database(lambda: sqlite3.connect(file, **mode))) as database:
        for n in (1, 2):
            with database.transaction() as cursor:
                assert cursor.change("INSERT INTO notes VALUES (:n)", [{"n": n}]) == 1
            assert notes(file)[-1] == n
        with pytest.raises(sqlite3.OperationalError), database.transaction() as cursor:
            write_and_fail(cursor)
        with database.transaction(writes=False) as cursor:
            assert cursor.read("SELECT count(*) FROM notes") == [(2,)]


def test_a_commit_that_sqlite_refuses_is_rolled_back(file: Path) -> None:
    with (
        closing(sqlite3.connect(file, isolation_level=None)) as reader,
        closing(Database(lambda: sqlite3.connect(file, timeout=0))) as database,
    ):
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM notes").fetchall()  # holds it until the transaction ends
        with (
            pytest.raises(sqlite3.OperationalError, match="locked"),
            database.transaction() as cursor,
        ):
            cursor.change("INSERT INTO notes VALUES (:n)", [{"n": 1}])
        reader.execute("COMMIT")
        with database.transaction() as cursor:
            cursor.change("INSERT INTO notes VALUES (:n)", [{"n": 2}])
    assert notes(file) == [2]
