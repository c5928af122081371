"""Run-to-completion: while handlers are quick, the receiving thread runs them.

Passing ten messages to another thread, and their outcomes to a third, costs more than ten quick
handlers. So while a message occupies its thread for less than `executor.QUICK` on average, the
thread that received it also decodes it, runs its handler and settles it, and the others sleep. An
async handler only starts there and continues in the event loop as always; while these are brief
too, the thread waits for them, so that only one thread runs at a time and settles all in one
request.

In a FIFO queue, the first message of each group is handled, then all of these are deleted in one
request, which makes the next of their groups ready, in this thread again. A receive usually returns
several of one group, so before a delete the thread also receives from other groups, until the
request is full.

A handler may still turn out to be slow. A watchdog notices after `LOOK` seconds: the thread's
remaining messages then go to the ready queue, where handler threads take them, and another thread
receives.
"""

from __future__ import annotations

import queue as queues
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from messaging.runtime.event_loop import Runs
from messaging.runtime.executor import Executor
from messaging.runtime.in_flight import InFlightMessage
from messaging.runtime.ready_queue import FifoReadyQueue, ReadyQueue
from messaging.runtime.settler import Settler
from messaging.transport import BATCH_ENTRIES

__all__ = ["RunToCompletion"]

LOOK = 0.01
"""Seconds between two checks of the watchdog. A thread found in the same handler twice in a row
counts as blocked."""
LOOKS_AT_SETTLING = 100
"""Number of checks for a thread that waits for an answer while settling: about a second."""
IDLE_LOOKS = 50
"""After so many checks without work, the watchdog sleeps until it is woken."""


@dataclass(slots=True, eq=False, repr=False)
class _Chunk:
    """The messages that one thread has received and handles itself."""

    thread: int
    rest: deque[InFlightMessage] = field(default_factory=deque)
    busy: object = None
    """What its thread is busy with: a message, or this chunk while it is being settled."""
    seen: object = None
    """What it was busy with at the watchdog's last check."""
    looks: int = 0
    """How often in a row the watchdog has found the same."""
    replaced: bool = False
    """Another thread receives in place of its own."""


