"""The receiver: a thread that long-polls one queue, with several receives in flight if it is far.

A receive takes a round trip to AWS and returns at most ten messages: if handlers are quicker than
that, one receive at a time is not enough. So after each slow full receive, the thread keeps several
in flight (`Receives`), until they return no more or there is no room. If the transport only has
blocking receives, helper threads are started instead, which end as soon as they receive less. An
idle queue is polled by one thread, once in 20 seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial

from messaging.backoff import Backoff
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import TransportError
from messaging.logs import logger
from messaging.runtime.backpressure import BackPressure
from messaging.runtime.receives import Begin, Receives, note_full
from messaging.runtime.settler import Settler
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport
from messaging.window import FAR

__all__ = ["Receiver", "return_late"]

log = logger("messaging.runtime")

BACKOFF = Backoff(first=0.25, longest=30.0, jitter=0.5)
"""Pauses between failed requests, and between attempts to reach a queue at the start."""

MOST_HELPERS = 3
"""Maximum number of helper threads; each uses a connection."""
HELPERS_WAIT = 1.0
"""Seconds for which a helper waits for a message, or for room, before it ends."""
IDLE = Backoff(first=0.05, longest=1.0)
"""Pause after an empty receive that returned at once."""

Hire = Callable[[Callable[[], None]], object]
Onward = Callable[[bool], bool]


def _go_on(near: bool) -> bool:
    return True


def _nobody(work: Callable[[], None]) -> None:
    raise RuntimeError("nobody can be hired")


class Receiver:
    """Receives for one queue. `run` is the body of its thread, and ends after `stop`.

    taken  called with the messages of each receive, possibly after `stop`, and the time from which
           their leases count.
    most   maximum number of helpers, up to `MOST_HELPERS`; 0: one receive at a time.
    settler, quick  for a transport with non-blocking receives (`Receives`): the settler, and
                    whether handlers run in the receiving thread. Without them, helpers are used.
    """

    def __init__(
        self,
        queue: QueueTransport,
        backpressure: BackPressure,
        *,
        wait: float,
        clock: Clock,
        taken: Callable[[Sequence[Delivery], float], None],
        most: int = 0,
        settler: Settler | None = None,
        quick: Callable[[], bool] = bool,
    ) -> None:
        self._queue = queue
        self._backpressure = backpressure
        self._wait = wait
        self._clock = clock
        self._taken = taken
        self._onward: Onward = _go_on
        self._stopped = threading.Event()
        self._failures = 0
        self._failing_since = 0.0
        self._asked_at: float | None = None
        self._empty = 0
        self._brought: int | None = None
        """How many messages the first thread's last receive returned; None if it failed."""
        self._most = min(MOST_HELPERS, most)
        self._full: list[float] = []
        self._hire: Hire = _nobody
        self._first = 0
        self._lock = threading.Lock()
        self._helpers = 0
        begin: Begin | None = getattr(queue, "begin_receive", None)
        self._together = (
            None
            if begin is None or settler is None
            else Receives(
                begin,
                backpressure,
                settler,
                wait=wait,
                clock=clock,
                taken=taken,
                full=self._full,
                far=self._far,
                failed=self._failed,
                closed=self._stopped.is_set,
                quick=quick,
            )
        )

    def run(self, hire: Hire = _nobody, onward: Onward = _go_on) -> None:
        """The body of the first thread.

        hire    starts another thread that runs the given function.
        onward  called after each receive, before the next one, with whether the queue is near
                (`FAR`). False: another thread receives in place of the calling one.
        """
        self._hire, self._onward, self._first = hire, onward, threading.get_ident()
        together = self._together
        if together is not None and len(together) and not together.run(onward):
            return  # it had replaced another thread, and is now replaced itself
        while free := self._backpressure.room():
            asked, self._asked_at = SYSTEM_CLOCK.monotonic(), self._clock.monotonic()
            try:
                brought = self.step(free, self._wait)
            finally:
                self._asked_at = None
            took = SYSTEM_CLOCK.monotonic() - asked
            if brought == BATCH_ENTRIES:
                note_full(self._full, took)
            far = self._far()
            if not far:
                self._backpressure.way = 0.0
            more = far and brought == BATCH_ENTRIES
            alone = self._together is None or not self._together.possible
            if more and alone:
                self._grow()
            if brought is None:
                self._pause()
            elif brought:
                self._empty = 0
            elif min(took, self._wait) < IDLE.first:
                # A long poll came back at once and empty-handed, or a short one would spin.
                self._rest()
            if not self._onward(not far):
                return
            if more and not alone and self._together is not None:
                failures = self._failures
                if not self._together.run(onward):
                    return
                if self._failures > failures:
                    self._pause()

    def step(self, free: int, wait: float) -> int | None:
        """One receive of the `free` messages that back-pressure has promised: how many it brought,
        None if it failed."""
        self._brought = None
        try:
            self._brought = brought = self._receive(free, wait)
        except TransportError as error:
            if not self._stopped.is_set():  # otherwise it was closed while it waited
                self._failed(error)
            return None
        if self._failures:
            self._recovered()
        return brought

    def more(self) -> bool:
        """Make one more receive without waiting, for the thread in which `run` called `onward`.
        False: the last one was not full, so there may be no more, or there is no room."""
        free = self._backpressure.take() if self._brought == BATCH_ENTRIES else 0
        return free > 0 and self.step(free, 0) == BATCH_ENTRIES

    def replace(self, thread: int) -> None:
        """The thread with this ident is blocked: if it is the first, another one replaces it.

        Raises `RuntimeError` if the system has no more threads.
        """
        if thread == self._first:
            self._hire(partial(self.run, self._hire, self._onward))

    @property
    def failing(self) -> bool:
        """True if the last receive failed."""
        return self._failures > 0

    def asked_for(self, now: float) -> float:
        """Seconds for which the first thread's receive has been in flight; 0 if none is."""
        asked = self._asked_at
        if asked is None and self._together is not None:
            asked = self._together.since
        return 0.0 if asked is None else now - asked

    def stop(self) -> None:
        """Make no more receives. One that is waiting ends on its own."""
        self._stopped.set()

    def _receive(self, free: int, wait: float) -> int:
        asked = self._clock.monotonic()
        deliveries: Sequence[Delivery] = ()
        try:
            deliveries = self._queue.receive(free, wait)
            if deliveries:
                # If it took longer than its wait, the answer was slow, and the leases began
                # earlier.
                answered = self._clock.monotonic()
                self._taken(deliveries, answered - max(0.0, answered - asked - wait))
        finally:
            self._backpressure.answered(free, deliveries)
        return len(deliveries)

    def _far(self) -> bool:
        return min(self._full, default=0.0) >= FAR

    def _grow(self) -> None:
        """The queue is not empty yet: start a helper, if there is room for its messages."""
        if self._helpers >= self._most or not self._backpressure.free(BATCH_ENTRIES):
            return
        with self._lock:
            if self._helpers >= self._most or self._stopped.is_set():
                return
            self._helpers += 1
        try:
            self._hire(self._help)
        except RuntimeError:  # the system has no more threads
            self._leave()

    def _help(self) -> None:
        """The body of a helper's thread."""
        try:
            while free := self._backpressure.room(HELPERS_WAIT):
                try:
                    brought = self._receive(free, min(self._wait, HELPERS_WAIT))
                except TransportError:  # the first thread will get the same error, and report it
                    return
                if not self._onward(False) or brought < free or not self._far():
                    return
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._helpers -= 1

    def _rest(self) -> None:
        self._empty += 1
        self._stopped.wait(IDLE.after(self._empty))

    def _pause(self) -> None:
        self._stopped.wait(BACKOFF.after(self._failures))

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


def return_late(queue: QueueTransport, deliveries: Sequence[Delivery]) -> None:
    """Release messages that a receive returned after the end, when nothing is left to settle
    them."""
    try:
        queue.change_visibility(deliveries, [0] * len(deliveries))
    except TransportError as error:
        log.warning(
            "%d messages of %s came after the end and are left to their leases: %s",
            len(deliveries),
            queue.name,
            error.code or type(error).__name__,
        )
