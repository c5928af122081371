"""Back-pressure: decides how many messages may be received now, and waits until some may."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from enum import Enum

from messaging.clock import SYSTEM_CLOCK
from messaging.runtime.breaker import Breaker
from messaging.runtime.in_flight import InFlight
from messaging.runtime.isolation import Isolation
from messaging.runtime.rate import TokenBucket
from messaging.transport import BATCH_ENTRIES, Delivery

__all__ = ["BackPressure", "State"]

SLOWLY = 0.2
"""Weight of the latest handler in the moving average of handler times."""
BEYOND = 1_000
"""Maximum number of messages held beyond `concurrency` and `prefetch`, either because the queue is
far away (with a latency of 30 ms this allows 16,000 a second), or because they wait for others of
their group."""
WAYS = 3
"""Round trips for which the handlers should have work: one for the receives in flight, one for the
deletes, and one in reserve for late answers."""
BEYOND_BYTES = 64 * 1024 * 1024
"""Maximum total size of their bodies, in bytes."""
LONGEST_NAP = 1.0
"""Seconds between two checks of a clock that may not be the system's."""


class State(Enum):
    """A service's receiving state."""

    RECEIVING = "receiving"
    PAUSED = "paused"
    WEDGED = "wedged"
    OPEN = "circuit open"
    LIMITED = "rate limited"


