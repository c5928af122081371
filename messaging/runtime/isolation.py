"""Handles alone what may have killed a process, so that its neighbours do not die with it.

Whatever is in hand when a process dies has been received once more. A message that kills its
process would so take its innocent neighbours to the dead-letter queue.
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
"""Receives after which a message is suspected, if none of them ended here. At most half of
`max_receives`, so that its neighbours, which were received as often, have as many left."""
ENOUGH = 20
"""Messages that were handled alone and killed nobody, after which no more are isolated: high counts
then have another reason, such as an outage or a restart. A process that dies starts anew."""
ENOUGH_RECEIVES = 0.8
"""Of `max_receives`: a suspect that has come so far is dead-lettered. Those behind it in its group
were received as often, and have the rest left."""
MOST_REMEMBERED = 20_000


class Isolation:
    """Holds suspects until nothing else is in hand, and lets them go one at a time.

    Safe to use from any thread.

    in_flight     all that is in hand, which is told when one of it is to be alone.
    last_receive  the receive after which SQS moves a message without a reason.
    """

    def __init__(self, queue: str, in_flight: InFlight, *, last_receive: int) -> None:
        self._queue = queue
        self.threshold = min(SUSPECT_AFTER, last_receive // 2)
        """Receives of a message that is not suspected yet, at most."""
        self._enough = math.ceil(last_receive * ENOUGH_RECEIVES)
        self._in_flight = in_flight
        self._lock = threading.Lock()
        self._held: list[InFlightMessage] = []
        self._running: InFlightMessage | None = None
        self.active = False
        """True: nothing else is to be received."""
        self._survived = 0
        self._ended: OrderedDict[str, None] = OrderedDict()
        """Messages that ended here and come again: their handlers kill nobody."""

    def suspects(self, delivery: Delivery) -> bool:
        """Whether this message may have killed processes."""
        return (
            delivery.receive_count > self.threshold
            and self._survived < ENOUGH
            and delivery.message_id not in self._ended
        )

    def hold(self, message: InFlightMessage) -> None:
        """Keep a suspect until nothing else is in hand."""
        with self._lock:
            self._held.append(message)
            # The innocent neighbours of a killer were received as often as it was, or less often.
            # Of those received equally often, chance lets half go before it each time.
            self._held.sort(key=lambda one: (-one.delivery.receive_count, random.random()))
            self._say()

    def blocks(self, delivery: Delivery) -> bool:
        """True: a suspect of the same group comes first."""
        group = delivery.group
        if group is None or not self.active:
            return False
        with self._lock:
            suspects = [*self._held, *([self._running] if self._running else [])]
            return any(one.delivery.group == group for one in suspects)

    def next(self) -> InFlightMessage | None:
        """A suspect that may be handled now, alone."""
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
        """The outcome of a suspect that is not to be handled any more."""
        count = message.delivery.receive_count
        if count < self._enough:
            return None
        return Reject(f"received {count} times and never ended: it may end its process")

    def left(self, message: InFlightMessage) -> None:
        """It has been settled, or given up."""
        with self._lock:
            if message is self._running:
                self._running = None
                self._survived += 1
            elif message in self._held:
                self._held.remove(message)
            self._say()

    def comes_again(self, delivery: Delivery) -> None:
        """It was released here, and killed nobody."""
        self._ended[delivery.message_id] = None
        self._ended.move_to_end(delivery.message_id)
        while len(self._ended) > MOST_REMEMBERED:
            self._ended.popitem(last=False)

    def drain(self) -> Sequence[InFlightMessage]:
        """Take out those that are held."""
        with self._lock:
            suspects, self._held = self._held, []
            self._say()
        return suspects

    def _say(self) -> None:
        """The lock is held, and what it guards has changed."""
        self._in_flight.alone = alone = self._running is not None
        self.active = alone or bool(self._held)
