"""Async handlers whose effect and mark are one transaction of PostgreSQL, by each road to it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
from psycopg.rows import dict_row
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine

from messaging.consuming.consumer import handles
from messaging.consuming.dispatch import Dispatcher
from messaging.errors import ConfigurationError, TransportError
from messaging.idempotency import AsyncTransactional, PostgresStore, Transactional
from messaging.memory import MemoryBroker
from messaging.outcome import Ack, Discard, Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.testing import Result, deliver
from messaging.topology import Topology
from messaging.transport import Delivery
from tests.idempotency.services import Billing, Enrolled, Mailing
from tests.scripted import ScriptedTopic

KINDS = ["psycopg", "asyncpg", "asyncpg-pool", "session-psycopg", "session-asyncpg"]


def parts(conninfo: str) -> dict[str, str]:
    return dict(part.split("=") for part in conninfo.split())


def asyncpg_arguments(conninfo: str) -> dict[str, str]:
    given = parts(conninfo)
    return {"host": given["host"], "user": given["user"], "database": given["dbname"]}


def engine_url(conninfo: str, driver: str) -> str:
    given = parts(conninfo)
    return f"postgresql+{driver}://{given['user']}@/{given['dbname']}?host={given['host']}"


@dataclass
class Place:
    """One database with its middleware, and a loop for its handlers."""

    kind: str
    conninfo: str
    database: AsyncTransactional
    runner: asyncio.Runner

    async def run(self, sql: str) -> Any:
        """In the handler's transaction; the first value of the first row, if there is one."""
        return await run(self.database.connection, sql)

    async def write(self, event: Enrolled) -> None:
        await self.run(f"insert into effects values ({event.number})")

    def query(self, sql: str) -> list[Any]:
        with psycopg.connect(self.conninfo, autocommit=True) as outside:
            return [row[0] for row in outside.execute(sql.encode()).fetchall()]

    @property
    def left(self) -> tuple[list[int], list[str]]:
        """What stands in the database: effects, and marks."""
        return (
            sorted(self.query("select number from effects")),
            sorted(self.query("select event_id from messaging_handled")),
        )

    def deliver(
        self, does: Callable[[Enrolled], Awaitable[Any]], id: str = "e1", **more: Any
    ) -> Result:
        event = Enrolled(number=int(id.removeprefix("e")))
        middleware = [self.database]
        return deliver(
            Mailing(does), event, id=id, middleware=middleware, runner=self.runner, **more
        )


async def run(connection: Any, sql: str) -> Any:
    """One statement, on a connection of any kind."""
    if isinstance(connection, AsyncSession):
        done = await connection.execute(sqlalchemy.text(sql))
        return done.scalar() if done.returns_rows else None
    if isinstance(connection, psycopg.AsyncConnection):
        cursor = await connection.execute(sql.encode())
        return (await cursor.fetchone())[0] if cursor.description else None  # type: ignore[index]
    return await connection.fetchval(sql)


@asynccontextmanager
async def opener(kind: str, conninfo: str, size: int = 5) -> AsyncIterator[Callable[[], Any]]:
    """What `AsyncTransactional` is given."""
    name, _, driver = kind.partition("-")
    if kind == "psycopg":
        yield lambda: psycopg.AsyncConnection.connect(conninfo)
    elif kind == "asyncpg":
        yield lambda: asyncpg.connect(**asyncpg_arguments(conninfo))
    elif name == "asyncpg":
        async with asyncpg.create_pool(
            **asyncpg_arguments(conninfo), min_size=1, max_size=size
        ) as pool:
            yield pool.acquire
    else:
        engine = create_async_engine(
            engine_url(conninfo, driver), pool_size=size, max_overflow=0, pool_timeout=60
        )
        yield async_sessionmaker(engine)
        await engine.dispose()


def prepared(conninfo: str) -> str:
    PostgresStore(conninfo).create().close()
    with psycopg.connect(conninfo) as outside:
        outside.execute("create table effects (number integer)")
    return conninfo


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, postgres: str) -> Iterator[Place]:
    conninfo = prepared(postgres)
    with asyncio.Runner() as runner:
        made = opener(request.param, conninfo)
        opens = runner.run(made.__aenter__())
        yield Place(request.param, conninfo, AsyncTransactional(opens), runner)
        runner.run(made.__aexit__(None, None, None))


