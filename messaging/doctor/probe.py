"""Sends marked messages to the services' queues, and times them; no handler sees them."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from messaging.batching import size_of
from messaging.clock import SYSTEM_CLOCK, Clock, utc
from messaging.codec import Codec, JsonCodec
from messaging.envelope import PROBE, Envelope, new_id
from messaging.topology import Subscription, Topology
from messaging.transport import (
    Attribute,
    Broker,
    Delivery,
    Outgoing,
    QueueTransport,
    TopicTransport,
)

__all__ = ["GRACE", "Hop", "probe", "sealed", "send"]

GRACE = 0.5
"""Seconds that workers have to take a probe that doctor received first and then released."""
POLL = 1.0
"""Seconds of one receive: SQS only queries all its servers if a receive may wait."""

End = Literal[
    "arrived", "taken", "not seen", "left", "refused", "dead-lettered", "undelivered", "sent"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """The result of one service's probe.

    end        "arrived": it was in the queue, no worker took it within `GRACE` seconds, and it was
               removed again. "taken": it was in the queue, and then a worker took it. "not seen": a
               worker was faster, and its log names it; or it was lost. "left": the queue held other
               messages, so it was not searched for. "refused": by the topic. "dead-lettered": by a
               worker whose version of this library does not know probes. "undelivered": SNS could
               not deliver it. "sent": the topic accepted it, and nothing further was checked.
    published  seconds until the topic answered.
    arrived    seconds until it was received from the queue; None if it was not.
    """

    service: str
    id: str
    end: End
    published: float
    arrived: float | None = None
    code: str = ""

    @property
    def failed(self) -> bool:
        return self.end in ("refused", "dead-lettered", "undelivered")

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        return {"name": "probe", **asdict(self)}


def probe(
    topology: Topology,
    broker: Broker,
    *,
    wait: float = 5.0,
    codec: Codec | None = None,
) -> Iterator[Hop]:
    """Send one probe to each service of `topology` in turn, and follow it.

    A worker deletes a probe without calling a handler, and logs it. It is received here, for at
    most `wait` seconds, only if the queue was empty: receiving another message would count as one
    of its receives. It is then released for the workers to take; if none does, it is received again
    and deleted.
    """
    for one in topology.subscriptions:
        yield _sent(one, topology, broker, wait, codec or JsonCodec())


def send(
    topology: Topology,
    broker: Broker,
    *,
    services: Collection[str] = (),
    codec: Codec | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> Iterator[Hop]:
    """Send one probe to each of `services`, or to all, and leave it to their workers: a canary. A
    worker reports its delay in its metrics and its log. Nothing is received, so no queue is
    disturbed.

    Raises `TopologyError` for a service that is not in the topology.
    """
    for service in services:
        topology.queue(service)
    topic, words = broker.topic(), codec or JsonCodec()
    for one in topology.subscriptions:
        if services and one.service not in services:
            continue
        message = _message(one, topology.topic.fifo, words, clock)
        yield _published(one, message, topic, clock)


def _published(one: Subscription, message: Outgoing, topic: TopicTransport, clock: Clock) -> Hop:
    start = clock.monotonic()
    failures = topic.publish([message])
    return Hop(
        service=one.service,
        id=message.id,
        end="refused" if failures else "sent",
        published=clock.monotonic() - start,
        code=failures[0].code if failures else "",
    )


def _sent(one: Subscription, topology: Topology, broker: Broker, wait: float, codec: Codec) -> Hop:
    queue, clock = broker.queue(one.service), SYSTEM_CLOCK
    before = queue.depth()
    message = _message(one, topology.topic.fifo, codec, clock)
    start = clock.monotonic()
    sent = _published(one, message, broker.topic(), clock)
    if sent.failed:
        return sent
    if before.visible or before.in_flight or before.delayed:
        return replace(sent, end="left")
    arrived = None
    found = _received(queue, message, start + wait)
    if found is not None:
        # We received it first, which says nothing about the workers, so give them a chance.
        arrived = clock.monotonic() - start
        queue.change_visibility([found], [0])
        clock.sleep(GRACE)
        again = _received(queue, message, clock.monotonic() + POLL)
        if again is not None:
            queue.delete([again])
            return replace(sent, end="arrived", arrived=arrived)
    after = queue.depth()
    if after.dead_letters > before.dead_letters:
        return replace(sent, end="dead-lettered", arrived=arrived)
    if found is not None:
        return replace(sent, end="taken", arrived=arrived)
    undelivered = after.undelivered > before.undelivered
    return replace(sent, end="undelivered" if undelivered else "not seen")


def _received(queue: QueueTransport, message: Outgoing, until: float) -> Delivery | None:
    """Receive the probe, hiding it from others; None if it did not arrive."""
    while (left := until - SYSTEM_CLOCK.monotonic()) > 0:
        for delivery in queue.receive(1, min(left, POLL)):
            if delivery.body == message.body:
                return delivery
            queue.change_visibility([delivery], [0])  # another message: release it
            return None
    return None


def _message(one: Subscription, fifo: bool, codec: Codec, clock: Clock) -> Outgoing:
    envelope = Envelope(
        id=new_id(),
        source="/messaging-doctor",
        type=PROBE,
        time=utc(clock.now()),
        audience=(one.service,),
    )
    # To the filter it looks like one of the service's events; only the envelope marks it as a
    # probe.
    group = "messaging-probe" if fifo else None
    return sealed(envelope, b"{}", codec, type=one.types[0], group=group)


def sealed(
    envelope: Envelope, data: bytes, codec: Codec, *, type: str, group: str | None = None
) -> Outgoing:
    """A message built without a publisher, with the attributes that the services' filters use.

    Args:
        group: its group on a FIFO topic; None on a standard one.
    """
    body = codec.encode(envelope, data)
    attributes = {"type": Attribute.string(type), "audience": Attribute.array(envelope.audience)}
    size = size_of(body, attributes)
    return Outgoing(envelope.id, body, attributes, size, group, group and envelope.id)
