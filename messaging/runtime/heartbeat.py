"""The heartbeat: a thread that keeps messages in flight hidden from other workers, up to a limit.

    it checks     every  tick = min(30, lease / 6, handler_timeout / 4), and when a limit is reached
    it renews     leases with less than max(lease / 2, tick) left, in batches of ten
    until         now + min(lease, first + max_lease - now, received + 43,195 - now)

where `lease` is the queue's visibility timeout, `first` the time at which the message first arrived
and `received` that of the newest receipt; all in seconds. 43,195 is the 12 hours for which SQS
keeps a receipt, minus a few seconds for the request. A handler that ends within half a lease costs
no request, and a failed renewal can be retried twice before the lease ends.

When a renewal would gain nothing, the handler is told to end (`CancelToken`), and an async one is
cancelled: up to half a lease is left to end in an orderly way. After that, or when a sync handler
exceeds its `handler_timeout`, the message is given up.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

from messaging.answers import ask
from messaging.batching import batches
from messaging.clock import Clock
from messaging.logs import logger
from messaging.runtime.in_flight import HANDLER_TIMEOUT, LOST, MAX_LEASE, InFlight, InFlightMessage
from messaging.transport import Delivery, QueueTransport

__all__ = ["Heartbeat", "longest_lease"]

log = logger("messaging.runtime")

MOST_HIDDEN = 43_200
"""Maximum seconds for which SQS keeps a receipt, counted from the receive."""
LONGEST_TICK = 30.0
"""Maximum seconds between two checks of the leases."""
SHORTEST_TICK = 0.005


def longest_lease(message: InFlightMessage, now: float) -> int:
    """Whole seconds for which this receipt can still be extended, minus a reserve for the
    request."""
    return max(0, int(message.received + MOST_HIDDEN - 5 - now))


class Heartbeat:
    """Renews leases and enforces time limits for one queue. `run` is the body of its thread.

    lock  held while leases are changed. Code that releases a message must hold it too, or a renewal
          in flight would hide the released message again.
    tell  called when a handler should end, with the reason.
    look  called at the end of each check.
    """

    def __init__(
        self,
        queue: QueueTransport,
        in_flight: InFlight,
        *,
        lease: int,
        max_lease: float = MOST_HIDDEN,
        handler_timeout: float | None = None,
        tell: Callable[[InFlightMessage, str], None],
        look: Callable[[], None] = lambda: None,
        clock: Clock,
    ) -> None:
        self.lock = threading.Lock()
        self._queue = queue
        self._in_flight = in_flight
        self._lease = lease
        self._max_lease = max(float(lease), max_lease)
        self._timeout = handler_timeout
        self._tell = tell
        self._look = look
        self._clock = clock
        self._tick = min(LONGEST_TICK, lease / 6, (handler_timeout or LONGEST_TICK * 4) / 4)
        self._stopped = threading.Event()
        self._failing = False
        self.renewed = 0
        """The number of renewals so far, and of leases found to be lost."""
        self.lost = 0
        self._looked_at: float | None = None

    def run(self) -> None:
        wait = self._tick
        while not self._stopped.wait(wait):
            wait = self.step()

    def step(self) -> float:
        """Check the messages in flight once; returns the seconds until the next check."""
        now = self._looked_at = self._clock.monotonic()
        margin = max(self._lease / 2, self._tick)
        due = [
            message
            for message in self._in_flight.every()
            if message.lease_until < now + margin and not (message.lost or message.capped)
        ]
        for some in batches(due):
            self._renew(some)
        running = [one for one in self._in_flight.unfinished() if one.started is not None]
        soonest = max(SHORTEST_TICK, min([self._tick, *map(self._look_at, running)]))
        self._look()
        return soonest

    def still_for(self, now: float) -> float:
        """Seconds since the last check; 0 before the first."""
        return 0.0 if self._looked_at is None else now - self._looked_at

    def stop(self) -> None:
        """Stop renewing."""
        self._stopped.set()

    def _look_at(self, message: InFlightMessage) -> float:
        """Check whether its handler exceeds a limit; returns the seconds until it may."""
        now = self._clock.monotonic()
        if message.lost:
            if not message.told:
                self._tell(message, LOST)
            return self._tick
        if message.capped:
            if message.lease_until <= now:
                self._give_up(message)
            return message.lease_until - now
        if self._timeout is None or message.started is None:
            return self._tick
        if (left := message.started + self._timeout - now) <= 0:
            self._time_out(message)
        return max(left, 0.0) or self._tick

    def _time_out(self, message: InFlightMessage) -> None:
        message.ending, message.capped = HANDLER_TIMEOUT, True
        self._tell(message, HANDLER_TIMEOUT)
        if message.cancel is None:  # a thread cannot be stopped from outside
            self._give_up(message)
        else:
            log.warning(
                "the handler of message %s of %s has run for %.1f s (handler_timeout): it is "
                "cancelled",
                message.delivery.message_id,
                self._queue.name,
                self._timeout,
            )

    def _give_up(self, message: InFlightMessage) -> None:
        if self._in_flight.give_up(message):
            log.warning(
                "message %s of %s is given up because of the %s of its handler, which still runs: "
                "its result will be ignored, and the message is redelivered when its lease ends",
                message.delivery.message_id,
                self._queue.name,
                message.ending,
            )

    def _renew(self, due: Sequence[InFlightMessage]) -> None:
        capped = []
        with self.lock:
            now = self._clock.monotonic()
            batch: list[tuple[InFlightMessage, Delivery]] = []
            seconds: list[int] = []
            # Messages being settled are left alone from here on, and their settlement waits for the
            # lock.
            for message, delivery in self._in_flight.leased(due):
                rest = message.first + self._max_lease - now
                lease = max(0, int(min(self._lease, rest, longest_lease(message, now))))
                if now + lease > message.lease_until:
                    batch.append((message, delivery))
                    seconds.append(lease)
                elif lease < self._lease:
                    capped.append(message)
            if batch and not self._stopped.is_set():
                self._change_visibility(batch, seconds, now)
        for message in capped:
            self._cap(message)

    def _change_visibility(
        self, batch: list[tuple[InFlightMessage, Delivery]], seconds: list[int], now: float
    ) -> None:
        answer = ask(
            lambda deliveries: self._queue.change_visibility(deliveries, seconds),
            [delivery for _, delivery in batch],
            f"hide of {self._queue.name}",
        )
        if answer.whole:
            if not self._failing:
                self._failing = True
                _, code, text, *_ = answer.failures[0]
                log.warning(
                    "cannot renew leases of %s, trying on: %s: %s", self._queue.name, code, text
                )
            return
        self._failing = False
        failed = {failure.index: failure for failure in answer.failures}
        for index, (message, delivery) in enumerate(batch):
            failure = failed.get(index)
            if failure is None:
                self._in_flight.renew(message, delivery, now + seconds[index])
                self.renewed += 1
            elif not failure.retryable and self._in_flight.renew(message, delivery, None):
                self.lost += 1
                log.warning(
                    "the lease of message %s of %s is lost (%s): it will be handled again",
                    delivery.message_id,
                    self._queue.name,
                    failure.code,
                )
            # A renewal that failed temporarily is still due at the next tick.

    def _cap(self, message: InFlightMessage) -> None:
        message.ending, message.capped = MAX_LEASE, True
        if message.outcome is None:
            self._tell(message, MAX_LEASE)
        log.warning(
            "the lease of message %s of %s is no longer renewed, %.0f s after its receive "
            "(max_lease,"
            " and 12 hours at most): it is redelivered when the lease ends, in %.0f s",
            message.delivery.message_id,
            self._queue.name,
            self._clock.monotonic() - message.first,
            message.lease_until - self._clock.monotonic(),
        )
