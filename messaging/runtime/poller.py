"""The room of receiving: a thread that long-polls one queue while there is room in hand."""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Sequence

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.runtime.ledger import Ledger
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport

__all__ = ["Poller"]

log = logging.getLogger("messaging.runtime")

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
"""Seconds to wait after a failed receive: doubled each time, half of it by chance."""
FIRST_IDLE, LONGEST_IDLE = 0.05, 1.0
"""Seconds to wait after an empty receive that did not wait by itself: doubled each time."""


class Poller:
    """Receives for one queue. `run` is the body of its thread, and ends after `stop`.

    room   how many receipts it waits for before it asks: a request for one message costs as much
           as a request for ten.
    taken  called with what each receive brought, which may be after `stop`.
    """

    def __init__(
        self,
        queue: QueueTransport,
        ledger: Ledger,
        *,
        room: int,
        wait: float,
        taken: Callable[[Sequence[Delivery]], None],
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._room = room
        self._wait = wait
        self._taken = taken
        self._stopped = threading.Event()
        self._failures = 0
        self._failing_since = 0.0
        self._idle = FIRST_IDLE

    def run(self) -> None:
        while free := self._ledger.room(self._room):
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
        try:
            deliveries = self._queue.receive(min(BATCH_ENTRIES, free), wait)
        except TransportError as error:
            if not self._stopped.is_set():  # else it was closed while it waited
                self._failed(error)
            return None
        if self._failures:
            self._recovered()
        if deliveries:
            self._taken(deliveries)
        return len(deliveries)

    def stop(self) -> None:
        """Ask no more. A receive that waits still ends as it will."""
        self._stopped.set()

    def _rest(self) -> None:
        self._stopped.wait(self._idle)
        self._idle = min(LONGEST_IDLE, 2 * self._idle)

    def _pause(self) -> None:
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._failures - 1, 20))
        self._stopped.wait(random.uniform(longest / 2, longest))

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
