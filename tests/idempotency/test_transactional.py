"""Effect and mark in one transaction: both or neither, on each database and by each road to it."""

from __future__ import annotations

import asyncio
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.orm import Session, sessionmaker

from messaging.errors import ConfigurationError
from messaging.idempotency import SqliteStore, Transactional, TransactionalSession
from messaging.idempotency.marks import ddl
from messaging.outcome import Ack, Discard, Reject, Retry
from messaging.sql import mysql, open_sqlite
from messaging.sql.driver import execute
from messaging.stores import Claim
from messaging.testing import Result, deliver
from tests.idempotency.services import Billing, Enrolled, Mailing, raises

KINDS = [
    *("sqlite", "postgres", "mysql"),
    *("session-sqlite", "session-postgres", "session-mysql"),
]
EFFECTS = "create table effects (number integer)"
WRITE = "insert into effects values (1)"


@dataclass(frozen=True)
class Place:
    """One database with its middleware. `query` looks from outside of any handler."""

    kind: str
    database: Any
    query: Callable[[str], list[Any]]

    def run(self, sql: str) -> None:
        """In the handler's transaction."""
        if isinstance(self.database, Transactional):
            execute(self.database.connection, sql)
        else:
            self.database.session.execute(sqlalchemy.text(sql))

    def write(self, event: Enrolled) -> None:
        self.run(f"insert into effects values ({event.number})")

    def commit(self) -> None:
        """What a handler must not do."""
        shared = self.database
        (shared.connection if isinstance(shared, Transactional) else shared.session).commit()

    @property
    def effects(self) -> list[int]:
        return sorted(row[0] for row in self.query("select number from effects"))

    @property
    def marks(self) -> list[str]:
        found = self.query("select event_id from messaging_handled where handled_at is not null")
        return sorted(row[0] if isinstance(row[0], str) else row[0].decode() for row in found)

    def deliver(self, does: Callable[[Enrolled], Any], id: str = "e1", **more: Any) -> Result:
        number = int(id.removeprefix("e"))
        billing = Billing(does)
        return deliver(billing, Enrolled(number=number), id=id, middleware=[self.database], **more)


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place(request.param, request, tmp_path)


@pytest.fixture(params=["postgres", "session-postgres"])
def pg_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place(request.param, request, tmp_path)


@pytest.fixture(params=["sqlite", "session-sqlite", "mysql", "session-mysql"])
def waiting_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    yield from _place(request.param, request, tmp_path)


def _place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if kind.endswith("sqlite"):
        path = tmp_path / "service.db"
        outside: Any = open_sqlite(path)
        url = f"sqlite:///{path}"

        def connect() -> Any:
            return open_sqlite(path)
    elif kind.endswith("mysql"):
        url = request.getfixturevalue("mariadb").replace("mysql://", "mysql+pymysql://")
        connect = mysql(url)
        outside = connect()
        outside.autocommit(True)
    else:
        conninfo = request.getfixturevalue("postgres")
        outside = psycopg.connect(conninfo, autocommit=True)
        parts = dict(part.split("=") for part in conninfo.split())
        url = f"postgresql+psycopg://{parts['user']}@/{parts['dbname']}?host={parts['host']}"

        def connect() -> Any:
            return psycopg.connect(conninfo)

    execute(outside, EFFECTS)
    engine = None
    if kind.startswith("session"):
        engine = sqlalchemy.create_engine(url, pool_size=10)
        database: Any = TransactionalSession(sessionmaker(engine))
    else:
        database = Transactional(connect)
    database.create()
    yield Place(kind, database, lambda sql: execute(outside, sql).fetchall())
    if engine:
        engine.dispose()
    else:
        database.close()
    outside.close()


def test_effect_and_mark_stand_together_and_a_duplicate_does_nothing(place: Place) -> None:
    assert place.deliver(place.write).acknowledged
    assert (place.effects, place.marks) == ([1], ["/tests e1"])
    again = place.deliver(place.write)
    assert again.acknowledged
    assert again.why == "already handled"
    assert place.deliver(place.write, "e2").acknowledged
    assert (place.effects, place.marks) == ([1, 2], ["/tests e1", "/tests e2"])


