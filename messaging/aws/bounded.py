"""Enforces a time limit on calls that take none: boto3's, credential look-ups, DNS.

Such a call runs in a thread of its own, which is left behind when the time is over. It ends by
itself, by botocore's own timeouts, and its result is thrown away.
"""

from __future__ import annotations

import math
import queue as queues
import threading
import weakref
from collections import deque
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from messaging.deadline import CURRENT

__all__ = ["Bounded"]

MOST = 100
"""The most calls of one connection that may be left behind. A program that publishes faster than
they end would fill the process with threads, so beyond this number a call fails at once."""
IDLE = 10.0
"""Seconds after which an idle thread ends. Starting one costs more than most calls."""

_Said = TypeVar("_Said")


class Bounded:
    """Runs calls for at most as long as `CURRENT` says. Safe in any thread; not across a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left_behind = 0
        self._idle: deque[_Runner] = deque()

    def __call__(
        self,
        call: Callable[[], _Said],
        *,
        longest: float = math.inf,
        forget: Callable[[_Said], object] | None = None,
    ) -> _Said:
        """What `call` returns or raises. Without a limit it runs in the calling thread.

        longest  seconds after which `call` ends by itself: with more than that left, it needs no
                 thread either, which would cost a boto3 call a third more.

        Raises `TimeoutError` when the time is over; `forget` is then given what comes after all.
        """
        deadline = CURRENT.get()
        left = math.inf if deadline is None else deadline.left()
        if left == math.inf or left > longest:
            return call()
        if not left:
            raise TimeoutError("no time was left")
        if self._left_behind >= MOST:
            raise TimeoutError(f"{MOST} earlier calls still wait for their answers")
        one = _Call(call, forget)
        self._run(one)
        if not one.done.acquire(timeout=min(left, threading.TIMEOUT_MAX)):
            with self._lock:
                one.left_behind = not one.ended
                self._left_behind += one.left_behind
        if one.left_behind:
            raise TimeoutError("the time was over")
        if one.error is not None:
            raise one.error
        said: _Said = one.said
        return said

    def _run(self, one: _Call) -> None:
        # Appending and popping are atomic: a thread belongs to the caller that popped it.
        try:
            self._idle.pop().calls.put(one)
        except IndexError:
            _Runner(self, one).start()

    def ended(self, one: _Call) -> None:
        """`one` has its outcome: wake the caller, if it still waits."""
        with self._lock:
            one.ended = True
            self._left_behind -= one.left_behind
        one.done.release()
        if one.left_behind and one.error is None and one.forget is not None:
            one.forget(one.said)

    def rest(self, runner: _Runner) -> None:
        """`runner` is idle."""
        self._idle.append(runner)

    def leave(self, runner: _Runner) -> bool:
        """Whether `runner` may end: nobody has a call for it at this moment."""
        try:
            self._idle.remove(runner)
        except ValueError:
            return False
        return True


class _Call:
    __slots__ = ("call", "context", "done", "ended", "error", "forget", "left_behind", "said")

    def __init__(self, call: Callable[[], Any], forget: Callable[[Any], object] | None) -> None:
        self.call = call
        self.forget = forget
        self.context = copy_context()
        self.done = threading.Lock()
        self.done.acquire()
        self.ended = False
        self.error: BaseException | None = None
        self.left_behind = False
        self.said: Any = None

    def run(self) -> None:
        CURRENT.set(None)  # of this call's own context: it is held to the limit as a whole
        try:
            self.said = self.call()
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits
            self.error = error


class _Runner(threading.Thread):
    """A thread that runs one call after the other."""

    def __init__(self, bounded: Bounded, first: _Call) -> None:
        super().__init__(name="messaging-bounded", daemon=True)
        self._bounded = weakref.ref(bounded)
        self.calls: queues.SimpleQueue[_Call] = queues.SimpleQueue()
        self.calls.put(first)

    def run(self) -> None:
        while True:
            try:
                one = self.calls.get(timeout=IDLE)
            except queues.Empty:
                bounded = self._bounded()
                if bounded is None or bounded.leave(self):
                    return
                continue
            one.context.run(one.run)
            bounded = self._bounded()
            if bounded is None:
                one.done.release()
                return
            # Before the caller is woken, so that its next call finds this thread idle.
            bounded.rest(self)
            bounded.ended(one)
            del one, bounded
