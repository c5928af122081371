"""What a user saw: a handler found the value that another message's handler had set."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.consuming.dispatch import Call
from messaging.lambda_handler import lambda_handler
from messaging.testing import FakeClock, drain

student: ContextVar[int] = ContextVar("student", default=0)
MANY = 100


class Enrolled(Event, type="student.enrolled", version=1):
    n: int


class Left(Event, type="student.left", version=1):
    n: int


class Service(Consumer):
    def __init__(self) -> None:
        self.found: list[int] = []

    @handles
    def enrolled(self, event: Enrolled) -> None:
        self.found.append(student.get())
        student.set(event.n)

    @handles
    async def left(self, event: Left) -> None:
        self.found.append(student.get())
        student.set(event.n)
        await asyncio.sleep(0)
        assert student.get() == event.n


@contextmanager
def sets(call: Call) -> Iterator[None]:
    view: Any = call.view
    assert student.get() == 0
    student.set(-view.n)
    yield


def published(kind: type[Any]) -> list[Any]:
    return [kind(n=number) for number in range(1, MANY + 1)]


@pytest.mark.parametrize("kind", [Enrolled, Left], ids=["sync", "async"])
@pytest.mark.parametrize("concurrency", [1, 8])
def test_each_handler_of_a_worker_has_a_context_of_its_own(kind, concurrency, until) -> None:
    broker = MemoryBroker(Topology.of(Service, topic="t"))
    with Publisher(broker.topic(), source="/t") as publisher:
        publisher.publish_many(published(kind))
    service = Service()
    with Worker(service, broker=broker, concurrency=concurrency, wait=0.05) as worker:
        until(lambda: worker.stats.acknowledged == MANY)
    assert service.found == [0] * MANY


@pytest.mark.parametrize("kind", [Enrolled, Left], ids=["sync", "async"])
def test_the_middleware_of_a_message_shares_its_context_and_no_other(kind) -> None:
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Service, topic="t"), clock=clock)
    with Publisher(broker.topic(), source="/t") as publisher:
        publisher.publish_many(published(kind))
    service = Service()
    drained = drain(broker, service, clock=clock, middleware=[sets])
    assert drained.acknowledged == MANY
    assert sorted(service.found) == [-number for number in range(MANY, 0, -1)]
    assert student.get() == 0


@pytest.mark.parametrize("kind", ["student.enrolled", "student.left"])
def test_in_lambda_too(kind: str) -> None:
    service = Service()
    head = f'{{"specversion":"1.0","id":"1","source":"/t","type":"{kind}","data":'
    records = [
        {"eventSource": "aws:sqs", "messageId": f"m{n}", "receiptHandle": "r",
         "body": f'{head}{{"n":{n}}}}}'}
        for n in range(1, 11)
    ]  # fmt: skip
    handler = lambda_handler(service)
    for _ in range(2):
        assert handler({"Records": records}, None) == {"batchItemFailures": []}
    assert service.found == [0] * 20


def test_what_was_set_before_the_start_is_seen_where_the_caller_runs_the_handler() -> None:
    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Service, topic="t"), clock=clock)
    with Publisher(broker.topic(), source="/t") as publisher:
        publisher.publish(Enrolled(n=1))
    service = Service()
    token = student.set(7)
    try:
        drain(broker, service, clock=clock)
    finally:
        student.reset(token)
    assert service.found == [7]