@pytest.mark.parametrize("how", ["return", "raise"])
def test_ack_is_success(place: Place, how: str) -> None:
    def does(event: Enrolled) -> Ack:
        place.write(event)
        if how == "raise":
            raise Ack("fine")
        return Ack("fine")

    assert place.deliver(does).acknowledged
    assert (place.effects, place.marks) == ([1], ["/tests e1"])


@pytest.mark.parametrize(
    "ending",
    [Retry(5), Reject("no such course"), Discard("not ours"), ValueError("x"), SystemExit(1)],
    ids=lambda ending: type(ending).__name__,
)
def test_whatever_else_it_ends_in_leaves_neither(place: Place, ending: BaseException) -> None:
    def does(event: Enrolled) -> None:
        place.write(event)
        raise ending

    without = deliver(Billing(raises(ending)), Enrolled(number=1)).outcome
    assert type(place.deliver(does).outcome) is type(without)
    assert (place.effects, place.marks) == ([], [])
    assert place.deliver(place.write).acknowledged
    assert place.effects == [1]


@pytest.mark.parametrize("ending", [Retry(5), Reject("no"), Discard("no")], ids=lambda e: str(e))
def test_an_outcome_that_is_returned_leaves_neither_too(place: Place, ending: Any) -> None:
    def does(event: Enrolled) -> Any:
        place.write(event)
        return ending

    assert type(place.deliver(does).outcome) is type(ending)
    assert (place.effects, place.marks) == ([], [])


def test_an_interrupt_leaves_neither(place: Place) -> None:
    def does(event: Enrolled) -> None:
        place.write(event)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        place.deliver(does)
    assert (place.effects, place.marks) == ([], [])
    assert place.deliver(place.write).acknowledged


def test_of_many_duplicates_at_once_one_takes_effect(place: Place) -> None:
    threads, events = 6, 4
    gate = threading.Barrier(threads)

    def rush(_: int) -> list[Result]:
        results = []
        for number in range(events):
            gate.wait(20)
            results.append(place.deliver(place.write, f"e{number}"))
        return results

    with ThreadPoolExecutor(threads) as pool:
        results = [one for some in pool.map(rush, range(threads)) for one in some]
    assert place.effects == list(range(events))
    assert all(one.acknowledged or one.retried for one in results)
    if not place.kind.endswith("postgres"):  # a duplicate waits until the first is done
        assert all(one.acknowledged for one in results)


def test_a_duplicate_is_not_acknowledged_while_the_first_may_fail(pg_place: Place) -> None:
    place = pg_place

    def first(event: Enrolled) -> None:
        place.write(event)
        twin = place.deliver(place.write)
        assert twin.delay == 5
        assert twin.why == "in progress elsewhere"
        assert place.deliver(place.write, "e2").acknowledged  # nobody waits for another's event
        raise ValueError("the first fails after all")

    assert isinstance(place.deliver(first).error, ValueError)
    assert place.effects == [2]
    assert place.deliver(place.write).acknowledged
    assert place.effects == [1, 2]


def test_in_sqlite_and_mysql_a_duplicate_waits_for_the_end_of_the_first(
    waiting_place: Place,
) -> None:
    place = waiting_place
    inside, twin_runs = threading.Event(), threading.Event()

    def first(event: Enrolled) -> None:
        place.write(event)
        inside.set()
        assert not twin_runs.wait(0.3), "the duplicate did not wait"
        raise ValueError("the first fails after all")

    def twin(event: Enrolled) -> None:
        twin_runs.set()
        place.write(event)

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(place.deliver, first)
        assert inside.wait(10)
        two = pool.submit(place.deliver, twin)
        assert isinstance(one.result(20).error, ValueError)
        assert two.result(20).acknowledged
    assert place.effects == [1]


def test_a_handler_that_commits_is_told_and_its_event_is_not_marked(place: Place) -> None:
    def commits(event: Enrolled) -> None:
        place.write(event)
        place.commit()
        place.write(event)

    result = place.deliver(commits)
    assert result.retried
    assert isinstance(result.error, ConfigurationError)
    assert "ended the transaction" in str(result.error)
    assert place.marks == []
    assert set(place.effects) == {1}  # what it committed by itself, and maybe what came after
    assert place.deliver(lambda event: None).acknowledged