def test_effect_and_mark_stand_together_and_a_duplicate_does_nothing(place: Place) -> None:
    assert place.deliver(place.write).acknowledged
    assert place.left == ([1], ["/tests e1"])
    again = place.deliver(place.write)
    assert (again.acknowledged, again.why) == (True, "already handled")
    assert place.deliver(place.write, "e2").acknowledged
    assert place.left == ([1, 2], ["/tests e1", "/tests e2"])


@pytest.mark.parametrize(
    "ending",
    [Retry(5), Reject("no such course"), Discard("not ours"), ValueError("x"), SystemExit(1)],
    ids=lambda ending: type(ending).__name__,
)
@pytest.mark.parametrize("returned", [False, True], ids=["raised", "returned"])
def test_whatever_it_ends_in_but_success_leaves_neither(
    place: Place, ending: BaseException, returned: bool
) -> None:
    async def does(event: Enrolled) -> Any:
        await place.write(event)
        if returned and not isinstance(ending, (ValueError, SystemExit)):
            return ending
        raise ending

    assert not place.deliver(does).acknowledged
    assert place.left == ([], [])
    assert place.deliver(place.write).acknowledged
    assert place.left[0] == [1]


def test_an_ack_that_is_raised_is_success(place: Place) -> None:
    async def does(event: Enrolled) -> None:
        await place.write(event)
        raise Ack("fine")

    assert place.deliver(does).acknowledged
    assert place.left == ([1], ["/tests e1"])


def test_a_handler_that_is_cancelled_leaves_neither(place: Place) -> None:
    async def does(event: Enrolled) -> None:
        await place.write(event)
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        place.deliver(does)
    assert place.left == ([], [])
    assert place.deliver(place.write).acknowledged


def test_a_handler_that_commits_is_told_and_its_event_is_not_marked(place: Place) -> None:
    async def commits(event: Enrolled) -> None:
        await place.write(event)
        if place.kind.startswith("session"):
            await place.database.connection.commit()
        else:
            await place.run("commit")

    result = place.deliver(commits)
    assert isinstance(result.error, ConfigurationError)
    assert "ended the transaction" in str(result.error)
    assert place.left[1] == []


def test_a_killed_backend_leaves_neither_and_costs_one_retry(place: Place) -> None:
    async def dies(event: Enrolled) -> None:
        await place.write(event)
        pid = await place.run("select pg_backend_pid()")
        place.query(f"select pg_terminate_backend({pid})")
        await place.run("select 1")

    assert place.deliver(dies).retried
    assert place.left == ([], [])
    assert place.deliver(place.write).acknowledged
    assert place.left == ([1], ["/tests e1"])


def test_a_duplicate_comes_again_while_the_first_runs(place: Place) -> None:
    """And another's event runs meanwhile, although both are in one thread."""
    inside = asyncio.Event()
    finish = asyncio.Event()
    results: dict[str, Any] = {}

    async def first(event: Enrolled) -> None:
        await place.write(event)
        inside.set()
        await finish.wait()

    async def scenario() -> None:
        dispatch = dispatcher(place, first)
        one = asyncio.create_task(dispatch("e1"))
        await inside.wait()
        results["twin"] = await dispatcher(place, place.write)("e1")
        results["other"] = await dispatcher(place, place.write)("e2")
        finish.set()
        results["first"] = await one

    place.runner.run(scenario())
    assert isinstance(results["twin"], Retry)
    assert results["twin"].reason == "in progress elsewhere"
    assert isinstance(results["other"], Ack)
    assert isinstance(results["first"], Ack)
    assert place.left == ([1, 2], ["/tests e1", "/tests e2"])


