"""A fake clock that stands still until a test moves it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

from messaging.errors import ConfigurationError

__all__ = ["FakeClock"]

_START = datetime(2026, 1, 5, 12, 0, tzinfo=UTC)


class FakeClock:
    """A `Clock` that a test moves by hand; `sleep` returns immediately and moves it too.

        clock = FakeClock()
        broker = MemoryBroker(TOPOLOGY, clock=clock)
        clock.advance(60)               # every lease of a minute is over

    Thread-safe.

    Args:
        start: its initial time, an aware datetime; by default a Monday noon in UTC.

    Raises:
        ConfigurationError: if `start` has no time zone.

    Example:
        ```python
        from messaging.testing import FakeClock

        clock = FakeClock()
        before = clock.monotonic()
        clock.advance(60)
        assert clock.monotonic() - before == 60
        ```
    """

    def __init__(self, start: datetime = _START) -> None:
        if start.tzinfo is None:
            raise ConfigurationError("FakeClock(start=...): an aware datetime is needed (tzinfo)")
        self._start = start.timestamp()
        self._passed = 0.0
        self._lock = threading.Lock()

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._start + self._passed

    def monotonic(self) -> float:
        """Seconds that have been advanced or slept since the clock was created."""
        return self._passed

    def sleep(self, seconds: float) -> None:
        """Return immediately, after moving the clock by `seconds`.

        Args:
            seconds: how long the caller wants to sleep.
        """
        self.advance(seconds)

    def advance(self, seconds: float) -> None:
        """Let `seconds` (0 or more) pass.

        Args:
            seconds: how far, 0 or more.

        Raises:
            ConfigurationError: if `seconds` is negative: time only goes forward.
        """
        if seconds < 0:
            raise ConfigurationError(f"FakeClock.advance({seconds}): time only moves forward")
        with self._lock:
            self._passed += seconds
