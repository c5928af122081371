"""A bad day: requests fail, answers are lost, leases end; no event is, and the accounts balance."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence

import pytest

from messaging.backoff import Backoff
from messaging.consuming.consumer import Consumer, handles
from messaging.errors import TransportError
from messaging.event import Event
from messaging.memory import MemoryBroker, Operation
from messaging.outcome import Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.topology import Topology
from messaging.transport import Failure


class Happened(Event, type="happened", version=1):
    n: int


class Service(Consumer):
    visibility_timeout = 1
    max_receives = 100

    def __init__(self) -> None:
        self.seen: set[int] = set()

    @handles
    def happened(self, event: Happened) -> None:
        if event.n % 7 == 0 and event.n not in self.seen:
            self.seen.add(event.n)
            raise Retry(delay=0)
        self.seen.add(event.n)
        if event.n % 10 == 0:
            raise Reject("no")


class BadDay:
    """One request in eight fails, before or after it was carried out, whole or in one entry."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.over = False

    def __call__(self, operation: Operation) -> Sequence[Failure] | None:
        if operation.name in ("publish", "deliver") or self.over:
            return None
        with self.lock:
            dice = self.random.random()
            place = self.random.randrange(max(1, operation.entries))
        if dice < 0.06:
            raise TransportError("a bad day", code="ServiceUnavailable")
        if dice < 0.12 and operation.name != "receive":
            return [Failure(place, "InternalError", "a bad day", dice < 0.11)]
        return None


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_ends_well_on_a_bad_day(seed, until, monkeypatch):
    monkeypatch.setattr("messaging.runtime.receiver.BACKOFF", Backoff(first=0.01, longest=30))
    monkeypatch.setattr("messaging.runtime.settlement.BACKOFF", Backoff(first=0.01, longest=5))
    day, service, count = BadDay(seed), Service(), 300
    with MemoryBroker(Topology.of(Service, topic="t"), faults=day) as broker:
        with Publisher(broker.topic(), source="/t") as publisher:
            publisher.publish_many(Happened(n=n) for n in range(count))
        with Worker(service, broker=broker, wait=0.1, concurrency=5) as worker:
            until(lambda: len(broker.messages("service")) == 0)
            report = worker.stop()
        # A lost answer may dead-letter a message twice, never not at all.
        letters = broker.dead_letters("service")
    assert report.stats.balanced
    assert report.stats.in_flight == 0
    assert service.seen == set(range(count))
    assert len({letter.body for letter in letters}) == count // 10
