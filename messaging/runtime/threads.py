"""Starts a worker's threads, and notices when one of them dies."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from messaging.clock import SYSTEM_CLOCK

__all__ = ["Threads", "on_signals"]


STOPPING = (signal.SIGTERM, signal.SIGINT)


@contextmanager
def on_signals(ask: Callable[[], None]) -> Iterator[None]:
    """Call `ask` on each SIGTERM and SIGINT; the previous handlers are restored at the end.

    `ask` runs between two instructions of the main thread, which may hold any lock at that moment,
    so it must not take one. Outside the main thread this does nothing, because Python allows no
    signal handlers there.
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
            # None: not set from Python, so it cannot be restored from here.
            signal.signal(one, signal.SIG_DFL if handler is None else handler)


class Threads:
    """The threads of one worker. All are daemons: a hanging handler does not keep the process
    alive.

    `died` is called with the exception that ended a thread: none dies silently.
    """

    def __init__(self, died: Callable[[BaseException], None]) -> None:
        self._died = died
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()

    def start(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Run `work` in a thread of its own."""

        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told to the worker, which stops
                self._died(error)

        thread = threading.Thread(target=run, name=f"messaging-{name}", daemon=True)
        with self._lock:
            thread.start()
            # Helpers come and go: forget those that have ended.
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        return thread

    def includes_me(self) -> bool:
        """True if the calling thread is one of these."""
        with self._lock:
            return threading.current_thread() in self._threads

    def join(self, seconds: float) -> list[str]:
        """Wait up to `seconds` in total; returns the names of the threads that still run."""
        end = SYSTEM_CLOCK.monotonic() + seconds
        with self._lock:
            threads = [one for one in self._threads if one is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, end - SYSTEM_CLOCK.monotonic()))
        return [thread.name for thread in threads if thread.is_alive()]
