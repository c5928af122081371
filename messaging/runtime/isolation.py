"""Handles messages that may have killed a process alone, so that they do not harm others.

When a process dies, every message in flight has used up a receive. A message that kills its process
would thereby take innocent messages with it to the dead-letter queue.
"""

from __future__ import annotations

import math
import random
import threading
from collections import OrderedDict
from collections.abc import Sequence

from messaging.logs import logger
from messaging.outcome import Reject
from messaging.runtime.in_flight import InFlight, InFlightMessage
from messaging.transport import Delivery

__all__ = ["Isolation"]

log = logger("messaging.runtime")

SUSPECT_AFTER = 3
"""Receives after which a message becomes a suspect, if none of them ended here. At most half of
`max_receives`, so that its neighbours, which were received as often, have as many left."""
ENOUGH = 20
"""Number of messages handled alone without harm after which no more are isolated, except those
already held: high receive counts then have another reason, such as an outage or a restart. A new
process starts over."""
ENOUGH_RECEIVES = 0.8
"""Share of `max_receives` at which a suspect is dead-lettered. Messages behind it in its group were
received as often, and have the rest left."""
MOST_REMEMBERED = 20_000


class Isolation:
    """Holds suspects until nothing else is in flight, and lets them run one at a time.

    Thread-safe.

    in_flight     all that is in hand, which is told when one of it is to be alone.
    last_receive  the receive after which SQS moves a message without a reason.
    """

    def __init__(self, queue: str, in_flight: InFlight, *, last_receive: int) -> None:
        self._queue = queue
        self.threshold = min(SUSPECT_AFTER, last_receive // 2)
        """Maximum receives of a message that is not yet a suspect."""
        self._enough = math.ceil(last_receive * ENOUGH_RECEIVES)
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._held: list[InFlightMessage] = []
        self._running: InFlightMessage | None = None
        self.active = False
        """True if nothing else should be received."""
        self._survived = 0
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Messages that ended here and will be redelivered: their handlers do not kill the
        process."""

    def suspects(self, delivery: Delivery) -> bool:
        """Whether this message may have killed processes."""
        return (
            delivery.receive_count > self.threshold
            and self._survived < ENOUGH
            and delivery.message_id not in self._ended
        )

    def hold(self, message: InFlightMessage) -> None:
        """Keep a suspect until nothing else is in flight."""
        with self._lock:
            self._held.append(message)
            # The innocent neighbours of a killer were received as often as it was, or less often.
            # Among those received equally often, half go before it each time, at random.
            self._held.sort(key=lambda one: (-one.delivery.receive_count, random.random()))
            self._say()

    def blocks(self, delivery: Delivery) -> bool:
        """True if a suspect of the same group comes first."""
        group = delivery.group
        if group is None or not self.active:
            return False
        with self._lock:
            suspects = [*self._held, *([self._running] if self._running else [])]
            return any(one.delivery.group == group for one in suspects)

    def next(self) -> InFlightMessage | None:
        """Return a suspect that may be handled now, alone."""
        with self._lock:
            if (
                not self._held
                or self._running is not None
                or self._in_flight.count > len(self._held)
            ):
                return None
            message = self._running = self._held.pop()
            self._say()
        log.warning(
            "message %s of %s has been received %d times without an end that was seen here: it is "
            "handled alone, as it may end its process",
            message.delivery.message_id,
            self._queue,
            message.delivery.receive_count,
        )
        return message

    def verdict(self, message: InFlightMessage) -> Reject | None:
        """The outcome of a suspect that must not be handled any more."""
        count = message.delivery.receive_count
        if count < self._enough:
            return None
        return Reject(f"received {count} times and never ended: it may end its process")

    def left(self, message: InFlightMessage) -> None:
        """Record that it has been settled, or given up."""
        with self._lock:
            if message is self._running:
                self._running = None
                self._survived += 1
            elif message in self._held:
                self._held.remove(message)
            self._say()

    def comes_again(self, delivery: Delivery) -> None:
        """Record that it was released here, and killed nothing."""
        self._ended[delivery.message_id] = None
        self._ended.move_to_end(delivery.message_id)
        while len(self._ended) > MOST_REMEMBERED:
            self._ended.popitem(last=False)

    def drain(self) -> Sequence[InFlightMessage]:
        """Remove and return the held suspects."""
        with self._lock:
            suspects, self._held = self._held, []
            self._say()
        return suspects

    def _say(self) -> None:
        """Update the plain attributes; the lock is held."""
        self._in_flight.alone = alone = self._running is not None
        self.active = alone or bool(self._held)
