"""The settler: a thread that settles finished messages in batches."""

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
"""Seconds that a settlement waits for others to fill its batch, while others are in flight."""
LOOK = 0.005
"""Seconds between two checks of the inbox while waiting for answers to deletes."""


class _Sleeper:
    """Waits until the settler's inbox has a certain number of messages.

    wanted  that number; 0 while nothing waits.
    """

    # A waiting thread first sets `wanted`, then checks the inbox, and only then sleeps. A putting
    # thread first appends, and then reads `wanted`. So one of the two sees the other, however the
    # threads are interleaved, and no lock is taken and no thread woken for a message that need not
    # be settled yet: a wake for each message would cost more than the message itself. A wake while
    # the thread is awake is kept, and ends the next sleep at once: it may be about more than the
    # inbox.
    __slots__ = ("_wakes", "wanted")

    def __init__(self) -> None:
        self._wakes: queues.SimpleQueue[None] = queues.SimpleQueue()
        self.wanted = 0

    def sleep(self, seconds: float | None) -> bool:
        """Sleep until `wake`, or for so many seconds; returns False after a timeout. Resets
        `wanted`."""
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
        """A wake that came too late for the last sleep is not meant for the next one."""
        with suppress(queues.Empty):
            while True:
                self._wakes.get_nowait()


class Settler:
    """Settles finished messages. `run` is the body of its thread.

    A batch is sent when ten messages wait, when nothing else in flight could fill it, or when it
    has waited for `LINGER`. A temporary refusal is retried while the lease lasts; a message that
    cannot be settled is left to its lease and counted as expired.

    eager  do not wait for a full batch: others in flight wait for the settlement, as in a FIFO
           queue.
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
        """As `put`, for a thread that calls `settle` afterwards, so no thread is woken."""
        self._later: list[tuple[float, InFlightMessage]] = []
        self._own = _Sleeper()
        """Its thread."""
        self._gathering = _Sleeper()
        """A thread that waits in `gather`."""
        self._lock = threading.Lock()
        self._sleeper = self._own
        """Who is to be woken."""
        self._under_way: dict[int, Deleting] = {}
        """Sent deletes, by socket number. The thread that removes one reads its answer; removal is
        atomic."""
        self.begins = False
        """True while answers are far away: a thread that settles does not wait for them."""
        self.attended = False
        """True while another thread reads the pending answers, so that the settler's own need
        not."""
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
        """How many messages wait to be settled."""
        return len(self._inbox)

    @property
    def busy(self) -> bool:
        """True if its thread is busy with one batch, and another one waits."""
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
        """Make the messages visible that were postponed in an outage."""
        self._calling_back = True
        self.rouse()

    def rouse(self) -> None:
        """Let its thread look."""
        self._own.wake()

    def hurry(self) -> None:
        """The worker is stopping: do not wait for full batches, and make fewer attempts."""
        self._hurry_later = self._hurry_later or not self._settlement.hurried
        self._settlement.hurried = True
        self.rouse()

    def end(self) -> None:
        """Settle what is left, then end the thread."""
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
        """The deletes in flight, by the number of the socket for the answer."""
        return {file: one.request for file, one in self._under_way.copy().items()}

    def hear(self, requests: Sequence[UnderWay[Any]]) -> None:
        """Process the answers to the deletes among `requests`; others are skipped."""
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
        """Say whether another thread reads the pending answers."""
        before, self.attended = self.attended, attended
        if before and not attended and self._under_way:
            self.rouse()

    def step(self, aged: bool, *, waits: bool = True) -> int:
        """Settle full batches, or everything if it has `aged`; returns how many.

        waits  wait for the answers to deletes; otherwise they are in flight when this returns.
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
        """Number of messages in flight that are with the settler and will not fill a batch now."""
        if not self._under_way:
            return len(self._later)
        deleting = sum(len(one.batch) for one in self._under_way.copy().values())
        return len(self._later) + deleting

    def _sleep(self) -> bool:
        """Sleep until there may be something to do; True if the inbox has waited long enough."""
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
            # At the end, pending retries are tried at once, with short pauses afterwards.
            now = self._clock.monotonic()
            if self._hurry_later:
                self._hurry_later, now = False, math.inf
            self._inbox.extend(message for due, message in self._later if due <= now)
            self._later = [(due, message) for due, message in self._later if due > now]
