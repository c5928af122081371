"""Messages hidden because they failed; the end of an outage makes them visible."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from messaging.clock import Clock
from messaging.transport import BATCH_ENTRIES, Delivery

__all__ = ["Postponed"]

MOST = 10_000
"""Maximum messages per queue. While so many are hidden and everything fails, no more are
received."""
SOON = 1.0
"""Seconds: a message that becomes visible sooner is not called back. And a receipt that may no
longer be the only one must not be used: another worker may have the message."""


class Postponed:
    """The receipts of failed messages while they are hidden. Thread-safe.

    SQS allows the last receipt of a hidden message to change its visibility, which is how a message
    is called back.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.hidden: dict[str, tuple[Delivery, float]] = {}
        """By id, with the time when they become visible. Only this class changes it."""
        self._back: list[tuple[Delivery, float]] = []
        """Messages to be called back."""

    def __len__(self) -> int:
        return len(self.hidden)

    def add(self, delivery: Delivery, seconds: float) -> None:
        """Record that `delivery` is hidden for so many seconds from now."""
        with self._lock:
            self.hidden[delivery.message_id] = delivery, self._clock.monotonic() + seconds

    def received(self, deliveries: Sequence[Delivery]) -> None:
        """Forget these: they were redelivered on their own."""
        with self._lock:
            for one in deliveries:
                self.hidden.pop(one.message_id, None)

    @property
    def full(self) -> bool:
        """True if as many are hidden as can be remembered."""
        if len(self.hidden) < MOST:
            return False
        now = self._clock.monotonic()
        with self._lock:
            self.hidden = {id: one for id, one in self.hidden.items() if one[1] > now}
        return len(self.hidden) >= MOST

    def call_back(self) -> int:
        """Mark all of them to be called back; returns how many."""
        with self._lock:
            self._back += self.hidden.values()
            self.hidden = {}
            return len(self._back)

    def forget(self) -> None:
        """Forget all: they become visible on their own."""
        with self._lock:
            self.hidden = {}

    def next_batch(self) -> list[Delivery]:
        """Return some of the messages to be called back that are still hidden; empty at the end."""
        batch: list[Delivery] = []
        soon = self._clock.monotonic() + SOON
        with self._lock:
            while self._back and len(batch) < BATCH_ENTRIES:
                delivery, due = self._back.pop()
                if due > soon:
                    batch.append(delivery)
        return batch