class RunToCompletion:
    """Runs received messages to completion in the receiving thread.

    replace  called with the ident of a blocked thread: another one should receive in its place. May
             raise `RuntimeError` if there is none.
    more     makes one more receive in the calling thread, without waiting. False: nothing more.
    ident    identifies the calling thread.
    """

    def __init__(
        self,
        executor: Executor,
        ready_queue: ReadyQueue,
        settler: Settler,
        loop: Runs,
        *,
        replace: Callable[[int], None],
        more: Callable[[], bool],
        ident: Callable[[], int] = threading.get_ident,
    ) -> None:
        self._executor = executor
        self._ready_queue = ready_queue
        self._settler = settler
        self._loop = _SleepingLoop(loop)
        self._replace = replace
        self._more = more
        self._ident = ident
        self._ordered = isinstance(ready_queue, FifoReadyQueue)
        if isinstance(ready_queue, FifoReadyQueue):
            ready_queue.takes = self._taker
        self._lock = threading.Lock()
        self._chunks: dict[int, _Chunk] = {}
        """By the thread's ident."""
        self._wake: queues.SimpleQueue[None] = queues.SimpleQueue()
        self._watching = False
        self._closed = False

    def open(self) -> Callable[[InFlightMessage], bool | None] | None:
        """Where the calling thread puts the messages it has just received; None: the ready
        queue."""
        # Without a slot it must wait behind those in the line, which came before.
        if self._closed or not self._executor.quick or not self._ready_queue.slots:
            return None
        me = self._ident()
        chunk = self._chunks.get(me)
        if chunk is None:
            chunk = self._chunks[me] = _Chunk(me)
        return self._ready_queue.put if self._ordered else chunk.rest.append

    def work(self, near: bool) -> bool:
        """Handle and settle the messages that the calling thread put into the result of `open`.

        near  answers are so quick that settling here is faster than waking another thread.

        Returns False if the thread was blocked meanwhile, and another one replaced it.
        """
        me = self._ident()
        chunk = self._chunks.get(me)
        if chunk is None:
            return True
        if not self._watching:
            self._watching = True
            self._wake.put(None)
        try:
            self._run(chunk, near)
            while near and self._goes_on(chunk):
                self._run(chunk, near)
        finally:
            here = not chunk.replaced and (near or self._settler.busy)
            self._settler.settle(here=here)
            self._hand_over(chunk)
        with self._lock:
            del self._chunks[me]
            # Otherwise it would refer to itself, and wait for the garbage collector.
            chunk.busy = chunk.seen = None
            return not chunk.replaced

    def drain(self) -> list[InFlightMessage]:
        """Remove and return all waiting messages."""
        taken = []
        for chunk in self._chunks.copy().values():
            while (message := _next(chunk)) is not None:
                taken.append(message)
        return taken

    def close(self) -> None:
        """From now on everything goes to the ready queue, and the watchdog ends."""
        self._closed = True
        self._wake.put(None)

    def watch(self) -> None:
        """The body of the watchdog thread, which checks whether another thread is blocked."""
        while not self._closed:
            self._wake.get()
            idle = 0
            while idle < IDLE_LOOKS and not self._closed:
                self._pause()
                idle = 0 if self.look() else idle + 1
            # Set before checking once more: a thread that arrives now sees it, or is seen.
            self._watching = False
            if self._chunks:
                self._wake.put(None)

    def look(self) -> bool:
        """Check once; returns False if there was nothing to check."""
        chunks = self._chunks.copy().values()
        for chunk in chunks:
            busy = chunk.busy
            chunk.looks = chunk.looks + 1 if busy is chunk.seen else 0
            chunk.seen = busy
            most = LOOKS_AT_SETTLING if busy is chunk else 1
            if busy is not None and chunk.looks >= most and not chunk.replaced:
                self._relieve(chunk)
        return bool(chunks)

    def _taker(self) -> Callable[[InFlightMessage], None] | None:
        """Where messages that the calling thread makes ready go, if it has a chunk."""
        chunk = self._chunks.get(self._ident())
        return None if chunk is None else chunk.rest.append

    def _goes_on(self, chunk: _Chunk) -> bool:
        """In a FIFO queue: delete the handled messages, so that those behind them become ready.

        Returns True if some are; False also if they wait for a handler in another thread.
        """
        if not self._ready_queue.behind:
            return False
        while self._may_go_on(chunk) and self._settler.waiting < BATCH_ENTRIES and self._more():
            self._run(chunk, near=True)
        if self._may_go_on(chunk):
            self._settler.step(aged=False)
        return bool(chunk.rest) and self._may_go_on(chunk)

    def _may_go_on(self, chunk: _Chunk) -> bool:
        return not chunk.replaced and self._executor.quick

    def _run(self, chunk: _Chunk, near: bool) -> None:
        began = self._executor.handle(chunk, self._loop, self._settler.add)
        self._hand_over(chunk)
        chunk.busy = chunk
        if began and near and self._executor.brief:
            self._settler.gather(began, LOOK, self._loop.wake)
        elif began:
            self._loop.wake()

    def _hand_over(self, chunk: _Chunk) -> None:
        while (message := _next(chunk)) is not None:
            self._ready_queue.put(message, has_turn=True)

    def _relieve(self, chunk: _Chunk) -> None:
        self._executor.slow_down()
        self._hand_over(chunk)
        self._loop.wake()
        self._settler.settle(here=False)
        with self._lock:
            if self._chunks.get(chunk.thread) is not chunk:
                return  # it has just ended
            chunk.replaced = True
        try:
            self._replace(chunk.thread)
        except RuntimeError:  # the system has no more threads: it continues when it can
            chunk.replaced = False

    def _pause(self) -> None:
        try:
            self._wake.get(timeout=LOOK)
        except queues.Empty:
            return


class _SleepingLoop:
    """Submits to the loop without waking it."""

    def __init__(self, loop: Runs) -> None:
        self.submit = partial(loop.submit, wake=False)
        self.cancel_one = loop.cancel_one
        self.wake = loop.wake


def _next(chunk: _Chunk) -> InFlightMessage | None:
    try:
        return chunk.rest.popleft()  # atomic: the watchdog may pass on the rest meanwhile
    except IndexError:
        return None
