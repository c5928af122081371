"""The settler: a thread that settles what handlers are done with, in batches."""

from __future__ import annotations

import math
import queue as queues
import threading
from collections import deque
from contextlib import suppress

from messaging.clock import Clock
from messaging.outcome import Outcome
from messaging.runtime.in_flight import InFlight, InFlightMessage
from messaging.runtime.settlement import Settlement
from messaging.transport import BATCH_ENTRIES

__all__ = ["Settler"]

LINGER = 0.1
"""Seconds that a settlement waits for others to fill its batch, while others are in hand."""


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
        self._later: list[tuple[float, InFlightMessage]] = []
        self._wake: queues.SimpleQueue[None] = queues.SimpleQueue()
        self._asleep = False
        self._lock = threading.Lock()
        self._tended = 0
        self._awaited = 0
        self._gathered: queues.SimpleQueue[None] = queues.SimpleQueue()
        self._hurry_later = False
        self._calling_back = False
        self._ending = False

    def put(self, message: InFlightMessage, outcome: Outcome) -> None:
        """`message` is done with; from any thread."""
        message.outcome = outcome
        self._inbox.append(message)
        if self._tended:
            if self._awaited and self._awaited <= len(self._inbox):
                self._awaited = 0
                self._gathered.put(None)
            return
        waiting = len(self._inbox)
        # Asleep is read after the append and written before the settler looks a last time: one of
        # the two sees the other. A wake for each message would cost more than the message.
        if (
            self._asleep
            or self._eager
            or waiting >= BATCH_ENTRIES
            or waiting >= self._in_flight.count
        ):
            self.rouse()

    def tend(self) -> None:
        """The calling thread is about to `put` some, and will see to them: nobody is woken."""
        with self._lock:
            self._tended += 1

    def gather(self, count: int, seconds: float) -> None:
        """While tending: return when so many wait to be settled, after `seconds` at the latest."""
        while not self._gathered.empty():  # of one who did not wait for so long
            self._gathered.get_nowait()
        # Said before looking: whoever puts afterwards sees it.
        self._awaited = count
        if len(self._inbox) < count:
            with suppress(queues.Empty):
                self._gathered.get(timeout=seconds)
        self._awaited = 0

    @property
    def busy(self) -> bool:
        """True: its thread is at one batch, and another one waits."""
        return not self._asleep and len(self._inbox) >= BATCH_ENTRIES

    def leave(self, *, settle: bool) -> None:
        """It has. What makes a batch is settled in this thread, or by the settler's own."""
        with self._lock:
            self._tended -= 1
        if settle:
            self.step(aged=False)
        if self._asleep and (self._inbox or self._later):
            self.rouse()

    def call_back(self) -> None:
        """Let the messages come that were postponed in an outage."""
        self._calling_back = True
        self.rouse()

    def rouse(self) -> None:
        """Let its thread look, although somebody tends."""
        self._asleep = False
        self._wake.put(None)

    def hurry(self) -> None:
        """Wait for no batch any more, and try few times: the worker stops."""
        self._hurry_later = self._hurry_later or not self._settlement.hurried
        self._settlement.hurried = True
        self._wake.put(None)

    def end(self) -> None:
        """Settle what is there, then end the thread."""
        self._ending = True
        self.hurry()

    def run(self) -> None:
        aged = False
        while True:
            if self.step(aged):
                aged = False
            elif self._ending and not self._inbox and not self._later:
                return
            else:
                aged = self._sleep()

    def step(self, aged: bool) -> int:
        """Settle what is ready, all that waits if it has `aged`; how many those were."""
        with self._lock:
            self._take_back()
            chunk = [self._inbox.popleft() for _ in range(self._ready(aged))]
        if chunk:
            again = self._settlement.settle(chunk)
            if again:
                now = self._clock.monotonic()
                with self._lock:
                    self._later += [(now + pause, message) for pause, message in again]
        back = 0
        if self._calling_back and not self._settlement.hurried:
            back = self._settlement.call_back()
            self._calling_back = back > 0
        return len(chunk) + back

    def _ready(self, aged: bool) -> int:
        waiting = len(self._inbox)
        if (
            aged
            or self._eager
            or self._settlement.hurried
            or waiting + len(self._later) >= self._in_flight.count
        ):
            return waiting
        return waiting - waiting % BATCH_ENTRIES

    def _sleep(self) -> bool:
        """Until there may be something to do; True if the inbox has waited long enough."""
        if self._inbox:
            timeout: float | None = LINGER
        else:
            self._asleep = True
            if self._inbox:
                self._asleep = False
                return False
            timeout = None
        with self._lock:
            later = min((due for due, _ in self._later), default=None)
        if later is not None:
            due = max(0.001, later - self._clock.monotonic())
            timeout = due if timeout is None else min(timeout, due)
        try:
            self._wake.get(timeout=timeout)
            while not self._wake.empty():
                self._wake.get_nowait()
        except queues.Empty:
            return True
        return False

    def _take_back(self) -> None:
        if self._later:
            # At the end what still pauses is tried at once; its next pauses are short.
            now = self._clock.monotonic()
            if self._hurry_later:
                self._hurry_later, now = False, math.inf
            self._inbox.extend(message for due, message in self._later if due <= now)
            self._later = [(due, message) for due, message in self._later if due > now]
