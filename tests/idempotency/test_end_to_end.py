"""A worker, a queue that delivers more than once, and a database: each effect stands once."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from messaging.consuming.dispatch import Middleware
from messaging.idempotency import Idempotency, MemoryStore, SqliteStore, Transactional
from messaging.memory import MemoryBroker
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.sql import mysql, open_sqlite
from messaging.sql.driver import execute
from messaging.testing import FakeClock
from messaging.topology import Topology
from tests.idempotency.services import Billing, Enrolled, Mailing

EVENTS, COPIES = 60, 3
TOPOLOGY = Topology.of(Billing, Mailing, topic="students")


class Effects:
    """Where a handler leaves its effect; in memory, or in the transaction it shares with a mark."""

    def __init__(self, write: Callable[[int], None], read: Callable[[], list[int]]) -> None:
        self.write = write
        self.read = read


def in_memory() -> Effects:
    written: list[int] = []
    return Effects(written.append, lambda: written)


def in_database(connect: Callable[[], Any], database: Transactional) -> Effects:
    outside = connect()
    execute(outside, "create table effects (number integer)")
    outside.commit()
    outside.close()
    database.create()

    def read() -> list[int]:
        outside = connect()
        rows = [row[0] for row in execute(outside, "select number from effects").fetchall()]
        outside.close()
        return rows

    def write(number: int) -> None:
        execute(database.connection, f"insert into effects values ({number})")

    return Effects(write, read)


DATABASES = ["transaction-sqlite", "transaction-postgres", "transaction-mysql"]


@pytest.fixture(params=["memory", "sqlite", *DATABASES])
def once(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Middleware, Effects]]:
    kind = request.param
    if kind in {"memory", "sqlite"}:
        store = MemoryStore() if kind == "memory" else SqliteStore(tmp_path / "marks.db")
        yield Idempotency(store), in_memory()
        store.close()
        return
    conninfo = request.getfixturevalue("postgres") if kind == "transaction-postgres" else ""

    def connect() -> Any:
        return psycopg.connect(conninfo) if conninfo else open_sqlite(tmp_path / "service.db")

    if kind == "transaction-mysql":
        connect = mysql(request.getfixturevalue("mariadb"))
    database = Transactional(connect)
    yield database, in_database(connect, database)
    database.close()


def publish(broker: MemoryBroker, copies: int = COPIES) -> None:
    """Each event several times under one id, in any order, as SNS and SQS may do by themselves."""
    numbers = [number for number in range(EVENTS) for _ in range(copies)]
    random.Random(7).shuffle(numbers)
    with Publisher(broker.topic(), source="/tests") as publisher:
        publisher.publish_many(
            (Enrolled(number=number) for number in numbers), id=lambda event: f"e{event.number}"
        )


def run(broker: MemoryBroker, clock: FakeClock, worker: Worker, service: str) -> None:
    """Until the queue is empty. The broker's time passes quickly, so that retries come soon."""
    with worker:
        deadline = time.monotonic() + 60
        while broker.messages(service):
            assert time.monotonic() < deadline, worker.stats
            clock.advance(0.25)
            time.sleep(0.005)


def test_each_effect_once(once: tuple[Middleware, Effects]) -> None:
    middleware, effects = once
    clock = FakeClock()
    lock = threading.Lock()
    runs: Counter[int] = Counter()

    def does(event: Enrolled) -> None:
        with lock:
            runs[event.number] += 1
            first = runs[event.number] == 1
        if isinstance(middleware, Transactional):
            effects.write(event.number)  # and rolled back, if it fails now
        time.sleep(0.001)
        if first and event.number % 3 == 0:
            raise ValueError("the first attempt fails")
        if not isinstance(middleware, Transactional):
            effects.write(event.number)

    with MemoryBroker(TOPOLOGY, clock=clock) as broker:
        publish(broker)
        worker = Worker(
            Billing(does), broker=broker, concurrency=8, wait=0.05, middleware=[middleware]
        )
        run(broker, clock, worker, "billing")
        assert broker.dead_letters("billing") == ()
    assert Counter(effects.read()) == dict.fromkeys(range(EVENTS), 1)
    assert all(runs[number] >= 2 for number in range(0, EVENTS, 3))
    assert worker.stats.acknowledged >= EVENTS * COPIES


def test_each_effect_once_in_async_handlers(postgres: str) -> None:
    clock = FakeClock()

    def connect() -> Any:
        return psycopg.connect(postgres)

    database = Transactional(connect)
    effects = in_database(connect, database)

    async def does(event: Enrolled) -> None:
        effects.write(event.number)
        await asyncio.sleep(0.002)
        effects.write(-event.number - 1)  # in the same transaction, after others had the loop

    with MemoryBroker(TOPOLOGY, clock=clock) as broker:
        publish(broker)
        worker = Worker(
            Mailing(does), broker=broker, concurrency=8, wait=0.05, middleware=[database]
        )
        run(broker, clock, worker, "mailing")
        assert broker.dead_letters("mailing") == ()
    wanted = {sign: 1 for number in range(EVENTS) for sign in (number, -number - 1)}
    assert Counter(effects.read()) == wanted
    database.close()


def test_without_it_duplicates_take_effect_again() -> None:
    # So that the tests above cannot pass because nothing was delivered twice.
    effects: list[int] = []
    clock = FakeClock()
    with MemoryBroker(TOPOLOGY, clock=clock) as broker:
        publish(broker)
        worker = Worker(
            Billing(lambda event: effects.append(event.number)), broker=broker, wait=0.05
        )
        run(broker, clock, worker, "billing")
    assert len(effects) >= EVENTS * COPIES
