"""`@handles(chunk=)`: one commit for several messages, and an outcome for each of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import sqlalchemy
from sqlalchemy.orm import Session, sessionmaker

from messaging.consuming.batch import Batch
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Dispatcher
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError, ConsumerError
from messaging.event import Event
from messaging.idempotency import (
    Idempotency,
    MemoryStore,
    Transactional,
    TransactionalSession,
)
from messaging.lambda_handler import lambda_handler
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Discard, Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.runtime.worker import Worker
from messaging.sql import mysql, open_sqlite
from messaging.sql.driver import execute
from messaging.testing import lambda_event
from messaging.topology import Topology
from messaging.transport import CancelToken, Delivery


class Row(Event, type="row", version=1):
    number: int


class Load(Consumer):
    """Inserts the number, then does what a test wants for it."""

    service = "load"
    max_receives = 6

    def __init__(self, insert: Callable[[int], object], then: Mapping[int, Any] = {}) -> None:
        self.insert = insert
        self.then = then
        self.handled: list[int] = []
        self.ids: list[str] = []

    @handles(chunk=10)
    def row(self, row: Row, envelope: Envelope) -> Ack | None:
        self.handled.append(row.number)
        self.ids.append(envelope.id)
        self.insert(row.number)
        then = self.then.get(row.number)
        if isinstance(then, BaseException):
            raise then
        answer: Ack | None = then() if callable(then) else None
        return answer


@dataclass
class Place:
    """A database with a table of rows, and the middleware whose transactions write there.

    `commits`: rows by the transaction that committed them.
    """

    once: Any
    connect: Callable[[], Any]
    opened: list[Any] = field(default_factory=list)

    def insert(self, number: int) -> None:
        if isinstance(self.once, TransactionalSession):
            self.once.session.execute(sqlalchemy.text(f"INSERT INTO rows VALUES ({number}, NULL)"))
        else:
            execute(self.once.connection, f"INSERT INTO rows VALUES ({number}, NULL)")

    def point_nowhere(self) -> None:
        """What the commit will refuse: a reference to a row that is not there."""
        statement = "INSERT INTO rows VALUES (1000, 999)"
        if isinstance(self.once, TransactionalSession):
            self.once.session.execute(sqlalchemy.text(statement))
        else:
            execute(self.once.connection, statement)

    def end_it(self) -> None:
        """What a handler must not do."""
        (self.once.session if hasattr(self.once, "session") else self.once.connection).commit()

    def read(self, statement: str) -> list[Any]:
        with closing(self.connect()) as connection:
            return [row[0] for row in execute(connection, statement).fetchall()]

    @property
    def rows(self) -> list[int]:
        return self.read("SELECT number FROM rows ORDER BY number")

    @property
    def marks(self) -> int:
        return len(self.read("SELECT event_id FROM messaging_handled WHERE handled_at IS NOT NULL"))


TABLE = "CREATE TABLE rows (number integer PRIMARY KEY, above integer {})"
LATE = "REFERENCES rows (number) DEFERRABLE INITIALLY DEFERRED"


def sqlite_in(path: Path) -> Callable[[], Any]:
    def connect() -> Any:
        connection = open_sqlite(path)
        connection.execute("PRAGMA foreign_keys = ON")
        return connection

    with closing(connect()) as connection:
        connection.execute(TABLE.format(LATE))
    return connect


@pytest.fixture
def sqlite(tmp_path: Path) -> Iterator[Place]:
    connect = sqlite_in(tmp_path / "load.db")
    with closing(Transactional(connect).create()) as once:
        yield Place(once, connect)


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Place]:
    connect = sqlite_in(tmp_path / "load.db")
    engine = sqlalchemy.create_engine("sqlite://", creator=connect)
    yield Place(TransactionalSession(sessionmaker(engine)).create(), connect)
    engine.dispose()


@pytest.fixture
def postgresql(postgres: str) -> Iterator[Place]:
    def connect() -> Any:
        return psycopg.connect(postgres)

    with closing(connect()) as connection:
        connection.execute(TABLE.format(LATE))
        connection.commit()
    with closing(Transactional(connect).create()) as once:
        yield Place(once, connect)


@pytest.fixture(params=["sqlite", "session", "postgresql"])
def place(request: pytest.FixtureRequest) -> Place:
    made: Place = request.getfixturevalue(request.param)
    return made


def received(*numbers: int) -> dict[str, Any]:
    return lambda_event(Load, *(Row(number=number) for number in numbers))


def failed(load: Load, once: Any, event: dict[str, Any]) -> list[int]:
    """Positions of the messages that come again, or go to the dead letters."""
    answer = lambda_handler(load, middleware=[once])(event, None)
    ids = [one["messageId"] for one in event["Records"]]
    return sorted(ids.index(one["itemIdentifier"]) for one in answer["batchItemFailures"])


def outcomes(load: Load, once: Any, queue: str, said: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of a chunk of events 1, 2 and so on; `said` is what stands beside each."""
    records = received(*range(1, len(said) + 1))["Records"]
    run = Dispatcher(load, middleware=[once]).batch(
        [
            Delivery(queue=queue, message_id=str(at), receipt=str(at), body=one["body"], **more)
            for at, (one, more) in enumerate(zip(records, said, strict=True))
        ]
    )
    assert run.start() is None
    return [type(one).__name__ for one in run.outcomes]


