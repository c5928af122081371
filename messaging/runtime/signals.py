"""The room of signals: while a worker runs, SIGTERM and Ctrl-C ask it to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

__all__ = ["on_signals"]

STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` at each SIGTERM and SIGINT; the handlers before are put back at the end.

    `ask` runs between two instructions of the main thread, whatever that holds at the moment: it
    must not take a lock. In another thread than the main one this does nothing, for there Python
    allows no handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def heard(number: int, frame: FrameType | None) -> None:
        ask()

    before: dict[signal.Signals, Any] = {one: signal.signal(one, heard) for one in STOPPING}
    try:
        yield
    finally:
        for one, handler in before.items():
            # None: set by something else than Python, which cannot be put back from here.
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
