"""Run-to-completion: while handlers are quick, the thread that received runs them.

To hand ten messages to another thread, and what became of them to a third, costs more than ten
quick handlers do. So while a message keeps its thread for less than `executor.QUICK` on average,
the thread that received it decodes it, runs its handler and settles it, and the others sleep.
An async handler only begins there, and goes on in the event loop as always; while those are brief,
too, the thread waits for them, so that one thread runs at a time and settles all in one request.

In a FIFO queue the first of each group is handled, then all of those are deleted in one request,
which lets the next of their groups go on, here again. A receive usually brings several of one
group, so before a delete the thread receives from other groups too, until the request is full.

A handler may turn out slow all the same. A watch sees it after `LOOK` seconds: then what the thread
still had goes into the line, where handlers' threads take it, and another thread receives.
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
"""Seconds between two looks of the watch. Who is seen twice in one handler is held up."""
LOOKS_AT_SETTLING = 100
"""The same for one who waits for an answer while settling: about a second."""
IDLE_LOOKS = 50
"""After so many looks at nothing the watch sleeps until it is woken."""


@dataclass(slots=True, eq=False, repr=False)
class _Chunk:
    """What one thread has received and handles itself."""

    thread: int
    rest: deque[InFlightMessage] = field(default_factory=deque)
    busy: object = None
    """What its thread is busy with: a receipt, or this chunk while that is being settled."""
    seen: object = None
    """What it was busy with when the watch looked last."""
    looks: int = 0
    """How often the watch has seen just that."""
    replaced: bool = False
    """Another thread receives in place of its own."""


class RunToCompletion:
    """Lets threads that receive go on to the end of what they received.

    replace  called with the ident of a thread that is held up: another one is to receive in its
             place. May raise `RuntimeError`: there is none.
    more     makes one more receive in the calling thread, without waiting. False: there is no more.
    ident    tells threads apart.
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
        """Where the calling thread puts what it has just received; None: into the line."""
        # Without a slot it must wait behind those in the line, which came before.
        if self._closed or not self._executor.quick or not self._ready_queue.slots:
            return None
        me = self._ident()
        chunk = self._chunks.get(me)
        if chunk is None:
            chunk = self._chunks[me] = _Chunk(me)
        return self._ready_queue.put if self._ordered else chunk.rest.append

    def work(self, near: bool) -> bool:
        """Handle and settle what the calling thread has put where `open` said.

        near  answers come so soon that settling here is quicker than waking another thread.

        False: it was held up meanwhile, and another thread receives in its place.
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
            # It would refer to itself, and wait for the garbage collector.
            chunk.busy = chunk.seen = None
            return not chunk.replaced

    def drain(self) -> list[InFlightMessage]:
        """Take out all that wait."""
        taken = []
        for chunk in self._chunks.copy().values():
            while (message := _next(chunk)) is not None:
                taken.append(message)
        return taken

    def close(self) -> None:
        """From now on everything goes into the line, and the watch ends."""
        self._closed = True
        self._wake.put(None)

    def watch(self) -> None:
        """The body of the thread that looks whether another is held up."""
        while not self._closed:
            self._wake.get()
            idle = 0
            while idle < IDLE_LOOKS and not self._closed:
                self._pause()
                idle = 0 if self.look() else idle + 1
            # Said before looking once more: whoever comes now sees it, or is seen.
            self._watching = False
            if self._chunks:
                self._wake.put(None)

    def look(self) -> bool:
        """One look; False if there was nothing to look at."""
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
        """Where what the calling thread makes ready goes, if it has a chunk."""
        chunk = self._chunks.get(self._ident())
        return None if chunk is None else chunk.rest.append

    def _goes_on(self, chunk: _Chunk) -> bool:
        """In a FIFO queue: delete what is handled, so that those behind it are ready.

        True: some are. False as well if they wait for a handler in another thread.
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
        except RuntimeError:  # the system has no more threads: it goes on when it can
            chunk.replaced = False

    def _pause(self) -> None:
        try:
            self._wake.get(timeout=LOOK)
        except queues.Empty:
            return


class _SleepingLoop:
    """The loop, which what is submitted does not wake."""

    def __init__(self, loop: Runs) -> None:
        self.submit = partial(loop.submit, wake=False)
        self.cancel_one = loop.cancel_one
        self.wake = loop.wake


def _next(chunk: _Chunk) -> InFlightMessage | None:
    try:
        return chunk.rest.popleft()  # atomic: the watch may hand over the rest meanwhile
    except IndexError:
        return None
