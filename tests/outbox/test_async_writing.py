"""Events that an asynchronous transaction commits with its own rows, by each driver."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import psycopg
import pytest
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from messaging.errors import ConfigurationError, EventTooLarge, PublishError, TransportError
from messaging.idempotency import AsyncTransactional, PostgresStore
from messaging.outbox import AsyncOutbox, Relay, connector
from messaging.testing import deliver
from tests.idempotency.services import Enrolled as Happened
from tests.idempotency.services import Mailing
from tests.idempotency.test_async_transactional import engine_url, opener, run
from tests.outbox.conftest import Enrolled, Noted, Place, noted
from tests.scripted import ScriptedTopic

KINDS = ["psycopg", "asyncpg", "session-psycopg", "session-asyncpg", "connection-asyncpg"]

Write = Callable[[Any], Awaitable[None]]


@asynccontextmanager
async def transaction(kind: str, conninfo: str, *, commit: bool = True) -> AsyncIterator[Any]:
    """A connection or a session of the application's, in a transaction."""
    async with AsyncExitStack() as stack:
        if kind.startswith("connection"):
            engine = create_async_engine(engine_url(conninfo, kind.partition("-")[2]))
            stack.push_async_callback(engine.dispose)
            connection = await stack.enter_async_context(engine.connect())
        else:
            opened = (await stack.enter_async_context(opener(kind, conninfo)))()
            connection = opened if isinstance(opened, AsyncSession) else await opened
            stack.push_async_callback(connection.close)
        ends = connection
        if kind == "asyncpg":
            ends = connection.transaction()
            await ends.start()
        yield connection
        await (ends.commit() if commit else ends.rollback())


def tables(place: Place) -> tuple[int, int]:
    """Entries of the outbox, and rows of the application."""
    [[entries]] = place.rows("count(*)", order="1")
    with psycopg.connect(place.url) as outside:
        [students] = outside.execute("SELECT count(*) FROM students").fetchone()  # type: ignore[misc]
    return entries, students


async def insert(connection: Any) -> None:
    if kind_is_sqlalchemy(connection):
        import sqlalchemy

        await connection.execute(sqlalchemy.text("INSERT INTO students VALUES ('Ana')"))
    else:
        await run(connection, "INSERT INTO students VALUES ('Ana')")


def kind_is_sqlalchemy(connection: object) -> bool:
    return type(connection).__module__.startswith("sqlalchemy")


@pytest.mark.parametrize("commit", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_both_rows_stand_after_the_commit_and_neither_after_a_rollback(
    postgresql: Place, kind: str, commit: bool
) -> None:
    async def scenario() -> None:
        async with transaction(kind, postgresql.url, commit=commit) as connection:
            await insert(connection)
            outbox = AsyncOutbox(connection, source="/test")
            published = await outbox.publish(Enrolled(who="Ana", fee=1), id="e1")
            assert (published.id, published.copies) == ("e1", 2)
            await outbox.publish_many(noted(*["Bia"] * 25))
            assert tables(postgresql) == (0, 0), "seen before the commit"

    asyncio.run(scenario())
    assert tables(postgresql) == ((27, 1) if commit else (0, 0))
    topic = ScriptedTopic()
    with Relay(connector(postgresql.url), topic) as relay:
        relay.drain()
    assert len(topic.accepted) == (27 if commit else 0)
    if commit:
        assert [one.id for one in topic.accepted].count("e1") == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_missing_table_is_told_without_what_the_event_says(postgresql: Place, kind: str) -> None:
    async def scenario() -> str:
        async with transaction(kind, postgresql.url, commit=False) as connection:
            outbox = AsyncOutbox(connection, source="/test", table="elsewhere")
            assert repr(outbox) == "AsyncOutbox(table='elsewhere')"
            with pytest.raises(TransportError, match="the outbox elsewhere could not") as refused:
                await outbox.publish(Noted(who="Secret", n=1))
            assert not refused.value.retryable
            assert refused.value.__cause__ is None
            return str(refused.value)

    said = asyncio.run(scenario())
    assert "Secret" not in said
    assert "(42P01)" in said


def test_without_a_transaction_it_is_refused(postgresql: Place) -> None:
    async def by_asyncpg() -> None:
        async with opener("asyncpg", postgresql.url) as opens:
            connection = await opens()
            with pytest.raises(TransportError, match="no transaction is open"):
                await AsyncOutbox(connection, source="/test").publish(Noted(who="Ana", n=1))
            await connection.close()

    async def by_psycopg() -> None:
        connection = await psycopg.AsyncConnection.connect(postgresql.url, autocommit=True)
        outbox = AsyncOutbox(connection, source="/test")
        with pytest.raises(TransportError, match="no transaction is open"):
            await outbox.publish(Noted(who="Ana", n=1))
        async with connection.transaction():
            await outbox.publish(Noted(who="Bia", n=1))
        await connection.close()

    async def by_sqlalchemy() -> None:
        url = engine_url(postgresql.url, "asyncpg")
        engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
        async with AsyncSession(engine) as session:
            with pytest.raises(TransportError, match="autocommit"):
                await AsyncOutbox(session, source="/test").publish(Noted(who="Ana", n=1))
        await engine.dispose()

    for one in (by_asyncpg, by_psycopg, by_sqlalchemy):
        asyncio.run(one())
    assert postgresql.rows("key") == [("Bia",)]


def test_of_events_one_of_which_cannot_be_sent_none_is_written(postgresql: Place) -> None:
    async def scenario() -> None:
        async with transaction("asyncpg", postgresql.url) as connection:
            outbox = AsyncOutbox(connection, source="/test", max_bytes=2_000)
            with pytest.raises(EventTooLarge):
                await outbox.publish(Noted(who="x" * 3_000, n=1))
            with pytest.raises(PublishError):
                await outbox.publish_many([Noted(who="Ana", n=1), Noted(who="x" * 3_000, n=2)])
            assert (await outbox.publish_many([])).consumed == 0
            await outbox.publish(Noted(who="Bia", n=3))

    asyncio.run(scenario())
    assert postgresql.rows("key") == [("Bia",)]


def test_what_is_no_asynchronous_connection_is_refused(postgresql: Place) -> None:
    with (
        psycopg.connect(postgresql.url) as connection,
        pytest.raises(ConfigurationError, match="unknown kind of asynchronous connection"),
    ):
        AsyncOutbox(connection, source="/test")


@pytest.mark.parametrize("fails", [False, True])
@pytest.mark.parametrize("kind", ["psycopg", "asyncpg-pool", "session-asyncpg"])
def test_a_handler_publishes_in_the_transaction_of_its_mark(
    postgresql: Place, kind: str, fails: bool
) -> None:
    """Effect, mark and event: all of them, or none."""
    PostgresStore(postgresql.url).create().close()

    async def does(event: Happened) -> None:
        await insert(database.connection)
        await AsyncOutbox(database.connection, source="/mail").publish(Noted(who="Ana", n=1))
        if fails:
            raise ValueError("x")

    with asyncio.Runner() as runner:
        made = opener(kind, postgresql.url)
        database = AsyncTransactional(runner.run(made.__aenter__()))
        result = deliver(
            Mailing(does), Happened(number=1), id="e1", middleware=[database], runner=runner
        )
        runner.run(made.__aexit__(None, None, None))
    assert result.acknowledged is not fails
    assert tables(postgresql) == ((0, 0) if fails else (1, 1))
    with psycopg.connect(postgresql.url) as outside:
        marks = outside.execute("SELECT count(*) FROM messaging_handled").fetchone()
    assert marks == ((0,) if fails else (1,))