def test_the_loop_runs_others_while_the_database_works(place: Place) -> None:
    """The first waits in the database for a lock that the second has and then gives back: if it
    held up the loop, the second could never do that."""
    order: list[str] = []
    locked = asyncio.Event()

    async def waits(event: Enrolled) -> None:
        await locked.wait()
        await place.run("select pg_advisory_xact_lock(7)")
        order.append("the lock was got")

    async def holds(event: Enrolled) -> None:
        await place.run("select pg_advisory_xact_lock(7)")
        locked.set()
        waiting = "select count(*) from pg_locks where locktype = 'advisory' and not granted"
        while not await place.run(waiting):
            await asyncio.sleep(0.005)
        order.append("somebody waits for it")

    async def scenario() -> list[Any]:
        both = dispatcher(place, waits)("e1"), dispatcher(place, holds)("e2")
        return await asyncio.wait_for(asyncio.gather(*both), 30)

    assert all(isinstance(one, Ack) for one in place.runner.run(scenario()))
    assert order == ["somebody waits for it", "the lock was got"]


def dispatcher(place: Place, does: Callable[[Enrolled], Awaitable[Any]]) -> Callable[[str], Any]:
    """What gives a delivery of the event `id` to a handler, in the loop that runs."""
    dispatch = Dispatcher(Mailing(does), middleware=[place.database])

    async def one(id: str) -> Any:
        topic = ScriptedTopic()
        event = Enrolled(number=int(id.removeprefix("e")))
        Publisher(topic, source="/tests").publish(event, id=id)
        [copy] = topic.accepted
        delivery = Delivery(
            queue="mailing",
            message_id=id,
            receipt=id,
            body=copy.body,
            attributes=copy.attributes,
            receive_count=1,
            sent_at=0,
            received_at=0,
        )
        return await dispatch(delivery)  # type: ignore[misc] # the handler is async

    return one


@pytest.mark.parametrize("kind", ["asyncpg-pool", "session-psycopg", "session-asyncpg"])
def test_an_exhausted_pool_is_told_with_its_remedy(postgres: str, kind: str) -> None:
    conninfo = prepared(postgres)

    async def scenario(runner: asyncio.Runner) -> Any:
        async with opener(kind, conninfo, size=1) as opens:
            place = Place(kind, conninfo, AsyncTransactional(opens), runner)
            # Only the one that is to be refused is in a hurry: on a busy machine a first connection
            # may take longer than it waits.
            hurried = replace(place, database=AsyncTransactional(opens, wait=0.3))
            outcomes: list[Any] = []

            async def takes(event: Enrolled) -> None:
                outcomes.append(await dispatcher(hurried, hurried.write)("e2"))

            first = await dispatcher(place, takes)("e1")
            later = await dispatcher(place, place.write)("e2")
            return first, outcomes, later

    with asyncio.Runner() as runner:
        first, [refused], later = runner.run(scenario(runner))
    assert isinstance(first, Ack)
    assert isinstance(refused, Retry)
    assert isinstance(later, Ack), "a connection was lost to the pool"


def test_the_error_of_an_exhausted_pool_says_what_to_do(postgres: str) -> None:
    @asynccontextmanager
    async def never() -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    async def does(event: Enrolled) -> None: ...

    database = AsyncTransactional(never, wait=0.05)
    error = deliver(Mailing(does), Enrolled(number=1), middleware=[database]).error
    assert isinstance(error, TransportError)
    assert error.code == "PoolExhausted"
    assert "fewer than the worker runs handlers at once" in str(error)


def test_a_plain_handler_is_refused_with_a_remedy(postgres: str) -> None:
    database = AsyncTransactional(lambda: psycopg.AsyncConnection.connect(postgres))
    billing = Billing()
    result = deliver(billing, Enrolled(number=1), middleware=[database])
    assert isinstance(result.error, ConfigurationError)
    assert "write async def, or use Transactional" in str(result.error)
    assert billing.handled == []


def test_another_database_is_refused_before_the_handler_runs() -> None:
    engine = sqlalchemy.create_engine("sqlite://")

    def opens() -> AsyncSession:
        session = AsyncSession()
        session.sync_session.bind = engine
        return session

    async def does(event: Enrolled) -> None: ...

    mailing = Mailing(does)
    result = deliver(mailing, Enrolled(number=1), middleware=[AsyncTransactional(opens)])
    engine.dispose()
    assert isinstance(result.error, ConfigurationError)
    assert "needs PostgreSQL, and SQLAlchemy is connected to sqlite" in str(result.error)
    assert mailing.handled == []


