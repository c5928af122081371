"""The room of leases: a thread that keeps what is in hand hidden from others."""

from __future__ import annotations

import logging
import threading

from messaging.clock import Clock
from messaging.errors import TransportError
from messaging.runtime.ledger import Held, Ledger
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport

__all__ = ["Heartbeat", "longest_lease"]

log = logging.getLogger("messaging.runtime")

MOST_HIDDEN = 43_200
"""Seconds for which SQS keeps a receipt at all, counted from the receive.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""
LONGEST_TICK = 30.0
"""Seconds between two looks at the leases, at most."""


def longest_lease(held: Held, now: float) -> int:
    """Whole seconds for which this receipt can still be hidden; a little is kept for the road."""
    return max(0, int(held.received + MOST_HIDDEN - 5 - now))


class Heartbeat:
    """Renews the leases of one queue in batches. `run` is the body of its thread.

    It looks at the leases each sixth of the visibility timeout and renews those that have less
    than half of it left: a handler that ends within half of it costs no request, and a failed
    renewal can be tried twice before the lease ends.

    lock  held while leases are changed. Whoever releases a message must hold it, too, or a
          renewal under way would hide again what was released.
    """

    def __init__(self, queue: QueueTransport, ledger: Ledger, *, lease: int, clock: Clock) -> None:
        self.lock = threading.Lock()
        self._queue = queue
        self._ledger = ledger
        self._lease = lease
        self._clock = clock
        self._tick = min(LONGEST_TICK, lease / 6)
        self._stopped = threading.Event()
        self._failing = False

    def run(self) -> None:
        while not self._stopped.wait(self._tick):
            self.step()

    def step(self) -> None:
        """One look at the leases: renew those that are due."""
        due = self._ledger.due(self._clock.monotonic() + max(self._lease / 2, self._tick))
        for start in range(0, len(due), BATCH_ENTRIES):
            self._renew(due[start : start + BATCH_ENTRIES])

    def stop(self) -> None:
        """Renew no more."""
        self._stopped.set()

    def _renew(self, due: list[Held]) -> None:
        with self.lock:
            now = self._clock.monotonic()
            batch: list[tuple[Held, Delivery]] = []
            seconds: list[int] = []
            # Those that are being settled are left alone from here on, and they wait for the lock.
            for held, delivery in self._ledger.leased(due):
                lease = min(self._lease, longest_lease(held, now))
                if now + lease <= held.lease_until:
                    if lease < self._lease:
                        self._cap(held)
                else:
                    batch.append((held, delivery))
                    seconds.append(lease)
            if batch and not self._stopped.is_set():
                self._hide(batch, seconds, now)

    def _hide(self, batch: list[tuple[Held, Delivery]], seconds: list[int], now: float) -> None:
        try:
            failures = self._queue.hide([delivery for _, delivery in batch], seconds)
        except TransportError as error:
            if not self._failing:
                self._failing = True
                log.warning(
                    "cannot renew leases of %s, trying on: %s: %s",
                    self._queue.name,
                    error.code or type(error).__name__,
                    error,
                )
            return
        self._failing = False
        failed = {failure.index: failure for failure in failures}
        for index, (held, delivery) in enumerate(batch):
            failure = failed.get(index)
            if failure is None:
                self._ledger.renew(held, delivery, now + seconds[index])
            elif not failure.retryable and self._ledger.renew(held, delivery, None):
                log.warning(
                    "the lease of message %s of %s is lost (%s): it will be handled again",
                    delivery.message_id,
                    self._queue.name,
                    failure.code,
                )
            # One that failed for now is still due at the next tick.

    def _cap(self, held: Held) -> None:
        held.capped = True
        log.warning(
            "the lease of message %s of %s is renewed no more: SQS ends it 12 hours after the "
            "receive, and the message will be handled again",
            held.delivery.message_id,
            self._queue.name,
        )
