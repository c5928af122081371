"""Holds calls to a time limit that cannot be told one: boto3's, credential look-ups, DNS.

Such a call runs in a thread of its own, which is left behind when the time is over. It ends by
itself, by botocore's own timeouts, and its result is thrown away.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Any, TypeVar

from messaging.deadline import CURRENT

__all__ = ["Bounded"]

MOST = 100
"""Calls left behind at once, of one connection. Whoever publishes faster than they end would fill
the process with threads: beyond this a call fails at once."""

_Said = TypeVar("_Said")


class Bounded:
    """Runs calls for at most as long as `CURRENT` says. Safe in any thread; not across a fork."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._left_behind = 0

    def __call__(
        self, call: Callable[[], _Said], *, forget: Callable[[_Said], object] | None = None
    ) -> _Said:
        """What `call` returns or raises. Without a limit it runs in the calling thread.

        Raises `TimeoutError` when the time is over; `forget` is then given what comes after all.
        """
        deadline = CURRENT.get()
        left = math.inf if deadline is None else deadline.left()
        if left == math.inf:
            return call()
        if not left:
            raise TimeoutError("no time was left")
        if self._left_behind >= MOST:
            raise TimeoutError(f"{MOST} earlier calls still wait for their answers")
        one = _Call(call)
        threading.Thread(
            target=copy_context().run, args=(self._run, one, forget),
            name="messaging-bounded", daemon=True,
        ).start()  # fmt: skip
        if not one.done.wait(min(left, threading.TIMEOUT_MAX)):
            with self._lock:
                if not one.done.is_set():
                    one.left_behind = True
                    self._left_behind += 1
        if one.left_behind:
            raise TimeoutError("the time was over")
        if one.error is not None:
            raise one.error
        said: _Said = one.said
        return said

    def _run(self, one: _Call, forget: Callable[[Any], object] | None) -> None:
        CURRENT.set(None)  # of this thread's own context: it is held to the limit as a whole
        try:
            one.said = one.call()
        except BaseException as error:  # noqa: BLE001 - raised where somebody waits
            one.error = error
        with self._lock:
            one.done.set()
            self._left_behind -= one.left_behind
        if one.left_behind and one.error is None and forget is not None:
            forget(one.said)


class _Call:
    __slots__ = ("call", "done", "error", "left_behind", "said")

    def __init__(self, call: Callable[[], Any]) -> None:
        self.call = call
        self.done = threading.Event()
        self.error: BaseException | None = None
        self.left_behind = False
        self.said: Any = None