def test_what_is_no_connection_is_refused() -> None:
    async def connect() -> object:
        return Closing()

    class Closing:
        async def close(self) -> None: ...

    async def does(event: Enrolled) -> None: ...

    database = AsyncTransactional(connect)
    error = deliver(Mailing(does), Enrolled(number=1), middleware=[database]).error
    assert "unknown kind of asynchronous connection" in str(error)
    with pytest.raises(ConfigurationError, match="while a handler runs"):
        database.connection  # noqa: B018 - looked at
    with pytest.raises(ConfigurationError, match="more than 0 seconds"):
        AsyncTransactional(connect, wait=0)


def test_connections_as_their_owners_like_them(postgres: str) -> None:
    """In autocommit, with rows that are dictionaries: both are left to the owner."""
    prepared(postgres)

    def connect() -> Any:
        return psycopg.AsyncConnection.connect(postgres, autocommit=True, row_factory=dict_row)

    database = AsyncTransactional(connect)
    seen: list[Any] = []

    async def does(event: Enrolled) -> None:
        cursor = await database.connection.execute("select 1 as one")
        seen.append(await cursor.fetchone())
        await database.connection.execute("insert into effects values (1)")
        raise ValueError("x")

    assert deliver(Mailing(does), Enrolled(number=1), middleware=[database]).retried
    assert seen == [{"one": 1}]
    with psycopg.connect(postgres) as outside:
        assert outside.execute("select count(*) from effects").fetchone() == (0,)


def test_what_one_kind_has_marked_the_other_knows(postgres: str) -> None:
    prepared(postgres)
    threads = Transactional(lambda: psycopg.connect(postgres))
    loops = AsyncTransactional(lambda: asyncpg.connect(**asyncpg_arguments(postgres)))

    async def does(event: Enrolled) -> None: ...

    class Both(Mailing):
        service = "billing"

    assert deliver(Billing(), Enrolled(number=1), id="e1", middleware=[threads]).acknowledged
    again = deliver(Both(does), Enrolled(number=1), id="e1", middleware=[loops])
    assert again.why == "already handled"
    threads.close()


def test_a_worker_applies_each_of_many_events_once(postgres: str) -> None:
    """With duplicates, handlers that fail at first, and a pool that the consumer opens and
    closes in the worker's own loop."""
    prepared(postgres)
    events, copies = 20, 3
    tried: Counter[int] = Counter()

    class Pooled(Mailing):
        pool: Any

        async def open(self) -> None:
            self.pool = await asyncpg.create_pool(**asyncpg_arguments(postgres), min_size=1)

        async def close(self) -> None:
            await self.pool.close()

        @handles
        async def enrolled(self, event: Enrolled) -> None:
            await database.connection.execute(f"insert into effects values ({event.number})")
            tried[event.number] += 1
            if tried[event.number] == 1 and event.number % 3 == 0:
                raise ValueError("the first attempt fails")

    async def unused(event: Enrolled) -> None: ...

    consumer = Pooled(unused)
    database = AsyncTransactional(lambda: consumer.pool.acquire())
    with MemoryBroker(Topology.of(Pooled, topic="students")) as broker:
        with Publisher(broker.topic(), source="/tests") as publisher:
            for number in range(events):
                for _ in range(copies):
                    publisher.publish(Enrolled(number=number), id=f"e{number}")
        worker = Worker(consumer, broker=broker, concurrency=8, wait=0.05, middleware=[database])
        applied = "select count(*), count(distinct number) from effects"
        with worker, psycopg.connect(postgres, autocommit=True) as outside:
            deadline = time.monotonic() + 60
            while outside.execute(applied).fetchone() != (events, events):
                assert time.monotonic() < deadline, worker.stats
                time.sleep(0.02)
    with psycopg.connect(postgres) as outside:
        assert outside.execute(applied).fetchone() == (events, events)
