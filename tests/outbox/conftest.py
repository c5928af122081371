"""What the tests of the outbox share: a database with an outbox, SQLite's, PostgreSQL's and
MariaDB's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest

from messaging.event import Event
from messaging.outbox import Claims, Database, OutboxStatus, SqlOutbox, connector, create
from messaging.projection import Projection
from messaging.publishing.publisher import Publisher
from messaging.sql.dialect import Dialect
from messaging.sql.driver import execute
from messaging.testing import FakeClock


class Noted(Event, type="test.noted", version=1, subject="who"):
    who: str
    n: int


class Enrolled(Event, type="test.enrolled", version=1, subject="who"):
    who: str
    fee: int


class EnrolledForBooks(Projection, of=Enrolled, audience="books"):
    fee: int


class EnrolledForMail(Projection, of=Enrolled, audience="mail"):
    who: str


@dataclass(frozen=True)
class Place:
    """One database with an outbox. `url` is for the relay, `connect` is the application's.

    `clock` is that of relays on SQLite; the others have their own.
    """

    dialect: Dialect
    url: str
    connect: Callable[[], Any]
    clock: FakeClock = field(default_factory=FakeClock)

    def publish(self, *events: Event) -> None:
        """Publish and commit."""
        with closing(self.connect()) as connection:
            publisher = Publisher(SqlOutbox(connection), source="/test")
            for event in events:
                publisher.publish(event)
            connection.commit()

    def rows(self, columns: str = "*", order: str = "seq") -> list[tuple[Any, ...]]:
        with closing(self.connect()) as connection:
            found = execute(connection, f"SELECT {columns} FROM messaging_outbox ORDER BY {order}")
            return [tuple(row) for row in found.fetchall()]

    def run(self, statement: str) -> None:
        with closing(self.connect()) as connection:
            execute(connection, statement)
            connection.commit()

    def status(self) -> OutboxStatus:
        with self.claims() as claims:
            return claims.status()

    @contextmanager
    def claims(self) -> Iterator[Claims]:
        with closing(Database(connector(self.url), clock=self.clock)) as database:
            yield Claims(database)


def noted(*whos: str) -> list[Noted]:
    """One event for each of `whos`, numbered."""
    return [Noted(who=who, n=n) for n, who in enumerate(whos)]


@pytest.fixture
def sqlite(tmp_path: Path) -> Place:
    path = tmp_path / "school.db"
    place = Place("sqlite", f"sqlite:///{path}", lambda: sqlite3.connect(path, timeout=20))
    with closing(place.connect()) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    return with_tables(place)


@pytest.fixture
def postgresql(postgres: str) -> Place:
    return with_tables(Place("postgresql", postgres, lambda: psycopg.connect(postgres)))


@pytest.fixture
def mysql(mariadb: str) -> Place:
    return with_tables(Place("mysql", mariadb, connector(mariadb)))


@pytest.fixture(params=["postgresql", "mysql"])
def server(request: pytest.FixtureRequest) -> Place:
    """A database that several may write to at once."""
    made: Place = request.getfixturevalue(request.param)
    return made


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(request.param)
    return made


def with_tables(place: Place) -> Place:
    with closing(place.connect()) as connection:
        create(connection)
        execute(connection, "CREATE TABLE students (name text)")
        connection.commit()
    return place
