"""The in-process broker: one topology in memory, for tests and examples."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from typing import TypeVar

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.closing import Closing
from messaging.dead_letters.letter import Kind
from messaging.errors import NotFound, TransportError
from messaging.memory.dead_letters import MemoryDeadLetters
from messaging.memory.faults import Faults, FaultScript, OperationName, Planned
from messaging.memory.filters import policy
from messaging.memory.ordering import StoredMessage
from messaging.memory.queue import MemoryQueue
from messaging.memory.store import Store
from messaging.memory.topic import MemoryTopic, SubscriptionState, TopicState
from messaging.topology import DeadLetterQueue, Queue, Subscription, Topology
from messaging.transport import Attribute, Failure

__all__ = ["MemoryBroker"]

_Given = TypeVar("_Given", MemoryTopic, MemoryQueue)


class MemoryBroker(Closing):
    """A `Broker` in this process: SNS's fan-out and SQS's queues, without a server.

    It simulates filter policies, visibility timeouts, receipts, redrive to dead-letter queues and
    FIFO groups, using the given `clock`. Messages live as long as the broker. Thread-safe; not
    shared between processes. Not simulated: retention, queue policies, the limit of messages in
    flight, SNS's own retries (undeliverable messages are `undelivered` immediately), and
    deduplication of dead letters.

    Args:
        topology: the desired topic, queues and subscriptions.
        clock: the time source; a test may pass a `FakeClock`.
        faults: called before and after every request; see `messaging.memory.Faults` and
            `fail_next`.

    Example:
        ```python
        with MemoryBroker(topology) as broker:
            Publisher(broker.topic(), source="/cadastro").publish(ana)
            (message,) = broker.messages("marketing")  # the message in marketing's queue
            assert message.receive_count == 0
        ```
    """

    def __init__(
        self, topology: Topology, *, clock: Clock = SYSTEM_CLOCK, faults: Faults | None = None
    ) -> None:
        self._topology = topology
        self._clock = clock
        self._faults = FaultScript(faults)
        both = zip(topology.queues, topology.subscriptions, strict=True)
        self._lines = {queue.service: self._line(queue, one) for queue, one in both}
        self._topic = TopicState(
            topology.topic.name,
            max_bytes=topology.topic.max_bytes,
            lines=tuple(self._lines.values()),
            clock=clock,
            faults=self._faults,
        )
        self._lock = threading.Lock()
        self._given: weakref.WeakSet[MemoryTopic | MemoryQueue] = weakref.WeakSet()

    @property
    def topology(self) -> Topology:
        return self._topology

    def topic(self) -> MemoryTopic:
        """A new transport to the topic."""
        return self._give(MemoryTopic(self._topic))

    def queue(self, service: str) -> MemoryQueue:
        """A new transport to the queue of `service`.

        Args:
            service: the name of a service.

        Raises:
            NotFound: if the topology has no such service.
        """
        return self._give(MemoryQueue(self._of(service), self._topic, self._faults))

    def close(self) -> None:
        """Close all of the broker's transports; waiting `receive` calls return."""
        with self._lock:
            given = list(self._given)
        for transport in given:
            transport.close()

    def send(
        self,
        service: str,
        body: str,
        *,
        attributes: Mapping[str, Attribute] | None = None,
        delay: float = 0,
        group: str | None = None,
    ) -> str:
        """Put a message directly into the queue of `service`, bypassing topic and filter.

        Use it for messages from other senders: an unreadable body, a wrapped notification. Visible
        after `delay` seconds. Returns the message id.

        Args:
            service: the name of a service.
            body: the unmodified text.
            attributes: the message attributes.
            delay: seconds until it is visible.
            group: the message group, on a FIFO queue.
        """
        message = self._topic.message(body, dict(attributes or {}), group)
        self._of(service).queue.put([message], delay)
        return message.message_id

    def messages(self, service: str) -> tuple[StoredMessage, ...]:
        """The messages in the queue of `service` now, in flight or not, in the order sent.

        Args:
            service: the name of a service.
        """
        return _stored(self._of(service).queue)

    def dead_letters(self, service: str) -> tuple[StoredMessage, ...]:
        """The messages in the dead-letter queue of `service` now.

        Args:
            service: the name of a service.
        """
        return _stored(self._of(service).dead_letters)

    def undelivered(self, service: str) -> tuple[StoredMessage, ...]:
        """The messages that the topic could not deliver to the queue of `service`.

        Args:
            service: the name of a service.
        """
        return _stored(self._of(service).undelivered)

    def letters(self, service: str, *, kind: Kind = "dead") -> MemoryDeadLetters:
        """The dead letters or undelivered messages of `service`, for a `Workbench`.

        Args:
            service: the name of a service.
            kind: "dead" for the dead letters, "undelivered" for messages that could not be
                delivered.
        """
        return MemoryDeadLetters(self._of(service), self._topic, kind)

    def remove(self, name: str) -> None:
        """Delete a queue or the topic by name, as if it had been deleted on AWS.

        Later use of it raises `NotFound`; messages published for a deleted queue are `undelivered`.

        Args:
            name: the name of the queue or the topic.

        Raises:
            NotFound: if the topology has no such queue or topic.
        """
        if name == self._topic.name:
            self._topic.removed = True
            return
        for line in self._lines.values():
            if name == line.queue.name:
                line.queue.remove()
                return
        raise NotFound(f"no topic and no queue {name!r} in this topology")

    def fail_next(
        self,
        operation: OperationName,
        *,
        service: str | None = None,
        entries: Sequence[int] = (),
        code: str = "InternalError",
        retryable: bool = True,
        error: TransportError | None = None,
        lost: bool = False,
        times: int = 1,
    ) -> None:
        """Make the next `times` requests of this kind fail.

        By default, the whole request fails with a `TransportError` of `code`, or with `error`; with
        `entries`, only these indexes of the batch are refused, in the result. With `lost`, the
        request is carried out but its response is lost (or wrong, with `entries`). `service`
        selects a queue; without it, any.

        Args:
            operation: the kind of request.
            service: the queue's service; None for any.
            entries: indexes in the batch that are refused; if empty, the whole request fails.
            code: the error's code.
            retryable: whether the error says that retrying may help.
            error: the exception, instead of one created from `code`.
            lost: carry out the request, but lose the response; with `entries`, it is wrong.
            times: how many requests.

        Example:
            ```python
            broker.fail_next("publish", code="Throttling", times=2)
            assert publisher.publish(ana).copies == 1  # it was retried
            ```
        """
        failures = tuple(
            Failure(place, code, "refused on demand by a test", retryable) for place in entries
        )
        whole = error or TransportError(
            f"{operation} failed on demand of a test", code=code, retryable=retryable
        )
        self._faults.add(
            Planned(
                name=operation,
                target=None if service is None else self._of(service).queue.name,
                stage="after" if lost else "before",
                error=None if failures else whole,
                failures=failures,
                times=times,
            )
        )

    def _line(self, queue: Queue, subscription: Subscription) -> SubscriptionState:
        def letters(where: DeadLetterQueue) -> Store:
            return Store(where.name, clock=self._clock)

        dead_letters = letters(queue.dead_letters)
        return SubscriptionState(
            wanted=policy(subscription.filter_policy),
            filter_policy=subscription.filter_policy,
            queue=Store(
                queue.name,
                clock=self._clock,
                visibility_timeout=queue.visibility_timeout,
                max_receives=queue.max_receives,
                dead_letters=dead_letters,
            ),
            dead_letters=dead_letters,
            undelivered=letters(subscription.undelivered),
        )

    def _of(self, service: str) -> SubscriptionState:
        try:
            return self._lines[service]
        except KeyError:
            raise NotFound(
                f"no queue for service {service!r}: this topology has "
                f"{', '.join(self._lines)}; give its consumer to Topology.of(...)",
                code="AWS.SimpleQueueService.NonExistentQueue",
            ) from None

    def _give(self, transport: _Given) -> _Given:
        with self._lock:
            self._given.add(transport)
        return transport


def _stored(store: Store) -> tuple[StoredMessage, ...]:
    return tuple(message.stored() for message in store.messages())
