"""Messages that are hidden because they failed; the end of an outage calls them back."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from messaging.clock import Clock
from messaging.transport import BATCH_ENTRIES, Delivery

__all__ = ["Postponed"]

MOST = 10_000
"""Messages of one queue. While so many are hidden and all fails, no more are received."""
SOON = 1.0
"""Seconds: a message that is visible by then comes by itself. Nor may a receipt be used that is no
longer the only one: the message might be in other hands."""


class Postponed:
    """The receipts of failed messages while they are hidden. Safe to use from any thread.

    SQS lets the last receipt of a hidden message change its visibility, which is how the message
    is called back.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ChangeMessageVisibility.html
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.hidden: dict[str, tuple[Delivery, float]] = {}
        """By their ids, with the moment when they come. Nobody else changes it."""
        self._back: list[tuple[Delivery, float]] = []
        """Those that are to be called back."""

    def __len__(self) -> int:
        return len(self.hidden)

    def add(self, delivery: Delivery, seconds: float) -> None:
        """`delivery` was hidden for so many seconds from now."""
        with self._lock:
            self.hidden[delivery.message_id] = delivery, self._clock.monotonic() + seconds

    def received(self, deliveries: Sequence[Delivery]) -> None:
        """These have come by themselves."""
        with self._lock:
            for one in deliveries:
                self.hidden.pop(one.message_id, None)

    @property
    def full(self) -> bool:
        """True: as many are hidden as are remembered."""
        if len(self.hidden) < MOST:
            return False
        now = self._clock.monotonic()
        with self._lock:
            self.hidden = {id: one for id, one in self.hidden.items() if one[1] > now}
        return len(self.hidden) >= MOST

    def call_back(self) -> int:
        """All of them are to come now; returns how many those are."""
        with self._lock:
            self._back += self.hidden.values()
            self.hidden = {}
            return len(self._back)

    def forget(self) -> None:
        """They come when they come."""
        with self._lock:
            self.hidden = {}

    def next_batch(self) -> list[Delivery]:
        """Some of those that are to be called back and are still hidden; empty at the end."""
        batch: list[Delivery] = []
        soon = self._clock.monotonic() + SOON
        with self._lock:
            while self._back and len(batch) < BATCH_ENTRIES:
                delivery, due = self._back.pop()
                if due > soon:
                    batch.append(delivery)
        return batch
