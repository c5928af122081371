"""The `QueueTransport` of the in-process broker."""

from __future__ import annotations

from collections.abc import Sequence

from messaging.batching import size_of
from messaging.dead_letters import reason as dead_letter_reason
from messaging.dead_letters.reason import LARGEST
from messaging.errors import TransportError
from messaging.memory.faults import FaultScript, asked, guarded
from messaging.memory.store import Refusal, failures
from messaging.memory.topic import SubscriptionState, TopicState
from messaging.transport import BATCH_ENTRIES, DeadLetter, Delivery, Failure, QueueDepth

__all__ = ["MemoryQueue"]

LONGEST_WAIT = 20
"""Maximum seconds of a long poll.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html
"""


class MemoryQueue:
    """A `QueueTransport` in this process. Thread-safe.

    Args:
        line: the queue's subscription and messages.
        topic: the topic's state, owned by the broker.
        faults: the faults to inject.

    Example:
        ```python
        publisher.publish(ana)
        queue = broker.queue("marketing")  # a MemoryQueue
        (delivery,) = queue.receive(10, wait=0)
        queue.delete([delivery])
        assert queue.depth().in_flight == 0
        ```
    """

    def __init__(self, line: SubscriptionState, topic: TopicState, faults: FaultScript) -> None:
        self._line = line
        self._store = line.queue
        self._topic = topic
        self._faults = faults
        self._closed = False

    @property
    def name(self) -> str:
        return self._store.name

    @property
    def visibility_timeout(self) -> int:
        return self._store.visibility_timeout

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Receive at most `limit` messages; returns as soon as there is one, or on `close()`.

        See `QueueTransport.receive`.

        Raises:
            TransportError: if `limit` or `wait` is more than SQS allows, as for anything else that
                SQS would refuse.
        """
        self._check_open()
        if not 1 <= limit <= BATCH_ENTRIES:
            raise _bad(f"receive(limit={limit}): SQS gives 1 to {BATCH_ENTRIES} messages at once")
        if not 0 <= wait <= LONGEST_WAIT:
            raise _bad(f"receive(wait={wait}): SQS waits 0 to {LONGEST_WAIT} seconds")
        return asked(
            self._faults,
            "receive",
            self.name,
            limit,
            lambda: self._store.receive(limit, wait, lambda: self._closed),
        )

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Delete the messages of these receipts.

        See `QueueTransport.delete`.
        """
        self._check(len(deliveries))
        return guarded(self._faults, "delete", self.name, deliveries, self._delete)

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """Hide each delivery for its `seconds` from now; 0 releases it.

        See `QueueTransport.change_visibility`.
        """
        if len(deliveries) != len(seconds):
            raise ValueError(
                f"change_visibility: {len(deliveries)} deliveries, but {len(seconds)} times; "
                "one for each"
            )
        self._check(len(deliveries))
        both = list(zip(deliveries, seconds, strict=True))
        return guarded(self._faults, "change_visibility", self.name, both, self._change_visibility)

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        """Copy to the dead-letter queue, as new messages; nothing is deleted here.

        See `QueueTransport.dead_letter`.
        """
        self._check(len(letters))
        return guarded(self._faults, "dead_letter", self.name, letters, self._dead_letter)

    def depth(self) -> QueueDepth:
        """The depth of the queue; exact, unlike on AWS."""
        self._check_open()
        return asked(self._faults, "depth", self.name, 0, self._depth)

    def close(self) -> None:
        """Wake a waiting `receive`, which returns nothing."""
        self._closed = True
        self._store.wake()

    def _delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return failures([self._store.delete(one.receipt) for one in deliveries])

    def _change_visibility(self, both: Sequence[tuple[Delivery, int]]) -> Sequence[Failure]:
        return failures(
            [self._store.change_visibility(one.receipt, seconds) for one, seconds in both]
        )

    def _dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        refused: list[Refusal | None] = []
        for letter in letters:
            delivery = letter.delivery
            attributes = dict(dead_letter_reason.attributes(letter))
            if size_of(delivery.body, attributes) > LARGEST:
                refused.append(
                    Refusal(
                        "InvalidMessageContents",
                        f"with its reason the message has more than {LARGEST:,} bytes",
                    )
                )
                continue
            message = self._topic.message(delivery.body, attributes, delivery.group)
            self._line.dead_letters.put([message])
            refused.append(None)
        return failures(refused)

    def _depth(self) -> QueueDepth:
        return self._store.depth(
            dead_letters=len(self._line.dead_letters.messages()),
            undelivered=len(self._line.undelivered.messages()),
        )

    def _check(self, entries: int) -> None:
        self._check_open()
        if entries > BATCH_ENTRIES:
            raise TransportError(
                f"{entries} entries in one request to {self.name!r}; SQS takes {BATCH_ENTRIES}",
                code="AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
                retryable=False,
            )

    def _check_open(self) -> None:
        if self._closed:
            raise TransportError(
                f"the transport of queue {self.name!r} is closed; ask the broker for another",
                code="Closed",
                retryable=False,
            )


def _bad(message: str) -> TransportError:
    return TransportError(message, code="InvalidParameterValue", retryable=False)
