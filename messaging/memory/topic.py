"""One topic in this process, which checks requests like SNS and fans out messages to queues."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING

from messaging.batching import size_of
from messaging.clock import Clock
from messaging.dead_letters.reason import MAX_ATTRIBUTES, OUTSIDE_XML
from messaging.errors import NotFound, TransportError
from messaging.memory.faults import FaultScript, Operation, guarded
from messaging.memory.filters import Policy
from messaging.memory.ordering import Message
from messaging.memory.store import Store
from messaging.transport import BATCH_ENTRIES, Attribute, Failure, Outgoing

if TYPE_CHECKING:
    from messaging.contract.subscribers import Subscriber

__all__ = ["SubscriptionState", "MemoryTopic", "TopicState"]

DEDUPLICATION = 300
"""Seconds. https://docs.aws.amazon.com/sns/latest/dg/fifo-message-dedup.html"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscriptionState:
    """One subscription: its filter policy and queue, and the queues for failed messages."""

    wanted: Policy
    filter_policy: Mapping[str, Sequence[str]]
    queue: Store
    dead_letters: Store
    undelivered: Store


class TopicState:
    """The state that all transports of one topic share."""

    def __init__(
        self,
        name: str,
        *,
        max_bytes: int,
        lines: Sequence[SubscriptionState],
        clock: Clock,
        faults: FaultScript,
    ) -> None:
        self.name = name
        self.fifo = name.endswith(".fifo")
        self.max_bytes = max_bytes
        self.faults = faults
        self.removed = False
        self.lines = lines
        self._clock = clock
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        self._seen_in_order: deque[tuple[float, str]] = deque()
        self._number = count(1)

    def accept(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Refuse the entries that SNS would refuse; the others go to the queues."""
        failures: list[Failure] = []
        arrived: dict[int, list[Message]] = {}
        with self._lock:  # one request at a time, so that a FIFO topic keeps its order
            for index, outgoing in enumerate(batch):
                wrong = next(_mistakes(outgoing, self.fifo), None)
                if wrong is not None:
                    failures.append(Failure(index, "InvalidParameter", wrong, False))
                elif len(outgoing.attributes) <= MAX_ATTRIBUTES and not self._repeated(outgoing):
                    # With more attributes, raw delivery silently drops the message.
                    # https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html
                    attributes = dict(outgoing.attributes)
                    for place, line in enumerate(self.lines):
                        if line.wanted(attributes):
                            arrived.setdefault(place, []).append(
                                self.message(outgoing.body, attributes, outgoing.group)
                            )
            for place, messages in arrived.items():
                self._deliver(self.lines[place], messages)
        return failures

    def message(self, body: str, attributes: Mapping[str, Attribute], group: str | None) -> Message:
        """A new message with its own id, sent now."""
        return Message(
            message_id=f"00000000-0000-4000-8000-{next(self._number):012x}",
            body=body,
            attributes=attributes,
            group=group,
            sent_at=self._clock.now(),
            sent=self._clock.monotonic(),
        )

    def check_exists(self) -> None:
        if self.removed:
            raise NotFound(
                f"topic {self.name!r} does not exist in the in-process broker: it was removed; "
                "make a new MemoryBroker",
                code="NotFound",
            )

    def _repeated(self, outgoing: Outgoing) -> bool:
        if not self.fifo or outgoing.deduplication is None:
            return False
        now = self._clock.monotonic()
        while self._seen_in_order and self._seen_in_order[0][0] <= now:
            self._seen.discard(self._seen_in_order.popleft()[1])
        if outgoing.deduplication in self._seen:
            return True
        self._seen.add(outgoing.deduplication)
        self._seen_in_order.append((now + DEDUPLICATION, outgoing.deduplication))
        return False

    def _deliver(self, line: SubscriptionState, messages: list[Message]) -> None:
        if line.queue.removed:
            line.undelivered.put(messages)
            return
        lost = self._not_delivered(line.queue.name, messages)
        if lost:
            line.undelivered.put([messages[place] for place in sorted(lost)])
            messages = [one for place, one in enumerate(messages) if place not in lost]
        if messages:
            line.queue.put(messages)

    def _not_delivered(self, queue: str, messages: Sequence[Message]) -> set[int]:
        if self.faults.idle:
            return set()
        lost: set[int] = set()
        for place in range(len(messages)):
            try:
                failures = self.faults(Operation("deliver", queue, 1, "before"))
            except TransportError:
                failures = [Failure(0, "", "", False)]
            if failures:
                lost.add(place)
        return lost


class MemoryTopic:
    """A `TopicTransport` in this process. Thread-safe.

    Args:
        state: the topic's state, owned by the broker.

    Example:
        ```python
        topic = broker.topic()  # a MemoryTopic
        with Publisher(topic, source="/cadastro") as publisher:
            publisher.publish(ana)
        assert len(broker.messages("marketing")) == 1
        ```
    """

    def __init__(self, state: TopicState) -> None:
        self._state = state
        self._closed = False

    @property
    def name(self) -> str:
        return self._state.name

    @property
    def max_bytes(self) -> int:
        return self._state.max_bytes

    @property
    def fifo(self) -> bool:
        """True: messages of one group must stay in order."""
        return self._state.fifo

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Send at most 10 messages of at most `max_bytes` in total.

        See `TopicTransport.publish`.

        Raises:
            TransportError: if this transport was closed, or a fault makes the whole request fail.
        """
        state = self._state
        if self._closed:
            raise TransportError(
                f"the transport of topic {state.name!r} is closed; ask the broker for another",
                code="Closed",
                retryable=False,
            )
        if not batch:
            return ()
        return guarded(state.faults, "publish", state.name, batch, self._request)

    def subscribers(self) -> Sequence[Subscriber]:
        """The subscriptions, with their filter policies."""
        from messaging.contract.subscribers import Subscriber

        return [
            Subscriber(endpoint=line.queue.name, policy=line.filter_policy)
            for line in self._state.lines
        ]

    def close(self) -> None:
        """Close this transport: it cannot publish any more."""
        self._closed = True

    def _request(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        self._state.check_exists()
        if len(batch) > BATCH_ENTRIES:
            raise TransportError(
                f"{len(batch)} messages in one request; SNS takes {BATCH_ENTRIES}",
                code="TooManyEntriesInBatchRequest",
                retryable=False,
            )
        total = sum(size_of(one.body, one.attributes) for one in batch)
        if total > self.max_bytes:
            raise TransportError(
                f"a request of {total:,} bytes, bodies and attributes together; topic "
                f"{self.name!r} takes {self.max_bytes:,}: send fewer messages at once",
                code="BatchRequestTooLong",
                retryable=False,
            )
        return self._state.accept(batch)


def _mistakes(outgoing: Outgoing, fifo: bool) -> Iterator[str]:
    """Why SNS would refuse this entry. Names places, never what stands there."""
    if not outgoing.body:
        yield "the message is empty"
    if OUTSIDE_XML.search(outgoing.body):
        yield "the body holds a character outside XML 1.0"
    for name, (_, value) in outgoing.attributes.items():
        if not value:
            yield f"attribute {name!r} is empty"
        if isinstance(value, str) and OUTSIDE_XML.search(value):
            yield f"attribute {name!r} holds a character outside XML 1.0"
    if fifo and not outgoing.group:
        yield "a FIFO topic needs a message group"
    if fifo and not outgoing.deduplication:
        yield "a FIFO topic needs a deduplication id"
