"""The token bucket of a rate limit: how many messages may be received now, and when again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from messaging.clock import Clock
from messaging.outcome import RateLimit

__all__ = ["TokenBucket"]

_ROUNDING = 1e-6


class TokenBucket:
    """One token for each message that is received; new ones come at the limit's rate, up to its
    burst. Safe to use from any thread."""

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self.most = limit.most
        self.refilled: Callable[[], None] = lambda: None
        """Called when tokens have come in another way than with time."""
        self._a_second = limit.a_second
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(self.most)
        self._at = clock.monotonic()

    def free(self) -> int:
        """Tokens that are there now; below zero, when more came than there were."""
        with self._lock:
            return int((self._filled() + _ROUNDING) // 1)

    def took(self, count: int) -> None:
        """So many messages were received."""
        with self._lock:
            self._tokens = self._filled() - count

    def wait(self, tokens: int) -> float:
        """Seconds until so many tokens are there, if nobody takes one."""
        with self._lock:
            short = tokens - self._filled()
            if short <= 0:
                return 0.0
            return short / self._a_second if self._a_second else math.inf

    def _filled(self) -> float:
        now = self._clock.monotonic()
        self._tokens = min(self.most, self._tokens + (now - self._at) * self._a_second)
        self._at = now
        return self._tokens
