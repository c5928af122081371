"""Sends marked messages to the services' queues, and times them; no handler sees one."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

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
"""Seconds that workers have for a probe which doctor found first, and gave back."""
POLL = 1.0
"""Seconds of one look at the queue: SQS asks all its servers only where a receive may wait."""

End = Literal[
    "arrived", "taken", "not seen", "left", "refused", "dead-lettered", "undelivered", "sent"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hop:
    """How one service's probe went.

    end        "arrived": it was in the queue, no worker took it within `GRACE` seconds, and it was
               taken out again. "taken": it was in the queue, and then a worker took it. "not
               seen": a worker was quicker, and its log names it; or it was lost. "left": the queue
               held other messages, so it was not looked for. "refused": by the topic.
               "dead-lettered": by a worker whose version of this library does not know probes.
               "undelivered": SNS could not deliver. "sent": the topic took it, and nobody looked
               further.
    published  seconds until the topic had answered.
    arrived    seconds until it was received from the queue; None where it was not.
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
    """One probe for each service of `topology`, one after the other.

    A worker deletes a probe without a handler and logs it. Only from a queue that is empty is it
    received here, for at most `wait` seconds: to receive what is not ours counts as a receive. It
    is given back then, for the workers to take; if none does, it is received again and deleted.
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
    """One probe for each of `services`, or for all, left to their workers: a canary. A worker tells
    its delay by its metrics and in its log. Nothing is received, so it disturbs no queue.

    Raises `TopologyError` for a service that the topology does not have.
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
        # Here first, which says nothing about workers: their turn.
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
    """The probe, hidden from others; None where it did not come."""
    while (left := until - SYSTEM_CLOCK.monotonic()) > 0:
        for delivery in queue.receive(1, min(left, POLL)):
            if delivery.body == message.body:
                return delivery
            queue.change_visibility([delivery], [0])  # somebody else's, and it is theirs again
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
    # The filter lets it pass as one of the service's events; the envelope says what it is.
    group = "messaging-probe" if fifo else None
    return sealed(envelope, b"{}", codec, type=one.types[0], group=group)


def sealed(
    envelope: Envelope, data: bytes, codec: Codec, *, type: str, group: str | None = None
) -> Outgoing:
    """A message that no publisher made, with the attributes that filters of services look at.

    Args:
        group: its group on a FIFO topic; None on any other.
    """
    body = codec.encode(envelope, data)
    attributes = {"type": Attribute.string(type), "audience": Attribute.array(envelope.audience)}
    size = len(body.encode()) + sum(value.size(name) for name, value in attributes.items())
    return Outgoing(envelope.id, body, attributes, size, group, group and envelope.id)
