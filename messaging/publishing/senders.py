"""The threads of a buffered publisher: two, and more while answers are slow and requests wait."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from messaging.transport import BATCH_ENTRIES
from messaging.window import FAR

__all__ = ["LEAVES", "Senders"]

FIRST = 2
"""Number of threads at the start, and while answers are quick."""
LEAVES = 5.0
"""Seconds for which an additional thread waits for something to send before it ends."""


class Senders:
    """Starts threads that run `work`, at most `most`. Its methods are called under one lock.

    idle  number of threads that wait for something to send.
    way   seconds that the last request took.
    """

    def __init__(self, work: Callable[[], None], most: int) -> None:
        self._work = work
        self._most = most
        self._numbers = itertools.count()
        self.threads: list[threading.Thread] = []
        self.idle = 0
        self.way = 0.0

    def enough(self, waiting: int) -> None:
        """Start as many threads as needed while so many events wait to be sent."""
        if not self.threads:
            for _ in range(min(FIRST, self._most)):
                self._start()
        elif (
            waiting >= 2 * BATCH_ENTRIES
            and not self.idle
            and self.way >= FAR
            and len(self.threads) < self._most
        ):
            self._start()

    def longest_wait(self) -> float | None:
        """Seconds for which the calling thread waits for something to send; None: for ever."""
        return None if len(self.threads) <= FIRST else LEAVES

    def leave(self) -> None:
        """Record that the calling thread ends."""
        self.threads.remove(threading.current_thread())

    def _start(self) -> None:
        # Daemons: our atexit hook joins them after sending. Other threads would be joined before
        # atexit runs, and would wait for a close() that never comes.
        thread = threading.Thread(
            target=self._work, name=f"messaging-linger-{next(self._numbers)}", daemon=True
        )
        self.threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: continue with those we have
            self.threads.remove(thread)
            if not self.threads:
                raise
