"""A relay on PostgreSQL is woken by the commit, and looks by itself where nobody wakes it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest

from messaging.outbox import AsyncOutbox, Relay, SqlOutbox, connector
from messaging.publishing.publisher import Publisher
from messaging.transport import Failure, Outgoing
from tests.outbox.conftest import Noted, Place
from tests.scripted import ScriptedTopic

SOON = 15.0
"""Seconds, far below the polling of these relays and far above what a notification takes."""


class Told(ScriptedTopic):
    """A topic that says when it has so many messages."""

    def __init__(self) -> None:
        super().__init__()
        self._changed = threading.Condition()

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        with self._changed:
            said = super().publish(batch)
            self._changed.notify_all()
            return said

    def has(self, count: int) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: len(self.accepted) >= count, SOON)


class Watched(Relay):
    """Says when it has found nothing, and so waits."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self.waits = threading.Semaphore(0)

    def step(self) -> int:
        taken = super().step()
        if not taken:
            self.waits.release()
        return taken


@contextmanager
def running(place: Place, topic: Told, **more: Any) -> Iterator[Watched]:
    """A relay in a thread, which has found the outbox empty."""
    one = Watched(connector(place.url), topic, **more)
    thread = threading.Thread(target=one.run)
    thread.start()
    try:
        assert one.waits.acquire(timeout=SOON)
        yield one
    finally:
        one.stop()
        thread.join(SOON)
        one.close()
    assert not thread.is_alive()


def polling_rarely(one: Watched) -> None:
    """Let it find nothing so often that it waits for long."""
    for _ in range(3):
        assert one.waits.acquire(timeout=SOON)


def by_connection(place: Place, event: Noted) -> None:
    place.publish(event)


def by_sqlalchemy(place: Place, event: Noted) -> None:
    import sqlalchemy
    from sqlalchemy.orm import Session

    engine = sqlalchemy.create_engine("postgresql+psycopg://", creator=place.connect)
    with Session(engine) as session:
        Publisher(SqlOutbox(session), source="/test").publish(event)
        session.commit()
    engine.dispose()


def by_async_connection(place: Place, event: Noted) -> None:
    async def publish() -> None:
        async with await psycopg.AsyncConnection.connect(place.url) as connection:
            await AsyncOutbox(connection, source="/test").publish(event)

    asyncio.run(publish())


@pytest.mark.parametrize("publish", [by_connection, by_sqlalchemy, by_async_connection])
def test_a_commit_wakes_a_relay_that_would_look_in_a_minute(
    postgresql: Place, publish: Callable[[Place, Noted], None]
) -> None:
    topic = Told()
    with running(postgresql, topic, poll=60.0) as one:
        polling_rarely(one)
        publish(postgresql, Noted(who="a", n=1))
        assert topic.has(1)


def test_a_table_of_another_name_in_a_schema_wakes_its_relay(postgresql: Place) -> None:
    postgresql.run("CREATE SCHEMA school")
    postgresql.run("ALTER TABLE messaging_outbox RENAME TO Events")
    postgresql.run("ALTER TABLE Events SET SCHEMA school")
    topic = Told()
    with running(postgresql, topic, poll=60.0, table="school.Events") as one:
        polling_rarely(one)
        with closing(postgresql.connect()) as connection:
            outbox = SqlOutbox(connection, table="school.events")
            Publisher(outbox, source="/test").publish(Noted(who="a", n=1))
            connection.commit()
        assert topic.has(1)


def test_only_what_is_committed_and_may_notify_wakes_relays_and_tells_nothing(
    postgresql: Place,
) -> None:
    with closing(psycopg.connect(postgresql.url, autocommit=True)) as listener:
        listener.execute("LISTEN messaging_outbox")
        with closing(postgresql.connect()) as connection:
            Publisher(SqlOutbox(connection), source="/test").publish(Noted(who="a", n=1))
            connection.rollback()
            quiet = SqlOutbox(connection, notify=False)
            Publisher(quiet, source="/test").publish(Noted(who="a", n=1))
            connection.commit()
            Publisher(SqlOutbox(connection), source="/test").publish(Noted(who="b", n=1))
            Publisher(SqlOutbox(connection), source="/test").publish(Noted(who="b", n=2))
            connection.commit()
        told = list(listener.notifies(timeout=0.2))
    assert [(one.channel, one.payload) for one in told] == [("messaging_outbox", "")]


@pytest.mark.parametrize(
    ("notify", "listen"),
    [
        (False, True),  # a producer that does not say it, or a notification that was lost
        (True, False),  # a pooler that lends connections by the transaction
    ],
)
def test_where_nobody_is_told_the_relay_looks_by_itself(
    postgresql: Place, notify: bool, listen: bool
) -> None:
    topic = Told()
    with running(postgresql, topic, poll=0.05, listen=listen):
        with closing(postgresql.connect()) as connection:
            outbox = SqlOutbox(connection, notify=notify)
            Publisher(outbox, source="/test").publish(Noted(who="a", n=1))
            connection.commit()
        assert topic.has(1)


def test_a_relay_whose_connection_was_cut_listens_again(postgresql: Place) -> None:
    topic = Told()
    with running(postgresql, topic, poll=60.0) as one:
        polling_rarely(one)
        postgresql.run(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'messaging outbox'"
        )
        postgresql.publish(Noted(who="a", n=1))
        assert topic.has(1), "found when it connected"
        postgresql.publish(Noted(who="a", n=2))
        assert topic.has(2), "and told of"


def test_a_relay_that_waits_for_a_commit_stops_when_it_is_told(postgresql: Place) -> None:
    with running(postgresql, Told(), poll=60.0) as one:
        polling_rarely(one)
