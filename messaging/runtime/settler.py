"""The settler: a thread that settles what handlers are done with, in batches."""

from __future__ import annotations

import math
import queue as queues
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from messaging.clock import Clock
from messaging.runtime.in_flight import InFlight, InFlightMessage
from messaging.runtime.settlement import Deleting, Later, Settlement
from messaging.runtime.under_way import UnderWay, answered, take
from messaging.transport import BATCH_ENTRIES

__all__ = ["Settler"]

LINGER = 0.1
"""Seconds that a settlement waits for others to fill its batch, while others are in hand."""
LOOK = 0.005
"""Seconds between two looks at the inbox while answers to deletes are awaited."""


class _Sleeper:
    """One who waits until so many messages are in the settler's inbox.

    wanted  how many those are; 0 while nobody waits.
    """

    # Who waits first says for how many, then looks at the inbox, and only then sleeps. Who puts
    # first appends, and then reads what is wanted. So one of the two sees the other, whichever way
    # the threads are interleaved, and no lock is taken and nobody woken for a message that need
    # not be settled yet: a wake for each would cost more than the message. A wake for somebody who
    # is awake is kept, and ends the next sleep at once: it may tell of more than the inbox.
    __slots__ = ("_wakes", "wanted")

    def __init__(self) -> None:
        self._wakes: queues.SimpleQueue[None] = queues.SimpleQueue()
        self.wanted = 0

    def sleep(self, seconds: float | None) -> bool:
        """Until `wake`, or for so many seconds; False if those are over. Then nothing is wanted."""
        try:
            self._wakes.get(timeout=seconds)
            self.forget()
        except queues.Empty:
            return False
        finally:
            self.wanted = 0
        return True

    def wake(self) -> None:
        self.wanted = 0
        self._wakes.put(None)

    def forget(self) -> None:
        """What came too late for the last sleep is not meant for the next one."""
        with suppress(queues.Empty):
            while True:
                self._wakes.get_nowait()