@contextmanager
def told(sqlite: Place) -> Iterator[tuple[Transactional, Load, list[str]]]:
    """A middleware, a handler that inserts in its transactions, and the statements run so far."""
    said: list[str] = []

    def connect() -> Any:
        connection = sqlite.connect()
        connection.set_trace_callback(said.append)
        return connection

    with closing(Transactional(connect)) as once:
        yield once, Load(Place(once, connect).insert), said


def test_effects_and_marks_of_a_chunk_are_one_commit(postgresql: Place) -> None:
    load = Load(postgresql.insert)
    assert failed(load, postgresql.once, received(1, 2, 3)) == []
    assert postgresql.rows == [1, 2, 3]
    assert postgresql.marks == 3
    # Savepoints have numbers of their own; the transaction of the marks is the one that committed.
    assert len(postgresql.read("SELECT DISTINCT xmin::text FROM messaging_handled")) == 1
    assert len(set(load.ids)) == 3


def test_sqlite_commits_once_for_a_chunk(sqlite: Place) -> None:
    with told(sqlite) as (once, load, said):
        assert failed(load, once, received(*range(10))) == []
    assert said.count("COMMIT") == 1
    assert sqlite.rows == list(range(10))


@pytest.mark.parametrize("error", [ValueError(), Retry(1), Reject("no"), Discard("no")])
def test_one_that_fails_undoes_its_own_effect_and_no_other(
    place: Place, error: BaseException
) -> None:
    load = Load(place.insert, {2: error})
    event = received(1, 2, 3)
    assert failed(load, place.once, event) == ([] if isinstance(error, Discard) else [1])
    assert (place.rows, place.marks) == ([1, 3], 2)
    assert load.handled == [1, 2, 3], "nothing was handled a second time for it"
    load.then = {}
    assert failed(load, place.once, event) == []
    assert (place.rows, place.marks) == ([1, 2, 3], 3)
    assert load.handled == [1, 2, 3, 2], "and when all come again only it is"


def test_a_statement_that_the_database_refuses_is_that_messages_failure(place: Place) -> None:
    load = Load(place.insert, {2: lambda: place.insert(1)})
    assert failed(load, place.once, received(1, 2, 3)) == [1]
    assert (place.rows, place.marks, load.handled) == ([1, 3], 2, [1, 2, 3])


def test_what_raises_ack_is_handled_and_marked(place: Place) -> None:
    load = Load(place.insert, {2: Ack(), 3: lambda: Ack("done")})
    event = received(1, 2, 3)
    assert failed(load, place.once, event) == []
    assert (place.rows, place.marks) == ([1, 2, 3], 3)


def test_a_chunk_that_was_committed_and_not_deleted_is_not_handled_again(place: Place) -> None:
    load, event = Load(place.insert), received(1, 2, 3)
    assert failed(load, place.once, event) == failed(load, place.once, event) == []
    assert load.handled == [1, 2, 3]


def test_the_same_event_twice_in_a_chunk_takes_effect_once(place: Place) -> None:
    load, event = Load(place.insert), received(7)
    event["Records"].append(dict(event["Records"][0], messageId="twin", receiptHandle="twin"))
    assert failed(load, place.once, event) == [1]
    assert failed(load, place.once, event) == []
    assert load.handled == [7]


def test_a_commit_that_is_refused_costs_only_the_message_that_is_to_blame(place: Place) -> None:
    load = Load(place.insert, {2: place.point_nowhere})
    assert failed(load, place.once, received(1, 2, 3)) == [1]
    assert (place.rows, place.marks) == ([1, 3], 2)
    assert load.handled == [1, 2, 3, 1, 2, 3], "each alone"


def test_a_commit_that_was_refused_leaves_nothing_for_the_next_message(place: Place) -> None:
    class Single(Load):
        service = "load"

        @handles
        def row(self, row: Row, envelope: Envelope) -> Ack | None:
            return Load.row(self, row, envelope)

    load = Single(place.insert, {1: place.point_nowhere})
    event = received(1)
    assert failed(load, place.once, event) == failed(load, place.once, event) == [0]
    assert failed(load, place.once, received(2)) == []
    assert (place.rows, place.marks) == ([2], 1)


