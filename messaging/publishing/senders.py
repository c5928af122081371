"""The threads of a buffered publisher: two, and more while answers take long and requests wait."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable

from messaging.transport import BATCH_ENTRIES
from messaging.window import FAR

__all__ = ["LEAVES", "Senders"]

FIRST = 2
"""Threads at the start, and where answers come quickly."""
LEAVES = 5.0
"""Seconds for which a thread beyond those waits for something to send, before it ends."""


class Senders:
    """Starts threads that run `work`, at most `most`. Its methods are called under one lock.

    idle  threads that wait for something to send.
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
        """Start those that are needed while so many events wait to be sent."""
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
        """The calling thread ends."""
        self.threads.remove(threading.current_thread())

    def _start(self) -> None:
        # Daemons: atexit joins them after sending, where a thread that is none would be joined
        # before atexit runs and would wait for a close() that never comes.
        thread = threading.Thread(
            target=self._work, name=f"messaging-linger-{next(self._numbers)}", daemon=True
        )
        self.threads.append(thread)
        try:
            thread.start()
        except RuntimeError:  # the system has no more threads: those there are go on
            self.threads.remove(thread)
            if not self.threads:
                raise
