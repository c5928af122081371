"""Two thousand events over four queues: all handled, and nothing stays behind."""

from __future__ import annotations

import asyncio
import gc
import threading

import psutil

from messaging.consuming.consumer import Consumer, handles
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.runtime import Stats, Worker
from messaging.topology import Topology


class Happened(Event, type="happened", version=1):
    n: int


class Counting(Consumer):
    def __init__(self) -> None:
        self.seen: set[int] = set()


class One(Counting):
    @handles
    def happened(self, event: Happened) -> None:
        self.seen.add(event.n)


class Two(Counting):
    @handles
    async def happened(self, event: Happened) -> None:
        await asyncio.sleep(0)
        self.seen.add(event.n)


class Three(Counting):
    """Each tenth event is retried once."""

    @handles
    def happened(self, event: Happened) -> None:
        if event.n % 10 == 0 and event.n not in self.seen:
            self.seen.add(event.n)
            raise Retry(delay=0)
        self.seen.add(event.n)


class Four(Counting):
    """Each hundredth event is rejected."""

    @handles
    async def happened(self, event: Happened) -> None:
        await asyncio.to_thread(self.seen.add, event.n)
        if event.n % 100 == 0:
            raise Reject("no")


def test_two_thousand_events_leave_no_thread_and_no_descriptor(until):
    gc.collect()
    process = psutil.Process()
    threads, descriptors = set(threading.enumerate()), process.num_fds()
    children = set(process.children())  # a server that other tests share, say
    consumers = One(), Two(), Three(), Four()
    count = 2000
    with MemoryBroker(Topology.of(One, Two, Three, Four, topic="t")) as broker:
        with Publisher(broker.topic(), source="/t") as publisher:
            publisher.publish_many(Happened(n=n) for n in range(count))
        with Worker(*consumers, broker=broker) as worker:
            until(lambda: worker.stats.acknowledged + worker.stats.dead_lettered == 4 * count)
        assert worker.stats_of("three") == Stats(
            received=count + 200, acknowledged=count, released=200
        )
        assert worker.stats_of("four") == Stats(
            received=count, acknowledged=count - 20, dead_lettered=20
        )
        assert [len(broker.messages(one.service)) for one in consumers] == [0, 0, 0, 0]
        assert len(broker.dead_letters("four")) == 20
    assert all(one.seen == set(range(count)) for one in consumers)
    until(lambda: not set(threading.enumerate()) - threads)
    assert process.num_fds() <= descriptors
    assert set(process.children()) <= children
