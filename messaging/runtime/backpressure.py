"""Appetite: how many messages may be received now, and the wait until some may."""

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
"""How much of the measured handler time is that of the last handler."""
BEYOND = 1_000
"""Messages that may be held beyond `concurrency` and `prefetch`, because the queue is far away (at
30 ms an answer they are 16,000 a second), or because they wait for others of their group."""
WAYS = 3
"""Times of an answer for whose handlers there is to be enough: one for the receives under way, one
for the deletes, and one in reserve for answers that come late."""
BEYOND_BYTES = 64 * 1024 * 1024
"""Of bodies, at most, for those messages together."""
LONGEST_NAP = 1.0
"""Seconds between two looks at a clock that may not be the machine's own."""


class State(Enum):
    """What a service does about receiving."""

    RECEIVING = "receiving"
    PAUSED = "paused"
    WEDGED = "wedged"
    OPEN = "circuit open"
    LIMITED = "rate limited"


class BackPressure:
    """Bounds what one service holds.

    What requests that are out have been promised counts as held.

    Args:
        concurrency: handlers that run at once; those that hang beyond their limit are taken off.
        prefetch: messages that may wait beside those. Fewer, when handlers are slow: those that
            wait can all be started within half a lease, at the mean handler time of late. None:
            `concurrency`, and while answers take long as many more as the handlers get done in the
            time of three (`WAYS`; `BEYOND` at most).
        lease: the visibility timeout, in seconds.
        wedged: whether all handlers hang.
        rate: has a token for each message that may be received; None: no limit.
        behind: how many of those held wait for another one of their group (FIFO), and so for no
            handler. They take no room: nobody else could handle them meanwhile.
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
        """Seconds from a receive to its answer while several are under way; else 0."""
        self._weight = 0.0
        """Bytes of a message's body, of late and on average."""
        self._lease = lease
        self.mean: float | None = None
        """Seconds that a handler takes, of late and on average; None: nobody knows."""
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
        """How many messages the requests that are out may bring."""
        return self._asked

    def took(self, seconds: float) -> None:
        """A handler has ended after so long."""
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
        """Waits until it is worth asking; returns how many to ask for, or 0 after `close`, or when
        `patience` (seconds) is over. `answered` must be told of each request.

        Room for one message is not worth it while there may be more: a request for one costs as
        much as a request for ten. Beside a request that is out only a full one is worth it.
        """
        until = None if patience is None else SYSTEM_CLOCK.monotonic() + patience
        with self._lock:  # the condition's own; straight, it costs a third
            # Said before looking: whoever changes something afterwards sees it and wakes us.
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
        """A request for so many has ended, and what it brought is in hand."""
        if deliveries:
            if self._rate is not None:
                self._rate.took(len(deliveries))
            if self.way or self._behind():  # else nobody asks for the weight
                mean = sum([len(one.body) for one in deliveries]) / len(deliveries)
                self._weight += (mean - self._weight) * SLOWLY if self._weight else mean
        with self._lock:
            self._asked -= asked
        self.look_again()

    def look_again(self) -> None:
        """There may be room now."""
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
        """Receive nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _nap(self, until: float | None) -> float | None:
        """Seconds until another look is due without being woken; None for never."""
        naps = [LONGEST_NAP] if self._breaker.open else []
        if self._rate is not None:
            # Whoever takes messages off meanwhile wakes us; tokens come by themselves.
            due = self._rate.wait(min(BATCH_ENTRIES, self._rate.most))
            naps.append(min(LONGEST_NAP, due) if due > 0 else LONGEST_NAP)
        if until is not None:
            naps.append(until - SYSTEM_CLOCK.monotonic())
        return min(naps, default=None)

    def _beyond(self) -> int:
        """How many may be held beyond what `concurrency` and `prefetch` say, as they weigh."""
        return min(BEYOND, int(BEYOND_BYTES / max(1.0, self._weight)))

    def _waiting(self) -> int:
        mean = self.mean
        if not mean:
            return self._prefetch
        prefetch = self._prefetch
        if self.way and self._chooses:
            prefetch += min(self._beyond(), int(WAYS * self._concurrency * self.way / mean))
        return min(prefetch, int(self._concurrency * (self._lease / 2) / mean))
