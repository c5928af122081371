"""Run-to-completion: while handlers are quick, the thread that received runs them.

To hand ten messages to another thread, and what became of them to a third, costs more than ten
quick handlers do. So while a message keeps its thread for less than `executor.QUICK` on average,
the thread that received it decodes it, runs its handler and settles it, and the others sleep.
An async handler only begins there, and goes on in the event loop as always; while those are brief,
too, the thread waits for them, so that one thread runs at a time and settles all in one request.

A handler may turn out slow all the same. A watch sees it after `LOOK` seconds: then what the thread
still had goes into the line, where handlers' threads take it, and another thread receives.
"""

from __future__ import annotations

import queue as queues
import threading
from collections import deque
from collections.abc import Callable
from functools import partial

from messaging.runtime.event_loop import EventLoop
from messaging.runtime.executor import Executor
from messaging.runtime.in_flight import InFlightMessage
from messaging.runtime.ready_queue import ReadyQueue
from messaging.runtime.settler import Settler

__all__ = ["RunToCompletion"]

LOOK = 0.01
"""Seconds between two looks of the watch. Who is seen twice in one handler is held up."""
LOOKS_AT_SETTLING = 100
"""The same for one who waits for an answer while settling: about a second."""
IDLE_LOOKS = 50
"""After so many looks at nothing the watch sleeps until it is woken."""


class _Chunk:
    """What one thread has received and handles itself."""

    __slots__ = ("busy", "looks", "replaced", "rest", "seen", "tended", "thread")

    def __init__(self) -> None:
        self.thread = threading.get_ident()
        self.rest: deque[InFlightMessage] = deque()
        self.busy: object = None
        """What its thread is busy with: a receipt, or this chunk while that is being settled."""
        self.seen: object = None
        """What it was busy with when the watch looked last."""
        self.looks = 0
        """How often the watch has seen just that."""
        self.tended = False
        """Its thread will see to what it has put to the settler."""
        self.replaced = False


class RunToCompletion:
    """Lets threads that receive go on to the end of what they received.

    replace  called with the ident of a thread that is held up: another one is to receive in its
             place. May raise `RuntimeError`: there is none.
    """

    def __init__(
        self,
        executor: Executor,
        ready_queue: ReadyQueue,
        settler: Settler,
        loop: EventLoop,
        *,
        replace: Callable[[int], None],
    ) -> None:
        self._executor = executor
        self._ready_queue = ready_queue
        self._settler = settler
        self._loop = _SleepingLoop(loop)
        self._replace = replace
        self._lock = threading.Lock()
        self._chunks: dict[int, _Chunk] = {}
        """By the thread's ident."""
        self._wake: queues.SimpleQueue[None] = queues.SimpleQueue()
        self._watching = False
        self._closed = False

    def open(self) -> Callable[[InFlightMessage], None] | None:
        """Where the calling thread puts what it has just received; None: into the line."""
        # What waits in the line came before.
        if self._closed or not self._executor.quick or len(self._ready_queue):
            return None
        chunk = self._chunks[threading.get_ident()] = _Chunk()
        return chunk.rest.append

    def work(self, near: bool) -> bool:
        """Handle and settle what the calling thread has put where `open` said.

        near  answers come so soon that settling here is quicker than waking another thread.

        False: it was held up meanwhile, and another thread receives in its place.
        """
        me = threading.get_ident()
        chunk = self._chunks.get(me)
        if chunk is None:
            return True
        if not self._watching:
            self._watching = True
            self._wake.put(None)
        chunk.tended = True
        self._settler.tend()
        try:
            began = self._handle(chunk)
            chunk.busy = chunk
            if began and near and self._executor.brief:
                self._settler.gather(began, LOOK)
        finally:
            self._leave(chunk, settle=near or self._settler.busy)
        with self._lock:
            del self._chunks[me]
            return not chunk.replaced

    def drain(self) -> list[InFlightMessage]:
        """Take out all that wait."""
        taken = []
        for chunk in tuple(self._chunks.values()):
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
        chunks = tuple(self._chunks.values())
        for chunk in chunks:
            busy = chunk.busy
            chunk.looks = chunk.looks + 1 if busy is chunk.seen else 0
            chunk.seen = busy
            most = LOOKS_AT_SETTLING if busy is chunk else 1
            if busy is not None and chunk.looks >= most and not chunk.replaced:
                self._relieve(chunk)
        return bool(chunks)

    def _handle(self, chunk: _Chunk) -> int:
        """Returns how many async handlers have begun."""
        began = 0
        executor, ready_queue, loop, rest = (
            self._executor,
            self._ready_queue,
            self._loop,
            chunk.rest,
        )
        slot = False
        while rest:
            try:
                message = rest.popleft()
            except IndexError:  # as in `_next`: the watch has just handed it over
                break
            if not slot:
                if not ready_queue.take_slot():
                    ready_queue.put(message)
                    break
                slot = True
            chunk.busy = message
            if executor.step(message, loop):
                slot = False  # it goes along with the coroutine
                began += 1
            if not executor.quick:
                break
        if slot:
            ready_queue.free()
        self._hand_over(chunk)
        if began:
            self._loop.wake()
        return began

    def _hand_over(self, chunk: _Chunk) -> None:
        while (message := _next(chunk)) is not None:
            self._ready_queue.put(message)

    def _relieve(self, chunk: _Chunk) -> None:
        self._executor.slow_down()
        self._hand_over(chunk)
        self._loop.wake()
        self._leave(chunk, settle=False)
        with self._lock:
            if self._chunks.get(chunk.thread) is not chunk:
                return  # it has just ended
            chunk.replaced = True
        try:
            self._replace(chunk.thread)
        except RuntimeError:  # the system has no more threads: it goes on when it can
            chunk.replaced = False

    def _leave(self, chunk: _Chunk, *, settle: bool) -> None:
        with self._lock:
            tended, chunk.tended = chunk.tended, False
        if tended:
            self._settler.leave(settle=settle)

    def _pause(self) -> None:
        try:
            self._wake.get(timeout=LOOK)
        except queues.Empty:
            return


class _SleepingLoop:
    """The loop, which what is submitted does not wake."""

    def __init__(self, loop: EventLoop) -> None:
        self.submit = partial(loop.submit, wake=False)
        self.cancel_one = loop.cancel_one
        self.wake = loop.wake


def _next(chunk: _Chunk) -> InFlightMessage | None:
    try:
        return chunk.rest.popleft()  # atomic: the watch may hand over the rest meanwhile
    except IndexError:
        return None
