"""A consumer of parcels whose numbers say what becomes of them, and its topology."""

from __future__ import annotations

import time
from collections.abc import Callable

from messaging.connecting import connect
from messaging.consuming.consumer import Consumer, handles
from messaging.outcome import Discard, Reject, Retry
from messaging.publishing.publisher import Publisher
from messaging.settings import Settings
from messaging.topology import Topology
from messaging.transport import Delivery
from tests.contracts.conftest import ParcelSent

PATIENCE = 60


def until(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not what():
        assert time.monotonic() < deadline, "it did not come to be"
        time.sleep(0.02)


class Counter(Consumer):
    """What each parcel's number asks for."""

    service = "counter"
    max_receives = 20

    def __init__(self) -> None:
        self.seen: list[tuple[int, int, float]] = []

    @handles
    def sent(self, parcel: ParcelSent, delivery: Delivery) -> None:
        self.seen.append((parcel.number, delivery.receive_count, time.monotonic()))
        if parcel.number == 1 and delivery.receive_count < 3:
            raise Retry(delay=1)
        if parcel.number == 2:
            raise Reject("number: no such parcel")
        if parcel.number == 3:
            raise Discard("sent twice")

    def counts(self, number: int) -> list[int]:
        return [count for one, count, _ in list(self.seen) if one == number]


TOPOLOGY = Topology.of(Counter, topic="parcels", owns_topic=True)


def publish(settings: Settings, *numbers: int) -> None:
    broker = connect(settings)
    with Publisher(broker.topic(), source="/post") as publisher:
        publisher.publish_many([ParcelSent(number=one) for one in numbers])
    broker.close()