def test_a_handler_that_commits_and_fails_is_not_marked(place: Place) -> None:
    def commits(event: Enrolled) -> None:
        place.write(event)
        place.commit()
        raise ValueError("x")

    assert isinstance(place.deliver(commits).error, ValueError)
    assert place.marks == []


def test_a_database_error_that_the_handler_swallows_is_not_success(pg_place: Place) -> None:
    # PostgreSQL answers a commit of a failed transaction with a rollback, and no error.
    def swallows(event: Enrolled) -> None:
        pg_place.write(event)
        with pytest.raises(Exception, match="nonsense"):
            pg_place.run("select nonsense")

    error = pg_place.deliver(swallows).error
    failed = (psycopg.errors.InFailedSqlTransaction, sqlalchemy.exc.PendingRollbackError)
    assert isinstance(error, failed), error
    assert (pg_place.effects, pg_place.marks) == ([], [])


def test_outside_of_a_handler_there_is_no_connection(place: Place) -> None:
    name = "session" if place.kind.startswith("session") else "connection"
    with pytest.raises(ConfigurationError, match="while a handler runs"):
        getattr(place.database, name)
    place.deliver(place.write)
    with pytest.raises(ConfigurationError, match="while a handler runs"):
        getattr(place.database, name)


def test_prune_forgets_marks(place: Place) -> None:
    place.deliver(place.write)
    assert place.database.prune(3600) == 0
    assert place.deliver(place.write).acknowledged
    assert place.effects == [1]
    assert place.database.prune(-1) == 1
    assert place.marks == []


def test_create_may_be_called_again_and_by_many(place: Place) -> None:
    place.deliver(place.write)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: place.database.create(), range(8)))
    assert place.marks == ["/tests e1"]


def test_connections_are_kept_and_used_again(tmp_path: Path) -> None:
    made: list[sqlite3.Connection] = []

    def connect() -> sqlite3.Connection:
        made.append(open_sqlite(tmp_path / "x.db"))
        return made[-1]

    database = Transactional(connect).create()
    for number in range(5):
        deliver(Billing(), Enrolled(number=number), middleware=[database])
    assert len(made) == 1
    database.close()
    with pytest.raises(sqlite3.ProgrammingError):
        made[0].execute("select 1")


def test_a_connection_that_died_is_replaced_before_the_handler_runs(postgres: str) -> None:
    database = Transactional(lambda: psycopg.connect(postgres)).create()
    billing = Billing()

    def pid(event: Enrolled) -> int:
        row = database.connection.execute("select pg_backend_pid()").fetchone()
        return int(row[0])

    pids: list[int] = []
    billing.does = lambda event: pids.append(pid(event))
    assert deliver(billing, Enrolled(number=1), middleware=[database]).acknowledged
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute("select pg_terminate_backend(%s)", pids)
    assert deliver(billing, Enrolled(number=2), middleware=[database]).acknowledged
    assert pids[0] != pids[1]
    database.close()


def test_a_connection_that_dies_in_the_handler_leaves_neither(postgres: str) -> None:
    database = Transactional(lambda: psycopg.connect(postgres)).create()

    def dies(event: Enrolled) -> None:
        database.connection.execute("create table effects (number integer)")
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute("select pg_terminate_backend(%s)", [database.connection.info.backend_pid])

    result = deliver(Billing(dies), Enrolled(number=1), id="e1", middleware=[database])
    assert isinstance(result.error, psycopg.OperationalError), result.error
    after = deliver(Billing(), Enrolled(number=1), id="e1", middleware=[database])
    assert after.acknowledged
    assert after.why == ""
    database.close()