class Settler:
    """Settles what handlers are done with. `run` is the body of its thread.

    A batch goes out when ten wait, when nothing else is in hand that could fill it, or when it
    has waited for `LINGER`. What is refused for now is tried again while its lease lasts; what
    cannot be settled is left to its lease and counted as expired.

    eager  wait for no batch: others in hand wait for what is settled, as in a FIFO queue.
    """

    def __init__(
        self, settlement: Settlement, in_flight: InFlight, *, clock: Clock, eager: bool = False
    ) -> None:
        self._settlement = settlement
        self._in_flight = in_flight
        self._clock = clock
        self._eager = eager
        self._inbox: deque[InFlightMessage] = deque()
        self.add = self._inbox.append
        """As `put`, for a thread that calls `settle` afterwards: nobody is woken."""
        self._later: list[tuple[float, InFlightMessage]] = []
        self._own = _Sleeper()
        """Its thread."""
        self._gathering = _Sleeper()
        """A thread that waits in `gather`."""
        self._lock = threading.Lock()
        self._sleeper = self._own
        """Who is to be woken."""
        self._under_way: dict[int, Deleting] = {}
        """Deletes that have been sent, by the number of their socket. Whoever takes one out hears
        its answer; that is atomic."""
        self.begins = False
        """True while answers are far away: a thread that settles does not wait for them."""
        self.attended = False
        """True while another thread sees to what is under way, so that its own need not."""
        self._hurry_later = False
        self._calling_back = False
        self._ending = False

    def put(self, message: InFlightMessage) -> None:
        """It has its outcome, and is to be settled; from any thread."""
        self._inbox.append(message)
        sleeper = self._sleeper
        if sleeper.wanted and (
            len(self._inbox) >= sleeper.wanted or (sleeper is self._own and self._ready(aged=False))
        ):
            sleeper.wake()

    def gather(self, count: int, seconds: float, begin: Callable[[], None]) -> None:
        """Call `begin`, and return when so many wait to be settled, after `seconds` at the latest.

        Meanwhile the calling thread is woken in place of the settler's own.
        """
        self._sleeper = gathering = self._gathering
        gathering.forget()
        gathering.wanted = count
        begin()
        if len(self._inbox) < count:
            gathering.sleep(seconds)
        gathering.wanted = 0
        self._sleeper = self._own

    @property
    def waiting(self) -> int:
        """How many wait to be settled."""
        return len(self._inbox)

    @property
    def busy(self) -> bool:
        """True: its thread is at one batch, and another one waits."""
        return not self._own.wanted and len(self._inbox) >= BATCH_ENTRIES

    def settle(self, *, here: bool) -> None:
        """Settle what makes a batch: in this thread (`here`), or by the settler's own."""
        if here:
            self.step(aged=False, waits=not self.begins)
        wanted = self._own.wanted
        unheard = self._under_way and not self.attended
        if wanted and (self._later or unheard or len(self._inbox) >= wanted):
            self.rouse()

    def call_back(self) -> None:
        """Let the messages come that were postponed in an outage."""
        self._calling_back = True
        self.rouse()

    def rouse(self) -> None:
        """Let its thread look."""
        self._own.wake()

    def hurry(self) -> None:
        """Wait for no batch any more, and try few times: the worker stops."""
        self._hurry_later = self._hurry_later or not self._settlement.hurried
        self._settlement.hurried = True
        self.rouse()

    def end(self) -> None:
        """Settle what is there, then end the thread."""
        self._ending = True
        self.hurry()

    def run(self) -> None:
        aged = False
        while True:
            if self.step(aged, waits=False):
                aged = False
            elif self._under_way and not (self.attended and not self._ending):
                self.hear(answered(self.requests, LOOK))
            elif self._ending and not self._inbox and not self._later:
                return
            else:
                aged = self._sleep()

    @property
    def requests(self) -> Mapping[int, UnderWay[Any]]:
        """The deletes under way, by the number of the socket on which the answer comes."""
        return {file: one.request for file, one in self._under_way.copy().items()}

    def hear(self, requests: Sequence[UnderWay[Any]]) -> None:
        """Take the answers to those of `requests` that are deletes; others are passed over."""
        for request in requests:
            deleting = take(self._under_way, request)
            if deleting is None:
                continue
            again = self._settlement.finish(deleting)
            if again is None:
                self._under_way[deleting.request.file] = deleting
            else:
                self._try_later(again)

    def attend(self, attended: bool) -> None:
        """Another thread sees to what is under way, or does so no more."""
        before, self.attended = self.attended, attended
        if before and not attended and self._under_way:
            self.rouse()

    def step(self, aged: bool, *, waits: bool = True) -> int:
        """Settle what is ready, all that waits if it has `aged`; how many those were.

        waits  for the answers to deletes; otherwise they are under way when this returns.
        """
        with self._lock:
            self._take_back()
            chunk = [self._inbox.popleft() for _ in range(self._ready(aged))]
        if chunk:
            begun: list[Deleting] | None = None if waits else []
            self._try_later(self._settlement.settle(chunk, begun))
            for one in begun or ():
                self._under_way[one.request.file] = one
        back = 0
        if self._calling_back and not self._settlement.hurried:
            back = self._settlement.call_back()
            self._calling_back = back > 0
        return len(chunk) + back

    def _try_later(self, again: Later) -> None:
        if again:
            now = self._clock.monotonic()
            with self._lock:
                self._later += [(now + pause, message) for pause, message in again]
            if self._own.wanted:  # its thread sleeps, and must know until when
                self.rouse()

    def _ready(self, aged: bool) -> int:
        waiting = len(self._inbox)
        if (
            aged
            or self._eager
            or self._settlement.hurried
            or waiting + self._leaving() >= len(self._in_flight.held)
        ):
            return waiting
        return waiting - waiting % BATCH_ENTRIES

    def _leaving(self) -> int:
        """Of those in hand, so many are at the settler and fill no batch now."""
        if not self._under_way:
            return len(self._later)
        deleting = sum(len(one.batch) for one in self._under_way.copy().values())
        return len(self._later) + deleting

    def _sleep(self) -> bool:
        """Until there may be something to do; True if the inbox has waited long enough."""
        lingers = bool(self._inbox)
        self._own.wanted = BATCH_ENTRIES if lingers else 1
        if len(self._inbox) >= self._own.wanted or self._ready(aged=False):
            self._own.wanted = 0
            return False
        timeout = LINGER if lingers else None
        with self._lock:
            later = min((due for due, _ in self._later), default=None)
        if later is not None:
            due = max(0.001, later - self._clock.monotonic())
            timeout = due if timeout is None else min(timeout, due)
        return not self._own.sleep(timeout)

    def _take_back(self) -> None:
        if self._later:
            # At the end what still pauses is tried at once; its next pauses are short.
            now = self._clock.monotonic()
            if self._hurry_later:
                self._hurry_later, now = False, math.inf
            self._inbox.extend(message for due, message in self._later if due <= now)
            self._later = [(due, message) for due, message in self._later if due > now]
