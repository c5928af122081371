"""Notices when all handlers of a service hang, so that nothing is received any more."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

from messaging.clock import Clock
from messaging.consuming.consumer import Consumer
from messaging.logs import logger
from messaging.runtime.in_flight import InFlight
from messaging.tracebacks import package_of, stack_of

__all__ = ["Wedge"]

log = logger("messaging.runtime")

LONG = 300.0
"""Seconds after which a handler counts as hung if the consumer has no `handler_timeout`."""
BUSY = 60.0
"""Seconds after which a warning says that all handlers are still busy with the same message, so
that nobody has to wait for the limit to learn where they are."""
SAID_EVERY = 60.0
"""Seconds between two log lines about one service."""
MOST_PLACES = 5


class Wedge:
    """Checks the handlers of one service, each time that its leases are checked.

    happened  called when all have started to hang: waiting messages must be released.
    goes_on   called at each check while they hang, with the seconds for which the service has been
              wedged.
    over      called when one of them has ended after all.
    """

    def __init__(
        self,
        in_flight: InFlight,
        consumer: Consumer,
        *,
        concurrency: int,
        clock: Clock,
        happened: Callable[[], None],
        goes_on: Callable[[float], None],
        over: Callable[[], None],
    ) -> None:
        self._in_flight = in_flight
        self._consumer = consumer
        self._concurrency = concurrency
        self._clock = clock
        self._happened = happened
        self._goes_on = goes_on
        self._over = over
        self.limit = consumer.handler_timeout or LONG
        self._since: float | None = None
        self._said = 0.0
        self._told_busy = False

    @property
    def wedged(self) -> bool:
        """True if no handler can start, because all that may run have hung for too long."""
        return self._since is not None

    def wedged_for(self, now: float) -> float | None:
        """Seconds for which the service has been wedged; None if it is not."""
        since = self._since
        return None if since is None else now - since

    def look(self) -> None:
        """Check whether the service is wedged, and report it."""
        now = self._clock.monotonic()
        running = [
            message.started
            for message in (*self._in_flight.unfinished(), *self._in_flight.given_up)
            if message.started is not None and message not in self._in_flight.companions
        ]
        self._look_whether_busy([one for one in running if now - one > BUSY])
        began = [one for one in running if now - one > self.limit]
        if len(began) < self._concurrency:
            if self._since is not None:
                self._since = None
                log.warning("%s is not wedged any more: a handler ended", self._consumer.service)
                self._over()
            return
        if self._since is None:
            self._since = now
            self._said = now - SAID_EVERY
            self._happened()
        if now - self._said >= SAID_EVERY:
            self._said = now
            self._say(len(began), now - min(began))
        self._goes_on(now - self._since)

    def _look_whether_busy(self, began: list[float]) -> None:
        busy = len(began) >= self._concurrency
        if busy and not self._told_busy and self.limit > BUSY:
            log.warning(
                "%s: all %d handlers have run for more than %.0f s, and no other message is "
                "handled until one of them ends: %s; after %.0f s they count as hung (%s)",
                self._consumer.service,
                len(began),
                BUSY,
                "; ".join(self._places()) or "they wait in the event loop",
                self.limit,
                "its handler_timeout" if self._consumer.handler_timeout else "no handler_timeout",
            )
        self._told_busy = busy

    def _say(self, count: int, longest: float) -> None:
        log.error(
            "%s is wedged: all %d handlers have run for more than %.0f s, the longest for %.0f s, "
            "and nothing is received until one of them ends: %s",
            self._consumer.service,
            count,
            self.limit,
            longest,
            "; ".join(self._places()) or "they wait in the event loop",
        )

    def _places(self) -> list[str]:
        """The current lines of the service's own code in the threads that run its handlers."""
        frames = sys._current_frames()
        names = (f"messaging-{self._consumer.service}-", "messaging-loop")
        package = package_of(type(self._consumer))
        stacks = [
            stack_of(frames[thread.ident], package)
            for thread in threading.enumerate()
            if thread.name.startswith(names) and thread.ident in frames
        ]
        return list(dict.fromkeys(str(stack[-1]) for stack in stacks if stack))[:MOST_PLACES]
