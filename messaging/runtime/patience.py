"""Patience: how long to wait for a queue that does not answer, and saying so once."""

from __future__ import annotations

import random

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.logs import logger

__all__ = ["Patience", "pause_after"]

log = logger("messaging.runtime")

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 30.0
"""Seconds to wait after a request that failed: doubled each time, half of it by chance."""


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failures in succession."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(failures - 1, 20))
    return random.uniform(longest / 2, longest)


class Patience:
    """Waits for queues at the start of a worker, for `seconds` altogether."""

    def __init__(self, seconds: float) -> None:
        self._until = SYSTEM_CLOCK.monotonic() + seconds
        self._failures = 0

    def after(self, error: TransportError) -> float | None:
        """Seconds to wait before asking again; None: the error is final."""
        left = self._until - SYSTEM_CLOCK.monotonic()
        if not error.retryable or left <= 0:
            return None
        self._failures += 1
        if self._failures == 1:
            log.warning(
                "a queue does not answer, and the worker waits for it: %s: %s",
                error.code or type(error).__name__,
                error,
            )
        return min(left, pause_after(self._failures))

    def over(self) -> None:
        """All queues have answered."""
        if self._failures:
            log.warning("all queues answer, after %d failures: the worker starts", self._failures)
