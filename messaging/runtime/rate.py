"""The token bucket of a rate limit: how many messages may be received now, and when the next."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

from messaging.clock import Clock
from messaging.outcome import RateLimit

__all__ = ["TokenBucket"]

_ROUNDING = 1e-6


class TokenBucket:
    """One token per received message; new tokens arrive at the limit's rate, up to its burst.
    Thread-safe."""

    def __init__(self, limit: RateLimit, clock: Clock) -> None:
        self.most = limit.most
        self.refilled: Callable[[], None] = lambda: None
        """Called when tokens have been added in any way other than by time."""
        self._a_second = limit.a_second
        self._clock = clock
        self._lock = threading.Lock()
        self._tokens = float(self.most)
        self._at = clock.monotonic()

    def free(self) -> int:
        """Available tokens; negative if more messages arrived than there were tokens."""
        with self._lock:
            return int((self._filled() + _ROUNDING) // 1)

    def took(self, count: int) -> None:
        """Take a token for each received message."""
        with self._lock:
            self._tokens = self._filled() - count

    def wait(self, tokens: int) -> float:
        """Seconds until so many tokens are available, if none is taken."""
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
