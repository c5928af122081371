"""Keeps several receives of one far, full queue in flight in one thread."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import TransportError
from messaging.runtime.backpressure import BackPressure
from messaging.runtime.receive_window import ReceiveWindow
from messaging.runtime.settler import Settler
from messaging.runtime.under_way import UnderWay, answered, take
from messaging.transport import Delivery

__all__ = ["Begin", "Receives", "note_full"]

WAIT = 1.0
"""Seconds for which such a receive waits for a message: only the single receive of an idle queue is
a long poll."""
LOOKS_UP = 0.1
"""Seconds of waiting for an answer after which the thread checks for other work."""

RECEIVES = 8
"""Number of recent full receives of which the quickest gives the latency: a slower one may only
have waited for the CPU."""

Begin = Callable[[int, float], Generator[int, None, Sequence[Delivery]] | None]
Taken = Callable[[Sequence[Delivery], float], None]


class _Receive(NamedTuple):
    request: UnderWay[Sequence[Delivery]]
    asked: int
    at: float
    out: int
    """How many were in flight then, including itself."""


class _Look(NamedTuple):
    """When answers were noticed, by the system's clock, and the seconds before that."""

    found: float
    waited: float
    """Seconds with nothing else to do."""
    unseen: float
    """Seconds in which nothing checked."""


def note_full(of_late: list[float], took: float) -> None:
    """Record the seconds of one more full receive.

    Other threads may read `of_late` meanwhile, which a deque would not allow without the GIL.
    """
    of_late[:] = [*of_late[1 - RECEIVES :], took]