def test_a_handler_that_commits_is_told_and_takes_no_other_with_it(place: Place) -> None:
    load = Load(place.insert, {2: place.end_it})
    event = received(1, 2, 3)
    assert failed(load, place.once, event) == [1]
    assert place.marks == 2
    assert place.rows == [1, 2, 3], "1 once, with its mark, although 2 had committed it"


def test_a_message_whose_lease_is_lost_is_not_handled_and_costs_no_attempt(sqlite: Place) -> None:
    lost = CancelToken()
    load = Load(sqlite.insert, {1: lambda: lost.set("lease lost")})
    said = [{"receive_count": 6, "cancel_token": token} for token in (None, lost, None)]
    assert outcomes(load, sqlite.once, "load", said) == ["Ack", "Retry", "Ack"]
    assert (load.handled, sqlite.rows) == ([1, 3], [1, 3])


def test_in_a_fifo_queue_those_behind_one_that_failed_in_its_group_wait(sqlite: Place) -> None:
    load = Load(sqlite.insert, {1: Retry(1)})
    said = [{"group": group} for group in "aab"]
    assert outcomes(load, sqlite.once, "load.fifo", said) == ["Retry", "Retry", "Ack"]
    assert (load.handled, sqlite.rows) == ([1, 3], [3])


def test_a_claim_is_given_back_for_each_that_failed_and_completed_for_each_that_did_not() -> None:
    load = Load(lambda number: None, {2: ValueError()})
    once, event = Idempotency(MemoryStore()), received(1, 2, 3)
    assert failed(load, once, event) == [1]
    load.then = {}
    assert failed(load, once, event) == []
    assert load.handled == [1, 2, 3, 2]


def test_mariadb_takes_chunks_too(mariadb: str) -> None:
    connect = mysql(mariadb)
    with closing(connect()) as connection:
        execute(
            connection,
            "CREATE TABLE rows (number integer PRIMARY KEY, above integer)".replace(
                "rows", "`rows`"
            ),
        )
    with closing(Transactional(connect).create()) as once:
        load = Load(
            lambda number: execute(once.connection, f"INSERT INTO `rows` VALUES ({number}, NULL)"),
            {2: ValueError()},
        )
        event = received(1, 2, 3)
        assert failed(load, once, event) == [1]
        load.then = {}
        assert failed(load, once, event) == []
    assert load.handled == [1, 2, 3, 2]
    with closing(connect()) as connection:
        cursor = execute(connection, "SELECT count(*) FROM `rows`")
        assert cursor.fetchone() == (3,)


def test_a_worker_handles_a_backlog_in_chunks(sqlite: Place) -> None:
    broker = MemoryBroker(Topology.of(Load, topic="rows"))
    with Publisher(broker.topic(), source="/test") as publisher:
        publisher.publish_many(Row(number=number) for number in range(60))
    with (
        told(sqlite) as (once, load, said),
        Worker(load, broker=broker, middleware=[once], concurrency=1, wait=0.05),
    ):
        end = time.monotonic() + 30
        while broker.messages("load"):
            assert time.monotonic() < end
            time.sleep(0.005)
    assert sqlite.rows == list(range(60))
    assert said.count("COMMIT") <= 30, "and not 60"


def test_wrong_declarations_say_what_to_write_instead() -> None:
    def refused(make: Callable[[], object]) -> str:
        with pytest.raises(ConsumerError) as caught:
            make()
        return str(caught.value)

    def both() -> object:
        return handles(batch=2, chunk=2)  # type: ignore[call-overload] # wrong on purpose

    def many() -> None:
        class Bi(Consumer):
            @handles(chunk=1001)
            def row(self, row: Row) -> None: ...

    def of_batches() -> None:
        class Bi(Consumer):
            @handles(chunk=10)
            def row(self, rows: Batch[Row]) -> None: ...

    def asynchronous() -> None:
        class Bi(Consumer):
            @handles(chunk=10)
            async def row(self, row: Row) -> None: ...

    assert "say one of them" in refused(both)
    assert "Bi.row: @handles(chunk=1001): 1 to 1,000 messages" in refused(many)
    assert "write @handles(batch=)" in refused(of_batches)
    assert "make it a plain method" in refused(asynchronous)


def test_a_middleware_that_knows_neither_is_refused_and_so_is_djangos() -> None:
    class Atomic:
        chunks = False

        def around_batch(self, batch: object) -> None: ...

    load = Load(lambda number: None)
    with pytest.raises(ConfigurationError, match=r"give it a method around_batch"):
        Dispatcher(load, middleware=[lambda call: closing(Session())])
    atomic: Any = Atomic()
    with pytest.raises(ConfigurationError, match="Atomic cannot undo one of them alone"):
        Dispatcher(load, middleware=[atomic])