def test_connections_as_their_owners_like_them(postgres: str, tmp_path: Path) -> None:
    def with_dicts() -> Any:
        return psycopg.connect(postgres, autocommit=True, row_factory=dict_row)

    def with_rows() -> sqlite3.Connection:
        # Neither autocommit nor WAL: the standard library's own way.
        connection = sqlite3.connect(tmp_path / "x.db", check_same_thread=False)
        connection.row_factory = sqlite3.Row
        return connection

    for connect in (with_dicts, with_rows):
        database = Transactional(connect).create()
        billing = Billing()

        def does(event: Enrolled, database: Transactional = database) -> None:
            if event.number == 0:
                database.connection.execute("create table effects (number integer)")
            database.connection.execute(f"insert into effects values ({event.number})")
            row = database.connection.execute("select count(*) as many from effects").fetchone()
            assert row["many"] == event.number + 1

        billing.does = does
        for _ in range(2):
            for number in range(3):
                event = Enrolled(number=number)
                result = deliver(billing, event, id=f"e{number}", middleware=[database])
                assert result.acknowledged, result.error
        assert billing.handled == [0, 1, 2]
        database.close()


SQLITE_MODES: list[dict[str, Any]] = [{}, {"isolation_level": None}]
if sys.version_info >= (3, 12):
    SQLITE_MODES += [{"autocommit": True}, {"autocommit": False}]


@pytest.mark.parametrize("mode", SQLITE_MODES, ids=str)
def test_others_see_what_a_handler_wrote_whatever_sqlites_mode(
    mode: dict[str, Any], tmp_path: Path
) -> None:
    outside = sqlite3.connect(tmp_path / "x.db", timeout=0, isolation_level=None)
    outside.execute(EFFECTS)
    database = Transactional(
        lambda: sqlite3.connect(tmp_path / "x.db", timeout=0, check_same_thread=False, **mode)
    ).create()

    def does(event: Enrolled) -> None:
        database.connection.execute(f"insert into effects values ({event.number})")
        if event.number == 2:
            raise Retry(5)

    for number in (1, 2, 3):
        deliver(Billing(does), Enrolled(number=number), id=f"e{number}", middleware=[database])
        outside.execute("insert into effects values (0)")  # nobody holds the lock for writing
    found = outside.execute("select number from effects where number > 0").fetchall()
    assert found == [(1,), (3,)]
    assert database.prune(-60) == 2
    assert outside.execute("select count(*) from messaging_handled").fetchall() == [(0,)]
    outside.close()
    database.close()


def test_a_nested_transaction_of_psycopg_is_a_savepoint(postgres: str) -> None:
    database = Transactional(lambda: psycopg.connect(postgres)).create()

    def does(event: Enrolled) -> None:
        connection = database.connection
        connection.execute("create table effects (number integer)")
        with connection.transaction(force_rollback=True):
            connection.execute("insert into effects values (1)")
        with connection.transaction():
            connection.execute("insert into effects values (2)")

    assert deliver(Billing(does), Enrolled(number=1), middleware=[database]).acknowledged
    with psycopg.connect(postgres) as outside:
        assert outside.execute("select number from effects").fetchall() == [(2,)]
    database.close()


def test_objects_of_a_session_are_flushed(postgres: str) -> None:
    metadata = sqlalchemy.MetaData()
    table = sqlalchemy.Table(
        "effects", metadata, sqlalchemy.Column("number", sqlalchemy.Integer, primary_key=True)
    )

    class Effect:
        def __init__(self, number: int) -> None:
            self.number = number

    sqlalchemy.orm.registry().map_imperatively(Effect, table)
    parts = dict(part.split("=") for part in postgres.split())
    engine = sqlalchemy.create_engine(
        f"postgresql+psycopg://{parts['user']}@/{parts['dbname']}?host={parts['host']}"
    )
    metadata.create_all(engine)
    database = TransactionalSession(sessionmaker(engine)).create()

    def does(event: Enrolled) -> None:
        database.session.add(Effect(event.number))

    for _ in range(2):
        assert deliver(
            Billing(does), Enrolled(number=5), id="e1", middleware=[database]
        ).acknowledged
    # What the flush refuses (the same number again) leaves neither.
    assert deliver(Billing(does), Enrolled(number=5), id="e2", middleware=[database]).retried
    with Session(engine) as session:
        assert session.query(Effect).count() == 1
        marks = session.execute(sqlalchemy.text("select event_id from messaging_handled"))
        assert marks.scalars().all() == ["/tests e1"]
    engine.dispose()


