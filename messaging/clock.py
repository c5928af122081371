"""Clocks: now, monotonic and sleep, passed in so that tests can control time."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "utc"]


class Clock(Protocol):
    """The clock that the library uses. All values are in seconds."""

    def now(self) -> float:
        """Seconds since the epoch, UTC (wall clock; may jump)."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed time; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`.

        Args:
            seconds: how long.
        """
        ...


class SystemClock:
    """The system's clock.

    Example:
        ```python
        from messaging.clock import SystemClock

        assert SystemClock().now() > 0
        ```
    """

    __slots__ = ()

    # Bound directly, because they are called several times for every message.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        """See `Clock.sleep`."""
        time.sleep(seconds)


SYSTEM_CLOCK: Clock = SystemClock()


def utc(seconds: float) -> datetime:
    """`seconds` since the epoch as an aware datetime in UTC.

    Args:
        seconds: seconds since the epoch.

    Example:
        ```python
        from messaging.clock import utc

        assert utc(0).isoformat() == "1970-01-01T00:00:00+00:00"
        ```
    """
    return datetime.fromtimestamp(seconds, UTC)
