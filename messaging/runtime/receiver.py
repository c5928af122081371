"""Receiving: a thread that long-polls one queue, and asks for more at once where that is far away.

A receive takes as long as the way to AWS and back, and brings ten messages at most: with handlers
that are quicker, one after the other is not enough. So after each full receive that was long on
its way the thread keeps several under way (`Receives`), until they bring no more or there is no
room in hand. Where the transport makes receives in one piece only, a helper is hired instead, a
thread that leaves as soon as it brings less. An idle queue is asked by one thread, once in 20
seconds.
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
"""Between requests that fail, and between attempts to reach a queue at the start."""

MOST_HELPERS = 3
"""Beside the first: as many connections more."""
HELPERS_WAIT = 1.0
"""Seconds for which a helper waits for a message, or for room, before it leaves."""
IDLE = Backoff(first=0.05, longest=1.0)
"""After an empty receive that did not wait by itself."""

Hire = Callable[[Callable[[], None]], object]
Onward = Callable[[bool], bool]


def _go_on(near: bool) -> bool:
    return True


def _nobody(work: Callable[[], None]) -> None:
    raise RuntimeError("nobody can be hired")


class Receiver:
    """Receives for one queue. `run` is the body of its thread, and ends after `stop`.

    taken  called with what each receive brought, which may be after `stop`, and the moment from
           which its leases count.
    most   helpers at once, but never more than `MOST_HELPERS`; 0: one receive at a time.
    settler, quick  for a transport that can begin a receive (`Receives`): who settles, and whether
                    handlers run in the thread that receives. Without them there are helpers.
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
        """How many the last receive of the first thread brought; None: it failed."""
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

        hire    starts another thread for what it is given.
        onward  called after each receive, when the next one may be made, with whether the way is
                short (`FAR`). False: another thread receives in place of the calling one.
        """
        self._hire, self._onward, self._first = hire, onward, threading.get_ident()
        together = self._together
        if together is not None and len(together) and not together.run(onward):
            return  # it was in place of another thread, and is replaced in its turn
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
            if not self._stopped.is_set():  # else it was closed while it waited
                self._failed(error)
            return None
        if self._failures:
            self._recovered()
        return brought

    def more(self) -> bool:
        """One more receive at once, which does not wait, for the thread that `run` has called
        onward. False: the last one was not full, so there may be no more, or there is no room."""
        free = self._backpressure.take() if self._brought == BATCH_ENTRIES else 0
        return free > 0 and self.step(free, 0) == BATCH_ENTRIES

    def replace(self, thread: int) -> None:
        """The thread of this ident is held up: if it is the first, another one takes its place.

        Raises `RuntimeError` if the system has no more threads.
        """
        if thread == self._first:
            self._hire(partial(self.run, self._hire, self._onward))

    @property
    def failing(self) -> bool:
        """True: the last receive failed."""
        return self._failures > 0

    def asked_for(self, now: float) -> float:
        """Seconds for which the first thread's receive has been out; 0 if none is."""
        asked = self._asked_at
        if asked is None and self._together is not None:
            asked = self._together.since
        return 0.0 if asked is None else now - asked

    def stop(self) -> None:
        """Ask no more. A receive that waits still ends as it will."""
        self._stopped.set()

    def _receive(self, free: int, wait: float) -> int:
        asked = self._clock.monotonic()
        deliveries: Sequence[Delivery] = ()
        try:
            deliveries = self._queue.receive(free, wait)
            if deliveries:
                # Beyond its wait it was the answer that was slow, and the leases began before that.
                answered = self._clock.monotonic()
                self._taken(deliveries, answered - max(0.0, answered - asked - wait))
        finally:
            self._backpressure.answered(free, deliveries)
        return len(deliveries)

    def _far(self) -> bool:
        return min(self._full, default=0.0) >= FAR

    def _grow(self) -> None:
        """The queue is not empty yet: hire a helper, if there is room for what it may bring."""
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
                except TransportError:  # the first will meet it, too, and tell it
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
    """Make visible again what a receive brought after the end, when nobody is left to settle."""
    try:
        queue.change_visibility(deliveries, [0] * len(deliveries))
    except TransportError as error:
        log.warning(
            "%d messages of %s came after the end and are left to their leases: %s",
            len(deliveries),
            queue.name,
            error.code or type(error).__name__,
        )
