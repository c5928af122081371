"""`Consumer.open` and `close`: sync and async, failing and hanging, in a worker and in Lambda."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from messaging import Consumer, Event, MemoryBroker, Publisher, Topology, Worker, handles
from messaging.errors import ConsumerError
from messaging.lambda_handler import lambda_handler
from messaging.runtime import Stage, hooks

ROOT = Path(__file__).resolve().parents[2]


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


WAITING = """
import asyncio, sys, threading
from messaging import Consumer, Event, MemoryBroker, Topology, Worker, handles

class Happened(Event, type="happened", version=1):
    n: int

class First(Consumer):
    def open(self):
        print("first open", flush=True)
    @handles
    def happened(self, event: Happened) -> None: ...
    def close(self):
        print("first closed", flush=True)

class Sync(Consumer):
    service = "second"
    def open(self):
        print("waits", flush=True)
        threading.Event().wait()
    @handles
    def happened(self, event: Happened) -> None: ...
    def close(self):
        print("second closed", flush=True)

class Async(Sync):
    async def open(self):
        print("waits", flush=True)
        try:
            await asyncio.Event().wait()
        finally:
            print("cancelled", flush=True)

class Third(First):
    service = "third"
    def open(self):
        print("third open", flush=True)

second = {"sync": Sync, "async": Async}[sys.argv[1]]
broker = MemoryBroker(Topology.of(First, second, Third, topic="t"))
report = Worker(First(), second(), Third(), broker=broker).run()
print(report.stats.received, flush=True)
"""


@pytest.mark.parametrize(
    ("kind", "says"),
    [("sync", []), ("async", ["cancelled"])],
)
def test_a_signal_ends_a_worker_whose_consumer_waits_for_a_database_in_open(kind, says) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WAITING, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, cwd=ROOT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "first open\n"
        assert process.stdout.readline() == "waits\n"
        process.send_signal(signal.SIGTERM)
        printed, logged = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    assert (process.returncode, logged.count("Traceback")) == (0, 0), logged
    assert printed.splitlines() == [*says, "first closed", "0"]


@pytest.mark.parametrize("kind", [Pooled, Plain], ids=["async", "sync"])
def test_a_worker_that_was_stopped_before_its_start_opens_nothing(kind) -> None:
    consumer = kind()
    worker = Worker(consumer, broker=broker_with(kind))
    worker.stop()
    assert worker.run().stats.received == 0
    assert consumer.said == []


def test_a_consumer_without_an_open_of_its_own_is_closed_when_another_does_not_open() -> None:
    class Broken(Plain):
        service = "broken"

        def open(self) -> None:
            raise ConnectionError

    class Old(Plain):
        service = "old"
        open = Consumer.open

    old, broken, never = Old(), Broken(), Pooled()
    worker = Worker(broken, never, old, broker=broker_with(Broken, Pooled, Old), wait=0.05)
    with pytest.raises(ConsumerError, match="broken cannot start"):
        worker.start()
    assert (broken.said, never.said, old.said) == ([], [], ["close"])


def test_a_close_that_awaits_what_it_has_cancelled_is_an_error_of_its_own(until, caplog) -> None:
    class Careless(Pooled):
        service = "careless"

        async def close(self) -> None:
            task = asyncio.create_task(asyncio.sleep(60))
            await asyncio.sleep(0)
            task.cancel()
            await task

    other = Plain()
    with Worker(Careless(), other, broker=broker_with(Careless, Plain), wait=0.05) as worker:
        until(lambda: worker.stats.acknowledged == 2)
    assert "Careless.close() raised CancelledError at " in caplog.text
    assert other.said == ["open", "handled", "close"]


@pytest.mark.parametrize("is_async", [True, False], ids=["async", "sync"])
def test_an_open_that_ends_the_process_ends_the_start(is_async) -> None:
    class Sync(Plain):
        service = "leaving"

        def open(self) -> None:
            sys.exit(3)

    class Async(Plain):
        service = "leaving"

        async def open(self) -> None:
            sys.exit(3)

    kind = Async if is_async else Sync
    worker = Worker(kind(), broker=broker_with(kind), wait=0.05)
    with pytest.raises(ConsumerError, match=r"leaving cannot start: .* raised SystemExit at "):
        worker.start()
    assert worker.stage is Stage.STOPPED


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
