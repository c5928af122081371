"""One queue in this process that behaves like SQS: its visible and its hidden messages."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from messaging.clock import SYSTEM_CLOCK, Clock, SystemClock
from messaging.errors import NotFound
from messaging.memory.invisible import InvisibleMessages
from messaging.memory.ordering import FifoOrder, Message, StandardOrder
from messaging.transport import Delivery, Failure, QueueDepth, Receive

__all__ = ["Refusal", "Store", "failures"]

LONGEST = 43_200
"""Maximum seconds for which one receive can hide a message, including all renewals.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

_GLANCE = 0.01
"""Seconds of real time between two checks of a clock that is not the system's."""


class Refusal(NamedTuple):
    """Why one entry was refused; always the sender's fault, so never to be retried."""

    code: str
    message: str


class Store:
    """One queue. All operations hold its own lock, and use the given clock.

    max_receives  a message that has been received this many times goes to `dead_letters` instead of
                  being received again; 0 for never.

    Unlike SQS, it keeps messages for as long as it exists (no retention), and has no limit of
    messages in flight.
    """

    def __init__(
        self,
        name: str,
        *,
        clock: Clock,
        visibility_timeout: int = 30,
        max_receives: int = 0,
        dead_letters: Store | None = None,
    ) -> None:
        self.name = name
        self._visibility_timeout = visibility_timeout
        self._fifo = name.endswith(".fifo")
        self._max_receives = max_receives if dead_letters is not None else 0
        self._dead_letters = dead_letters
        self._clock = clock
        self._exact = isinstance(clock, SystemClock)
        self._changed = threading.Condition(threading.Lock())
        self._messages: dict[str, Message] = {}
        self._shelf = FifoOrder() if self._fifo else StandardOrder()
        self._sleepers = InvisibleMessages()
        self.removed = False

    @property
    def visibility_timeout(self) -> int:
        self.check_exists()
        return self._visibility_timeout

    def put(self, messages: Sequence[Message], delay: float = 0) -> None:
        """Add messages; each becomes visible after `delay` seconds."""
        with self._changed:
            for message in messages:
                self._messages[message.message_id] = message
                if delay > 0:
                    message.state = "delayed"
                    self._sleepers.change_visibility(message, self._clock.monotonic() + delay)
                else:
                    message.state = "visible"
                    self._shelf.add(message)
            self._changed.notify_all()

    def receive(self, limit: int, wait: float, closed: Callable[[], bool]) -> list[Delivery]:
        """Up to `limit` messages; waits until there is one, `wait` is over or `closed()` is true.

        With a test's own clock, `wait` is over as soon as it has passed on that clock or in real
        time: a clock that is never advanced must not hang the test.
        """
        started = self._clock.now()
        deadline = self._clock.monotonic() + wait
        patience = SYSTEM_CLOCK.monotonic() + wait
        with self._changed:
            while True:
                self.check_exists()
                if closed():
                    return []
                now = self._clock.monotonic()
                taken = self._take(limit, now, started)
                if taken or now >= deadline or SYSTEM_CLOCK.monotonic() >= patience:
                    return taken
                self._changed.wait(self._nap(now, deadline))

    def delete(self, receipt: str) -> Refusal | None:
        """Delete the message of `receipt`.

        If the receipt is not its message's last one, it is accepted but the message stays, which
        SQS documents as possible; in a FIFO queue it has expired and is refused. Deleting a message
        that is already gone is also accepted.
        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_DeleteMessage.html
        """
        with self._changed:
            self.check_exists()
            self._wake_sleepers(self._clock.monotonic())
            message, refusal = self._of(receipt)
            if refusal is not None or message is None:
                return refusal
            current = message.receipt == receipt
            if self._fifo and not (current and message.state == "in flight"):
                return Refusal("InvalidParameterValue", "the receipt handle has expired")
            if current:
                self._drop(message)
                self._changed.notify_all()
            return None

    def change_visibility(self, receipt: str, seconds: int) -> Refusal | None:
        """Hide the message of `receipt` for `seconds` from now; 0 makes it visible immediately.

        https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
        """
        if not 0 <= seconds <= LONGEST:
            return Refusal("InvalidParameterValue", f"seconds must be 0 to {LONGEST:,}")
        with self._changed:
            self.check_exists()
            now = self._clock.monotonic()
            self._wake_sleepers(now)
            message, refusal = self._of(receipt)
            if refusal is not None:
                return refusal
            if message is None or message.receipt != receipt:
                return Refusal(
                    "InvalidParameterValue",
                    "the message is deleted, or was received again: this receipt is void",
                )
            if message.state != "in flight":
                return Refusal("MessageNotInflight", "its visibility timeout is over")
            if seconds and now + seconds > message.received + LONGEST:
                return Refusal(
                    "InvalidParameterValue",
                    f"a receive hides a message for at most {LONGEST:,} seconds altogether",
                )
            self._sleepers.change_visibility(message, now + seconds)
            self._wake_sleepers(now)
            self._changed.notify_all()
            return None

    def depth(self, *, dead_letters: int, undelivered: int) -> QueueDepth:
        """How full it is, beside what others have counted."""
        with self._changed:
            self.check_exists()
            now = self._clock.monotonic()
            self._wake_sleepers(now)
            states = Counter(message.state for message in self._messages.values())
            oldest = next(iter(self._messages.values()), None)
            return QueueDepth(
                visible=states["visible"],
                in_flight=states["in flight"],
                delayed=states["delayed"],
                oldest=None if oldest is None else now - oldest.sent,
                dead_letters=dead_letters,
                undelivered=undelivered,
            )

    def messages(self) -> tuple[Message, ...]:
        """All messages in the queue, in the order sent."""
        with self._changed:
            self._wake_sleepers(self._clock.monotonic())
            return tuple(self._messages.values())

    def wake(self) -> None:
        """Wake all waiting receivers."""
        with self._changed:
            self._changed.notify_all()

    def remove(self) -> None:
        """Delete the queue: its messages are lost, and further use of it fails."""
        with self._changed:
            self.removed = True
            self._messages.clear()
            self._changed.notify_all()

    def check_exists(self) -> None:
        """Raises `NotFound` for a queue that was removed."""
        if self.removed:
            raise NotFound(
                f"queue {self.name!r} does not exist in the in-process broker: it was removed; "
                "make a new MemoryBroker",
                code="AWS.SimpleQueueService.NonExistentQueue",
            )

    def _take(self, limit: int, now: float, started: float) -> list[Delivery]:
        self._wake_sleepers(now)
        receive = Receive(started=started, ended=self._clock.now(), count=0)
        taken: list[Delivery] = []
        while picked := self._shelf.pick(limit - len(taken)):
            for message in picked:
                if self._max_receives and message.receive_count >= self._max_receives:
                    self._redrive(message)
                else:
                    taken.append(self._receive(message, now, receive))
            if len(taken) == limit:
                break
        receive.count = len(taken)
        return taken

    def _receive(self, message: Message, now: float, receive: Receive) -> Delivery:
        message.receive_count += 1
        message.received = now
        message.state = "in flight"
        self._shelf.take(message)
        self._sleepers.change_visibility(message, now + self._visibility_timeout)
        return Delivery(
            queue=self.name,
            message_id=message.message_id,
            receipt=message.receipt,
            body=message.body,
            attributes=message.attributes,
            receive_count=message.receive_count,
            sent_at=message.sent_at,
            received_at=receive.ended,
            group=message.group,
            receive=receive,
        )

    def _redrive(self, message: Message) -> None:
        if self._dead_letters is not None:  # always true if max_receives is set
            # A dead-letter queue's lock is only ever taken while holding its queue's lock.
            self._dead_letters.put([replace(message)])
        self._drop(message)

    def _drop(self, message: Message) -> None:
        self._shelf.remove(message)
        message.state = "gone"
        del self._messages[message.message_id]

    def _wake_sleepers(self, now: float) -> None:
        for message in self._sleepers.woken(now):
            if message.state == "in flight":
                self._shelf.back(message)
            else:
                self._shelf.add(message)
            message.state = "visible"

    def _nap(self, now: float, deadline: float) -> float:
        if not self._exact:
            return _GLANCE
        return max(0.0, self._sleepers.soonest(deadline) - now)

    def _of(self, receipt: str) -> tuple[Message | None, Refusal | None]:
        message_id, slash, number = receipt.partition("/")
        if not slash or not number.isdigit():
            return None, Refusal("ReceiptHandleIsInvalid", "not a receipt of this queue")
        return self._messages.get(message_id), None


def failures(refused: Sequence[Refusal | None]) -> list[Failure]:
    """The refused entries of a batch, by index."""
    return [
        Failure(index, one.code, one.message, False)
        for index, one in enumerate(refused)
        if one is not None
    ]
