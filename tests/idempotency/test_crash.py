"""kill -9 between effect and mark, and anywhere else: both of them stand, or neither does."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from messaging.idempotency import Transactional
from messaging.sql import mysql, open_sqlite
from messaging.sql.driver import execute

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Database:
    url: str
    connect: Callable[[], Any]

    def rows(self, sql: str) -> list[Any]:
        connection = self.connect()
        try:
            return [row[0] for row in execute(connection, sql).fetchall()]
        finally:
            connection.close()

    @property
    def effects(self) -> list[int]:
        return sorted(self.rows("select number from effects"))

    @property
    def marks(self) -> list[int]:
        marks = self.rows("select cast(event_id as char(20)) from messaging_handled")
        return sorted(int(mark.removeprefix("/tests e")) for mark in marks)


@pytest.fixture(params=["sqlite", "postgres", "mysql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    if request.param == "sqlite":
        path = str(tmp_path / "service.db")
        made = Database(path, lambda: open_sqlite(path))
    elif request.param == "mysql":
        url = request.getfixturevalue("mariadb")
        made = Database(url, mysql(url))
    else:
        conninfo = request.getfixturevalue("postgres")
        made = Database(conninfo, lambda: psycopg.connect(conninfo, autocommit=True))
    connection = made.connect()
    execute(connection, "create table effects (number integer)")
    connection.close()
    marks = Transactional(made.connect).create()
    marks.close()
    return made


def start(database: Database, pause: float, events: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.idempotency.crashing", database.url, str(pause), str(events)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def read_until(process: subprocess.Popen[str], wanted: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip() == wanted:
            return
    raise AssertionError(f"the process ended without {wanted!r}")


def finish(database: Database, events: int) -> Counter[str]:
    """Run it to the end; how many lines of each kind it wrote."""
    process = start(database, 0, events)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    return Counter(line.split()[0] for line in output.splitlines())


def settled(database: Database) -> None:
    """A server rolls back when it sees that the socket is closed, which is a moment later."""
    deadline = time.monotonic() + 20
    if "dbname=" in database.url:
        others = "select count(*) from pg_stat_activity where backend_type = 'client backend'"
        mine = others + " and pid <> pg_backend_pid() and datname = current_database()"
    elif database.url.startswith("mysql://"):
        others = "select count(*) from information_schema.processlist where db = database()"
        mine = others + " and id <> connection_id()"
    else:
        return
    while database.rows(mine) != [0]:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_killed_between_effect_and_mark(database: Database) -> None:
    process = start(database, 60, 3)
    read_until(process, "effect 0")
    process.kill()
    process.communicate()
    settled(database)
    assert (database.effects, database.marks) == ([], [])
    assert finish(database, 3) == {"effect": 3, "acknowledged": 3}
    assert database.effects == database.marks == [0, 1, 2]


def test_killed_anywhere(database: Database) -> None:
    events = 60
    chance = random.Random(20260724)
    for _ in range(5):
        done = len(database.marks)
        process = start(database, 0.002, done + 10)  # on a busy machine the kill may come late
        read_until(process, f"effect {done + 4}")
        time.sleep(chance.uniform(0, 0.006))
        process.kill()
        process.communicate()
        settled(database)
        assert database.effects == database.marks
    before = len(database.marks)
    assert 20 <= before < events
    assert finish(database, events) == {"effect": events - before, "acknowledged": events}
    assert database.effects == database.marks == list(range(events))
