"""Enforces a time limit on calls that have none: boto3's, credential look-ups, DNS.

Such a call runs in a thread of its own, which is abandoned when the time is up. It ends eventually,
by botocore's own timeouts, and its result is discarded.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from contextvars import copy_context
from typing import TypeVar

from messaging.deadline import CURRENT

__all__ = ["Bounded"]

MOST = 100
"""Maximum number of abandoned calls per connection. A program that publishes faster than they end
would fill the process with threads, so beyond this number a call fails immediately."""

_Said = TypeVar("_Said")


class Bounded:
    """Runs calls within the deadline `CURRENT`. Thread-safe, but not across a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left_behind = 0

    def __call__(
        self,
        call: Callable[[], _Said],
        *,
        longest: float = math.inf,
        forget: Callable[[_Said], object] | None = None,
    ) -> _Said:
        """Return or raise the result of `call`. Without a limit, it runs in the calling thread.

        longest  seconds after which `call` ends by itself: with more time left, it needs no thread
                 either, which would make a boto3 call a third more expensive.

        Raises `TimeoutError` when the time is up; `forget` gets a result that arrives later.
        """
        deadline = CURRENT.get()
        left = math.inf if deadline is None else deadline.left()
        if left == math.inf or left > longest:
            return call()
        if not left:
            raise TimeoutError("no time was left")
        if self._left_behind >= MOST:
            raise TimeoutError(f"{MOST} earlier calls still wait for their answers")
        said: Future[_Said] = Future()
        # A daemon, which no pool's threads are: the process may end before the call does.
        threading.Thread(
            target=copy_context().run,
            args=(_run, call, said),
            name="messaging-bounded",
            daemon=True,
        ).start()
        if not wait([said], min(left, threading.TIMEOUT_MAX)).done:
            self._count(1)
            said.add_done_callback(lambda late: self._late(late, forget))
            raise TimeoutError("the time was over")
        return said.result()

    def _late(self, late: Future[_Said], forget: Callable[[_Said], object] | None) -> None:
        self._count(-1)
        if forget is not None and late.exception() is None:
            forget(late.result())

    def _count(self, more: int) -> None:
        with self._lock:
            self._left_behind += more


def _run(call: Callable[[], _Said], said: Future[_Said]) -> None:
    CURRENT.set(None)  # of this call's own context: it is held to the limit as a whole
    try:
        said.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised where somebody waits
        said.set_exception(error)