class Receives:
    """Receives in flight, and deletes that wait for their answers, for one thread at a time.

    begin   sends a receive (`QueueTransport.begin_receive`).
    taken   called with the messages of each, and the time from which their leases count.
    full    durations of recent full receives, in seconds.
    far     whether they show that the queue is far away.
    failed  called with an error.
    closed  whether to make no more receives.
    quick   whether handlers run in this thread, which then also reads the answers for the settler.
    """

    def __init__(
        self,
        begin: Begin,
        backpressure: BackPressure,
        settler: Settler,
        *,
        wait: float,
        clock: Clock,
        taken: Taken,
        full: list[float],
        far: Callable[[], bool],
        failed: Callable[[TransportError], None],
        closed: Callable[[], bool],
        quick: Callable[[], bool],
    ) -> None:
        self._begin = begin
        self._backpressure = backpressure
        self._settler = settler
        self._wait = min(wait, WAIT)
        self._now = clock.monotonic
        self._taken = taken
        self._full = full
        self._far = far
        self._failed = failed
        self._closed = closed
        self._quick = quick
        self._window = ReceiveWindow()
        self._stumbled = False
        self.possible = True
        """False if the transport only has blocking receives."""
        self._looked = 0.0
        """When answers were last checked: any answer there now arrived later."""
        self._looked_at = 0.0
        """The same, by the system's clock."""
        self._made = 0.0
        """Seconds that it took to handle the messages of the last one."""
        self._under_way: dict[int, _Receive] = {}
        """By socket number. The thread that removes one reads its answer; removal is atomic."""
        self._at_hand: deque[_Receive] = deque()
        """Requests that were answered at once."""

    def __len__(self) -> int:
        return len(self._under_way) + len(self._at_hand)

    @property
    def since(self) -> float | None:
        """When the oldest was sent; None if none is in flight."""
        return min([one.at for one in self._under_way.copy().values()], default=None)

    def run(self, onward: Callable[[bool], bool]) -> bool:
        """Receive until the queue has no more messages, or no room is left; then nothing is in
        flight.

        onward  called after each receive, to handle its messages in this thread. False: this thread
                was blocked there, and another one replaced it. `run` then returns False too.
        """
        self._window.start()
        self._settler.begins = True
        self._stumbled = False
        self._looked = self._now()
        try:
            while True:
                self._begin_some()
                self._settler.attend(self._quick())
                if not len(self) and not (self._settler.attended and self._settler.requests):
                    self._backpressure.way = 0.0 if not self._window.limit else self._way()
                    self._end()
                    return True
                if not self._hear_some(onward):
                    return False
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        self._settler.begins = False
        self._settler.attend(False)

    def _begin_some(self) -> None:
        while len(self) < self._window.limit and not self._closed():
            asked = self._backpressure.take()
            if not asked:
                return
            begun = False
            try:
                steps = self._begin(asked, self._wait)
                if steps is None:
                    self.possible = False
                    self._window.stop()
                    return
                request = UnderWay(steps, self._wait)
                begun = True
                receive = _Receive(request, asked, self._now(), len(self) + 1)
                if request.file < 0:
                    self._at_hand.append(receive)
                else:
                    self._under_way[request.file] = receive
            except TransportError as error:
                self._stumble(error)
            finally:
                if not begun:
                    self._backpressure.answered(asked)

    def _hear_some(self, onward: Callable[[bool], bool]) -> bool:
        while self._at_hand:
            look = _Look(SYSTEM_CLOCK.monotonic(), 0.0, 0.0)
            if not self._finish(self._at_hand.popleft(), self._looked, look, onward):
                return False
        together: dict[int, UnderWay[Any]] = {
            file: one.request for file, one in self._under_way.copy().items()
        }
        if self._settler.attended:
            together.update(self._settler.requests)
        if not together:
            return True
        since, began = self._looked, SYSTEM_CLOCK.monotonic()
        look = _Look(began, 0.0, began - self._looked_at)
        found = answered(together, 0)
        if not found:
            found = answered(together, LOOKS_UP)
            since, now = self._now(), SYSTEM_CLOCK.monotonic()
            look = _Look(now, now - began, 0.0)
        self._looked, self._looked_at = self._now(), look.found
        self._settler.hear(found)
        for request in found:
            receive = take(self._under_way, request)
            if receive is not None and not self._finish(receive, since, look, onward):
                return False
        return True

    def _finish(
        self, receive: _Receive, since: float, look: _Look, onward: Callable[[bool], bool]
    ) -> bool:
        began = SYSTEM_CLOCK.monotonic()
        self._hear(receive, since, look)
        self._begin_some()  # the next one is in flight while this one is handled
        self._settler.attend(self._quick())
        goes_on = onward(True)
        self._made = SYSTEM_CLOCK.monotonic() - began
        return goes_on

    def _hear(self, receive: _Receive, since: float, look: _Look) -> None:
        under_way = len(self) + 1
        deliveries: Sequence[Delivery] | None = ()
        try:
            deliveries = receive.request.hear()
            if deliveries is None:
                self._under_way[receive.request.file] = receive
                return
            if deliveries:
                # Answers that arrived while this thread was busy arrived after its last check.
                # If it took longer than its wait, the answer was slow, and the leases began
                # earlier.
                self._taken(deliveries, min(max(receive.at, since), receive.at + self._wait))
            self._judge(len(deliveries), receive, under_way, look)
        except TransportError as error:
            self._stumble(error)
        finally:
            if deliveries is not None:
                self._backpressure.answered(receive.asked, deliveries)

    def _judge(self, count: int, receive: _Receive, under_way: int, look: _Look) -> None:
        took = look.found - receive.request.asked
        self._window.brought(
            count,
            asked=receive.asked,
            out=receive.out,
            under_way=under_way,
            took=took,
            unseen=look.unseen,
            waited=look.waited,
            made=self._made,
        )
        if count == receive.asked:
            note_full(self._full, took)
            self._backpressure.way = self._way()
            if not self._far():
                self._window.stop()

    def _stumble(self, error: TransportError) -> None:
        self._window.stop()
        if not (self._closed() or self._stumbled):
            self._stumbled = True  # all requests in flight may get the same error: log it once
            self._failed(error)

    def _way(self) -> float:
        return min(self._full, default=0.0)
