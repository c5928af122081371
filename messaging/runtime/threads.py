"""The crew: starts a worker's threads, and hears it when one of them dies."""

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


class Threads:
    """The threads of one worker. All are daemons: a handler that hangs keeps no process alive.

    `died` is called with what a thread died of: no thread of the library dies in silence.
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
            # Helpers come and go: those that have ended are forgotten.
            self._threads = [*(one for one in self._threads if one.is_alive()), thread]
        return thread

    def includes_me(self) -> bool:
        """True in a thread of this crew."""
        with self._lock:
            return threading.current_thread() in self._threads

    def join(self, seconds: float) -> list[str]:
        """Wait for all for `seconds` together; the names of those that still run."""
        end = SYSTEM_CLOCK.monotonic() + seconds
        with self._lock:
            threads = [one for one in self._threads if one is not threading.current_thread()]
        for thread in threads:
            thread.join(max(0.0, end - SYSTEM_CLOCK.monotonic()))
        return [thread.name for thread in threads if thread.is_alive()]
