"""The room of the crew: starts a worker's threads, and hears it when one of them dies."""

from __future__ import annotations

import threading
from collections.abc import Callable

from messaging.clock import SYSTEM_CLOCK

__all__ = ["Crew"]


class Crew:
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
