"""Shared rates in memory: for workers in threads, and for tests."""

from __future__ import annotations

import threading

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.stores import MEMBER_SECONDS, Reservation

__all__ = ["MemoryRates"]


class MemoryRates:
    """A `RateStore` for the workers of one process.

    Args:
        clock: the source of time; a test may pass a `FakeClock`.

    Example:
        ```python
        from messaging.rates.memory import MemoryRates

        rates = MemoryRates()  # Worker(..., rates=rates), for tests
        ```
    """

    def __init__(self, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._until: dict[str, float] = {}
        self._members: dict[str, dict[str, float]] = {}

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        """See `RateStore.reserve`."""
        with self._lock:
            now = self._clock.monotonic()
            members = self._members.setdefault(queue, {})
            members[member] = now
            for one in [name for name, seen in members.items() if seen <= now - MEMBER_SECONDS]:
                del members[one]
            until = min(self._until.get(queue, now - saved), now + len(members) * ahead)
            self._until[queue] = until = max(until, now - saved) + cost
            return Reservation(until - now, len(members))

    def leave(self, queue: str, member: str, cost: float) -> None:
        """See `RateStore.leave`."""
        with self._lock:
            if queue in self._until:
                self._until[queue] -= cost
            self._members.get(queue, {}).pop(member, None)

    def close(self) -> None:
        """Do nothing: there are no resources."""
