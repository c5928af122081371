"""Examines a topology on RabbitMQ, as far as AMQP allows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import closing

from messaging.clock import SYSTEM_CLOCK
from messaging.doctor.kinds import KINDS, Diagnosis, compared, found
from messaging.errors import AccessDenied, TransportError
from messaging.rabbitmq.looks import AmqpLooks, Difference, NotSeen, SeenOnAmqp
from messaging.rabbitmq.records import QueueRecord
from messaging.settings import Settings
from messaging.topology import Queue, Subscription, Topology
from messaging.transport import MOST_RECEIVES

__all__ = ["NOT_TOLD", "examine"]

NOT_TOLD = (
    "policies and operator policies, which may override a queue's arguments",
    "whether the bindings still are what `messaging topology apply` wrote down: --send tries them",
    "how long the oldest message has waited, and which consumer holds which",
    "memory, disk and the other nodes of a cluster",
)
"""What AMQP does not report, so that it cannot be checked."""

OLDEST, TRIED = (3, 10), (4, 3)
"""The first version with at-least-once dead lettering, and the first that has not been tested."""
LOOKS, PAUSE = 3, 0.5
"""Number of checks, and seconds between them, before a queue counts as having no receiver."""


def examine(topology: Topology, settings: Settings) -> Iterator[Diagnosis]:
    """Find everything that would go wrong with `topology` on the broker of `settings`.

    Changes nothing. `NOT_TOLD` lists what it cannot check. A resource that may not be inspected is
    a finding, and the others are still checked.
    """
    with closing(AmqpLooks(settings)) as looks:
        yield from _AmqpExamination(looks, topology.prefixed(settings.prefix)).all()


class _AmqpExamination:
    """One pass over all resources."""

    def __init__(self, looks: AmqpLooks, topology: Topology) -> None:
        self._looks = looks
        self._topology = topology

    def all(self) -> Iterator[Diagnosis]:
        """Check RabbitMQ's availability, the topic and the queues; then list what could not be
        inspected."""
        try:
            product, version = self._looks.server()
        except TransportError as error:
            refused = isinstance(error, AccessDenied)
            name, remedy = ("broker-refused", "") if refused else ("no-answer", _NETWORK)
            yield found(name, "RabbitMQ", str(error), remedy)
            return
        yield from _version(f"{product} at {self._looks.where}", version)
        yield from self._topic()
        for queue in self._topology.queues:
            yield from self._service(queue, self._topology.subscription(queue.service))
        yield from map(_not_seen, self._looks.unseen)

    def _topic(self) -> Iterator[Diagnosis]:
        name = self._topology.topic.name
        where = f"exchange {name}"
        seen = self._looks.topic(name, compare=self._topology.owns_topic)
        if seen.there is False:
            text = "it does not exist: nothing can be published"
            yield found("topic-missing", where, text, _TOPIC_REMEDY)
            return
        if (other := seen.difference) is not None:
            alternate = other.name == "alternate-exchange"
            kind = "alternate-missing" if alternate else "exchange-differs"
            yield found(kind, where, _said(other))
        unrouted = self._looks.unrouted(name, compare=self._topology.owns_topic)
        if unrouted.there is False:
            text = "its queue for messages without a subscriber does not exist: they are lost"
            yield found("alternate-missing", where, text)
        elif unrouted.messages:
            text = f"{unrouted.messages} messages are in it, to which no service subscribes"
            yield found("unrouted-messages", f"queue {name}-unrouted", text)
        if self._topology.owns_topic:
            yield from self._owned(where, self._looks.record(name), self._topology.owner or name)
            for orphan in self._looks.orphans(name):
                text = "it is listed as bound to the topic, and does not exist"
                yield found("subscriber-queue-missing", f"queue {orphan}", text)

    def _service(self, queue: Queue, subscription: Subscription) -> Iterator[Diagnosis]:
        where = f"queue {queue.name}"
        seen = self._looks.service(queue)
        if seen.there is False:
            text = "it does not exist: the service receives nothing"
            yield found("queue-missing", where, text, _QUEUE_REMEDY)
        elif seen.there:
            yield from _queue(where, seen)
            record = self._looks.record(queue.name)
            yield from self._owned(where, record, self._topology.owner_of(queue.service))
            if record is not None:
                yield from _recorded(where, queue, record)
                yield from self._bound(subscription, record)
            yield from self._backlog(queue, seen)
        yield from self._dead_letters(queue)

    def _owned(self, where: str, record: QueueRecord | None, owner: str) -> Iterator[Diagnosis]:
        if record is None:
            text = "it has no record, so its owner, lease and bindings are unknown"
            yield found("record-missing", where, text)
        elif record.owner not in ("", owner):
            text = f"its record says {record.owner!r}, the topology {owner!r}"
            yield found("another-owner", where, text)

    def _bound(self, one: Subscription, record: QueueRecord) -> Iterator[Diagnosis]:
        where = f"bindings of queue {one.queue}"
        if not record.keys:
            text = "the topic does not feed the queue: the service receives nothing"
            yield found("subscription-missing", where, text)
        elif told := compared(self._looks.wanted_keys(one), record.keys):
            yield found("filter-differs", where, f"it {'; '.join(told)}", _APPLY)

    def _backlog(self, queue: Queue, seen: SeenOnAmqp) -> Iterator[Diagnosis]:
        looked = 1
        while seen.messages and not seen.consumers and looked < LOOKS:
            SYSTEM_CLOCK.sleep(PAUSE)
            seen, looked = self._looks.service(queue), looked + 1
        if seen.messages and not seen.consumers:
            text = f"{seen.messages} messages wait, and nobody asked for any in {LOOKS} looks"
            yield found("nobody-receives", f"queue {queue.name}", text)

    def _dead_letters(self, queue: Queue) -> Iterator[Diagnosis]:
        where = f"queue {queue.dead_letters.name}"
        seen = self._looks.dead_letters(queue)
        if seen.there is False:
            text = "it does not exist: messages that cannot be handled are redelivered until expiry"
            yield found("dlq-missing", where, text)
            return
        if seen.difference is not None:
            yield found("queue-differs", where, _said(seen.difference))
        if seen.messages:
            remedy = f"messaging dlq list {queue.service}"
            yield found("dead-letters", where, f"{seen.messages} messages are in it", remedy)


_APPLY = "run `messaging topology apply`"
_NETWORK = "check the network, and MESSAGING_BROKER_URL: host, port, amqp:// or amqps://"
_TOPIC_REMEDY = (
    "its owner runs `messaging topology apply`; check virtual host and prefix if it should be there"
)
_QUEUE_REMEDY = f"{_APPLY}; check virtual host and prefix if it should be there"
_BY_ARGUMENT: Mapping[str, str] = {
    "x-dead-letter-exchange": "redrive-elsewhere",
    "x-dead-letter-routing-key": "redrive-elsewhere",
}
_ANEW = KINDS["queue-differs"].remedy


def _version(where: str, version: str) -> Iterator[Diagnosis]:
    numbers = tuple(int(one) for one in re.findall(r"\d+", version)[:2])
    if not numbers:
        return
    if numbers < OLDEST:
        text = f"version {version} loses dead letters when a node dies"
        yield found("broker-old", where, text)
    elif numbers >= TRIED:
        text = f"version {version} counts receives in a way that was not tried"
        yield found("broker-new", where, text)


def _queue(where: str, seen: SeenOnAmqp) -> Iterator[Diagnosis]:
    other = seen.difference
    if other is None:
        return
    if other.name == "x-delivery-limit" and _number(other.found) < _number(other.wanted):
        text = (
            f"RabbitMQ moves a message after {_number(other.found) + 1} receives, the retry policy "
            f"counts on {_number(other.wanted) + 1}: attempts are cut off, without a reason"
        )
        yield found("max-receives-low", where, text, _ANEW)
        return
    kind = _BY_ARGUMENT.get(other.name, "queue-differs")
    yield found(kind, where, _said(other), _ANEW)


def _number(text: str) -> int:
    """The number of an argument; an unset one is unlimited."""
    return int(text) if text.isdigit() else MOST_RECEIVES


def _recorded(where: str, queue: Queue, record: QueueRecord) -> Iterator[Diagnosis]:
    if record.visibility_timeout != queue.visibility_timeout:
        short = record.visibility_timeout < queue.visibility_timeout
        text = (
            f"its record says a lease of {record.visibility_timeout} s, the service counts on "
            f"{queue.visibility_timeout} s"
        )
        yield found("visibility-short" if short else "differs", where, text)
    if queue.contract and record.contract not in ("", queue.contract):
        text = f"it was applied for {record.contract!r}, and the code here reads {queue.contract!r}"
        yield found("contract-tag", where, text)


def _said(other: Difference) -> str:
    return f"{other.name} is {other.found}, the topology says {other.wanted}"


def _not_seen(one: NotSeen) -> Diagnosis:
    if isinstance(one.error, AccessDenied):
        return found("access-denied", one.where, f"could not look: {one.error}", _PERMISSION)
    return found("not-answered", one.where, f"could not look: {one.error}")


_PERMISSION = (
    "run it as the operator, or as the user who applies the topology: `messaging export "
    "rabbitmq-permissions`"
)
