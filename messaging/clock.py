"""Time: now, monotonic and sleep, handed in so that tests own them."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

__all__ = ["SYSTEM_CLOCK", "Clock", "SystemClock", "utc"]


class Clock(Protocol):
    """What the library asks of time. All values are seconds."""

    def now(self) -> float:
        """Seconds since the epoch, UTC (wall clock; may jump)."""
        ...

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""
        ...

    def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        ...


class SystemClock:
    """The machine's own time."""

    __slots__ = ()

    # As they are: they are asked some times for every message.
    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


SYSTEM_CLOCK: Clock = SystemClock()


def utc(seconds: float) -> datetime:
    """`seconds` since the epoch as an aware datetime in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