def test_async_handlers_share_a_loop_on_postgresql(postgres: str) -> None:
    database = Transactional(lambda: psycopg.connect(postgres)).create()
    with psycopg.connect(postgres) as outside:
        outside.execute("create table effects (number integer)")
    running = 0
    most = 0

    async def does(event: Enrolled) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        mine = database.connection
        mine.execute(f"insert into effects values ({event.number})")
        await asyncio.sleep(0.02)
        assert database.connection is mine
        running -= 1

    async def all_at_once() -> list[Result]:
        def one(number: int) -> Result:
            return deliver(
                Mailing(does), Enrolled(number=number), id=f"e{number}", middleware=[database]
            )

        return await asyncio.gather(*[asyncio.to_thread(one, number % 4) for number in range(8)])

    results = asyncio.run(all_at_once())
    assert all(one.acknowledged or one.retried for one in results)
    assert most > 1
    with psycopg.connect(postgres) as outside:
        rows = outside.execute("select number from effects order by number").fetchall()
    assert rows == [(0,), (1,), (2,), (3,)]
    database.close()


def test_async_handlers_are_refused_on_sqlite(tmp_path: Path) -> None:
    database = Transactional(lambda: open_sqlite(tmp_path / "x.db")).create()

    async def does(event: Enrolled) -> None: ...

    mailing = Mailing(does)
    result = deliver(mailing, Enrolled(number=1), middleware=[database])
    assert isinstance(result.error, ConfigurationError)
    assert "make it a plain method" in str(result.error)
    assert mailing.handled == []
    database.close()


def test_a_claim_of_a_plain_store_in_the_same_table_is_respected(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    store = SqliteStore(path)
    database = Transactional(lambda: open_sqlite(path))
    claim = store.begin("billing", "/tests e1", lease_seconds=60)
    assert isinstance(claim, Claim)

    def result() -> Result:
        return deliver(Billing(), Enrolled(number=1), id="e1", middleware=[database])

    assert result().retried
    store.complete(claim)
    assert result().why == "already handled"
    store.prune(-1)
    store.begin("billing", "/tests e1", lease_seconds=-1)  # of a process that died
    first = result()
    assert first.acknowledged
    assert first.why == ""
    assert result().why == "already handled"
    store.close()
    database.close()


def test_the_table_in_a_migration_of_ones_own(postgres: str, tmp_path: Path) -> None:
    with psycopg.connect(postgres) as outside:
        outside.execute("create schema school")
        outside.execute(ddl("postgresql", "school.handled").encode())
    outside_sqlite = open_sqlite(tmp_path / "x.db")
    outside_sqlite.execute(ddl("sqlite", "handled"))
    outside_sqlite.close()
    for database in (
        Transactional(lambda: psycopg.connect(postgres), table="school.handled"),
        Transactional(lambda: open_sqlite(tmp_path / "x.db"), table="handled"),
    ):
        for why in ("", "already handled"):
            result = deliver(Billing(), Enrolled(number=1), id="e1", middleware=[database])
            assert result.acknowledged
            assert result.why == why
        database.close()


def test_what_cannot_be_is_told() -> None:
    with pytest.raises(ConfigurationError, match="letters, digits"):
        ddl("sqlite", "handled; drop table contas")
    database = Transactional(object)
    with pytest.raises(ConfigurationError, match="object: an unknown kind of connection"):
        database.create()
    with pytest.raises(ConfigurationError, match="MemoryStore"):
        SqliteStore(":memory:")


def test_a_table_that_is_not_there_is_an_error_before_the_handler_runs(tmp_path: Path) -> None:
    database = Transactional(lambda: open_sqlite(tmp_path / "x.db"))
    billing = Billing()
    result = deliver(billing, Enrolled(number=1), middleware=[database])
    assert result.retried
    assert "messaging_handled" in str(result.error)
    assert billing.handled == []
    database.close()
