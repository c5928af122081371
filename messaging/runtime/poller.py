"""The room of receiving: a thread that long-polls one queue while there is room in hand."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import TransportError
from messaging.runtime.appetite import Appetite
from messaging.runtime.patience import pause_after
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport

__all__ = ["Poller"]

log = logging.getLogger("messaging.runtime")

FIRST_IDLE, LONGEST_IDLE = 0.05, 1.0
"""Seconds to wait after an empty receive that did not wait by itself: doubled each time."""


class Poller:
    """Receives for one queue. `run` is the body of its thread, and ends after `stop`.

    taken  called with what each receive brought, which may be after `stop`, and the moment from
           which its leases count.
    """

    def __init__(
        self,
        queue: QueueTransport,
        appetite: Appetite,
        *,
        wait: float,
        clock: Clock,
        taken: Callable[[Sequence[Delivery], float], None],
    ) -> None:
        self._queue = queue
        self._appetite = appetite
        self._wait = wait
        self._clock = clock
        self._taken = taken
        self._stopped = threading.Event()
        self._failures = 0
        self._failing_since = 0.0
        self._idle = FIRST_IDLE

    def run(self) -> None:
        while free := self._appetite.room():
            asked = SYSTEM_CLOCK.monotonic()
            brought = self.step(free, self._wait)
            if brought is None:
                self._pause()
            elif brought:
                self._idle = FIRST_IDLE
            elif SYSTEM_CLOCK.monotonic() - asked < min(self._wait, FIRST_IDLE):
                self._rest()  # a long poll came back at once and empty-handed
            elif self._wait < FIRST_IDLE:
                self._rest()  # a short poll: without a pause it would spin

    def step(self, free: int, wait: float) -> int | None:
        """One receive of at most `free` messages: how many it brought, None if it failed."""
        asked = self._clock.monotonic()
        try:
            deliveries = self._queue.receive(min(BATCH_ENTRIES, free), wait)
        except TransportError as error:
            if not self._stopped.is_set():  # else it was closed while it waited
                self._failed(error)
            return None
        if self._failures:
            self._recovered()
        if deliveries:
            # Beyond its wait it was the answer that was slow, and the leases began before that.
            answered = self._clock.monotonic()
            self._taken(deliveries, answered - max(0.0, answered - asked - wait))
        return len(deliveries)

    def stop(self) -> None:
        """Ask no more. A receive that waits still ends as it will."""
        self._stopped.set()

    def _rest(self) -> None:
        self._stopped.wait(self._idle)
        self._idle = min(LONGEST_IDLE, 2 * self._idle)

    def _pause(self) -> None:
        self._stopped.wait(pause_after(self._failures))

    def _failed(self, error: TransportError) -> None:
        self._failures += 1
        if self._failures == 1:
            self._failing_since = SYSTEM_CLOCK.monotonic()
            log.warning(
                "cannot receive from %s, trying on: %s: %s",
                self._queue.name,
                error.code or type(error).__name__,
                error,
            )

    def _recovered(self) -> None:
        log.warning(
            "receiving from %s again, after %d failures in %.0f s",
            self._queue.name,
            self._failures,
            SYSTEM_CLOCK.monotonic() - self._failing_since,
        )
        self._failures = 0