class BackPressure:
    """Limits how many messages one service holds.

    Messages requested by receives in flight count as held.

    Args:
        concurrency: handlers that run at the same time, minus those that hang beyond their limit.
        prefetch: messages that may wait in addition. Fewer when handlers are slow: at the recent
            average handler time, all waiting messages can start within half a lease. None:
            `concurrency`, and while answers are slow as many more as the handlers can finish in
            three round trips (`WAYS`; at most `BEYOND`).
        lease: the visibility timeout, in seconds.
        wedged: whether all handlers hang.
        rate: the token bucket of the rate limit, one token per message; None: no limit.
        behind: how many held messages wait for another one of their group (FIFO), and so not for a
            handler. They take no room: no other worker could handle them meanwhile.
    """

    def __init__(
        self,
        in_flight: InFlight,
        breaker: Breaker,
        isolation: Isolation,
        *,
        concurrency: int,
        prefetch: int | None,
        lease: float,
        wedged: Callable[[], bool] = lambda: False,
        rate: TokenBucket | None = None,
        behind: Callable[[], int] = int,  # zero
    ) -> None:
        self._behind = behind
        self._rate = rate
        if rate is not None:
            rate.refilled = self.look_again
        self._wedged = wedged
        self._isolation = isolation
        self._in_flight = in_flight
        self._breaker = breaker
        self._concurrency = concurrency
        self._prefetch = concurrency if prefetch is None else prefetch
        self._chooses = prefetch is None
        self.way = 0.0
        """Seconds from a receive to its answer while several are in flight; otherwise 0."""
        self._weight = 0.0
        """Recent average size of a message's body, in bytes."""
        self._lease = lease
        self.mean: float | None = None
        """Recent average seconds that a handler takes; None if unknown."""
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiters = 0
        self._asked = 0
        self._closed = False

    @property
    def state(self) -> State:
        if self._in_flight.paused:
            return State.PAUSED
        if self._wedged():
            return State.WEDGED
        if self._breaker.open:
            return State.OPEN
        limited = self._rate is not None and self._rate.free() - self._asked < 1
        return State.LIMITED if limited else State.RECEIVING

    @property
    def asked(self) -> int:
        """How many messages the receives in flight may return."""
        return self._asked

    def took(self, seconds: float) -> None:
        """Record that a handler took `seconds`."""
        mean = self.mean
        self.mean = seconds if mean is None else mean + SLOWLY * (seconds - mean)

    def free(self, least: int | None = None) -> int:
        """How many may be received; 0 if those are fewer than `least`.

        least  so many are worth a request; None: ten beside a request that is out, and otherwise
               half of those that may wait.
        """
        if self._closed or self._in_flight.paused or self._isolation.active or self._wedged():
            return 0
        able = self._concurrency - self._in_flight.stuck
        waiting = self._waiting()
        if self._breaker.open:
            if self._breaker.crowded:
                return 0
            able, waiting = min(able, max(1, self._concurrency // 2)), 0
        if able <= 0:
            return 0
        if least is None:
            half = max(1, min(BATCH_ENTRIES, waiting // 2))
            least = BATCH_ENTRIES if self._asked else half
        held = self._in_flight.load
        if behind := self._behind():
            held -= min(behind, self._beyond())
        free = able + waiting - held - self._asked
        if self._rate is not None:
            least = min(least, self._rate.most)
            free = min(free, self._rate.free() - self._asked)
        return free if free >= least else 0

    def room(self, patience: float | None = None) -> int:
        """Wait until a request is worthwhile, and return how many messages to ask for; 0 after
        `close`, or after `patience` seconds. Call `answered` for each request.

        Room for one message is not worth a request while there may be more soon: a request for one
        costs as much as one for ten. While another request is in flight, only a full one is
        worthwhile.
        """
        until = None if patience is None else SYSTEM_CLOCK.monotonic() + patience
        with self._lock:  # the condition's own lock; entering it directly costs a third
            # Set before checking, so that a later change sees it and wakes us.
            self._waiters += 1
            try:
                while not self._closed:
                    free = min(BATCH_ENTRIES, self.free())
                    if free:
                        self._asked += free
                        if self._waiters > 1 and self.free():
                            self._changed.notify()
                        return free
                    nap = self._nap(until)
                    if nap is not None and nap <= 0:
                        return 0
                    self._changed.wait(nap)
                return 0
            finally:
                self._waiters -= 1

    def take(self, least: int | None = None) -> int:
        """`room` without waiting: how many to ask for, 0 if it is not worth it now (see `free`)."""
        with self._lock:
            free = min(BATCH_ENTRIES, self.free(least))
            self._asked += free
            return free

    def answered(self, asked: int, deliveries: Sequence[Delivery] = ()) -> None:
        """A request for so many messages has ended, and its messages are in flight."""
        if deliveries:
            if self._rate is not None:
                self._rate.took(len(deliveries))
            if self.way or self._behind():  # otherwise the size is not needed
                mean = sum([len(one.body) for one in deliveries]) / len(deliveries)
                self._weight += (mean - self._weight) * SLOWLY if self._weight else mean
        with self._lock:
            self._asked -= asked
        self.look_again()

    def look_again(self) -> None:
        """Wake a waiting `room`: there may be room now."""
        if self._waiters:
            with self._changed:
                self._changed.notify()

    def pause(self) -> None:
        """Receive nothing until `resume`."""
        self._in_flight.paused = True

    def resume(self) -> None:
        self._in_flight.paused = False
        self.look_again()

    def close(self) -> None:
        """Receive nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _nap(self, until: float | None) -> float | None:
        """Seconds until the next check without being woken; None for never."""
        naps = [LONGEST_NAP] if self._breaker.open else []
        if self._rate is not None:
            # A message that ends wakes us; tokens arrive on their own.
            due = self._rate.wait(min(BATCH_ENTRIES, self._rate.most))
            naps.append(min(LONGEST_NAP, due) if due > 0 else LONGEST_NAP)
        if until is not None:
            naps.append(until - SYSTEM_CLOCK.monotonic())
        return min(naps, default=None)

    def _beyond(self) -> int:
        """How many messages may be held beyond `concurrency` and `prefetch`, given their size."""
        return min(BEYOND, int(BEYOND_BYTES / max(1.0, self._weight)))

    def _waiting(self) -> int:
        mean = self.mean
        if not mean:
            return self._prefetch
        prefetch = self._prefetch
        if self.way and self._chooses:
            prefetch += min(self._beyond(), int(WAYS * self._concurrency * self.way / mean))
        return min(prefetch, int(self._concurrency * (self._lease / 2) / mean))
