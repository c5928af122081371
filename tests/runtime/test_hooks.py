"""`Consumer.open` and `close`: sync and async, failing and hanging, in a worker and in Lambda."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.errors import ConsumerError
from messaging.lambda_handler import lambda_handler
from messaging.runtime import Stage, hooks


class Happened(Event, type="happened", version=1):
    n: int


class Pooled(Consumer):
    service = "pooled"

    def __init__(self) -> None:
        self.said: list[str] = []
        self.loops: set[Any] = set()

    async def open(self) -> None:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        self.said.append("open")

    @handles
    async def happened(self, event: Happened) -> None:
        self.loops.add(asyncio.get_running_loop())
        self.said.append("handled")

    async def close(self) -> None:
        await asyncio.sleep(0)
        self.loops.add(asyncio.get_running_loop())
        self.said.append("close")


class Plain(Consumer):
    service = "plain"

    def __init__(self) -> None:
        self.said: list[str] = []

    def open(self) -> None:
        self.said.append("open")

    @handles
    def happened(self, event: Happened) -> None:
        self.said.append("handled")

    def close(self) -> None:
        self.said.append("close")


def broker_with(*kinds: type[Consumer]) -> MemoryBroker:
    broker = MemoryBroker(Topology.of(*kinds, topic="t"))
    with Publisher(broker.topic(), source="/t") as publisher:
        publisher.publish(Happened(n=1))
    return broker


@pytest.mark.parametrize("kind", [Pooled, Plain], ids=["async", "sync"])
def test_it_is_opened_before_the_first_message_and_closed_after_the_last(kind, until) -> None:
    consumer = kind()
    with Worker(consumer, broker=broker_with(kind), wait=0.05) as worker:
        until(lambda: worker.stats.acknowledged == 1)
    assert consumer.said == ["open", "handled", "close"]
    assert len(getattr(consumer, "loops", {1})) == 1, "its pool belongs to one event loop"


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_an_open_that_raises_ends_the_start_and_says_where(is_async, caplog) -> None:
    def fail() -> None:
        raise LookupError("Maria")

    class Sync(Plain):
        service = "plain-broken"

        def open(self) -> None:
            fail()

    class Async(Plain):
        service = "plain-broken"

        async def open(self) -> None:
            fail()

    kind = Async if is_async else Sync
    first, second = Pooled(), kind()
    worker = Worker(first, second, broker=broker_with(Pooled, kind), wait=0.05)
    with pytest.raises(
        ConsumerError, match=r"plain-broken cannot start: .*open\(\) raised Look"
    ) as e:
        worker.start()
    assert "in test_an_open_that_raises" in str(e.value)
    assert "Maria" not in f"{e.value} {caplog.text}"
    assert worker.stage is Stage.STOPPED
    assert worker.stats.received == 0
    assert first.said == ["open", "close"], "what was open is closed"
    assert worker.stop().stats.balanced


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_a_close_that_hangs_does_not_keep_the_worker(is_async, until, monkeypatch, caplog) -> None:
    monkeypatch.setattr(hooks, "CLOSE_SECONDS", 0.1)
    release = threading.Event()

    class Sync(Plain):
        service = "plain-hung"

        def close(self) -> None:
            release.wait(20)

    class Async(Plain):
        service = "plain-hung"

        async def close(self) -> None:
            await asyncio.sleep(20)

    kind = Async if is_async else Sync
    other = Pooled()
    try:
        with Worker(kind(), other, broker=broker_with(kind, Pooled), wait=0.05) as worker:
            until(lambda: worker.stats.acknowledged == 2)
        assert other.said == ["open", "handled", "close"]
        assert f"{kind.__qualname__}.close() " in caplog.text
        assert "has not ended" in caplog.text or "TimeoutError" in caplog.text
    finally:
        release.set()


def test_in_lambda_it_is_opened_once_on_the_loop_of_its_handlers() -> None:
    consumer = Pooled()
    handler = lambda_handler(consumer)
    body = '{"specversion":"1.0","id":"1","source":"/t","type":"happened","data":{"n":1}}'
    record = {"eventSource": "aws:sqs", "messageId": "m1", "receiptHandle": "r", "body": body}
    assert consumer.said == []
    for _ in range(2):
        assert handler({"Records": [record]}, None) == {"batchItemFailures": []}
    assert consumer.said == ["open", "handled", "handled"]
    assert len(consumer.loops) == 1


def test_in_lambda_an_open_that_raises_keeps_the_batch_and_is_tried_again() -> None:
    class Broken(Plain):
        service = "broken"

        def open(self) -> None:
            self.said.append("open")
            if len(self.said) == 1:
                raise ConnectionError

    consumer = Broken()
    handler = lambda_handler(consumer)
    body = '{"specversion":"1.0","id":"1","source":"/t","type":"happened","data":{"n":1}}'
    record = {"eventSource": "aws:sqs", "messageId": "m1", "receiptHandle": "r", "body": body}
    with pytest.raises(ConnectionError):
        handler({"Records": [record]}, None)
    assert handler({"Records": [record]}, None) == {"batchItemFailures": []}
    assert consumer.said == ["open", "open", "handled"]
