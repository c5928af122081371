"""Idempotency marks in memory: for tests, and for a service that runs as one process."""

from __future__ import annotations

import threading
from collections import OrderedDict
from uuid import uuid4

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError
from messaging.stores import Claim, Done, InProgress

__all__ = ["MemoryStore"]

_Key = tuple[str, str]


class MemoryStore:
    """An `IdempotencyStore` in memory, lost when its process ends.

    Args:
        capacity: maximum number of completed events remembered; the oldest are forgotten first.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if `capacity` is below 1.

    Example:
        ```python
        from messaging.idempotency import Idempotency, MemoryStore

        once = Idempotency(MemoryStore(capacity=10_000))  # Worker(..., middleware=[once])
        ```
    """

    def __init__(self, *, capacity: int = 100_000, clock: Clock = SYSTEM_CLOCK) -> None:
        if capacity < 1:
            raise ConfigurationError(f"MemoryStore(capacity={capacity}): at least 1")
        self._capacity = capacity
        self._clock = clock
        self._lock = threading.Lock()
        self._claims: dict[_Key, tuple[str, float]] = {}  # token, expiry
        self._done: OrderedDict[_Key, float] = OrderedDict()  # since when, oldest first

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        """See `IdempotencyStore.begin`."""
        key, token = (service, event_id), uuid4().hex
        with self._lock:
            if key in self._done:
                return Done()
            now = self._clock.monotonic()
            _, expiry = self._claims.get(key, ("", now))
            if now < expiry:
                return InProgress(expiry - now)
            self._claims[key] = token, now + lease_seconds
        return Claim(service=service, event_id=event_id, token=token)

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        """See `IdempotencyStore.renew`."""
        with self._lock:
            if not self._is_ours(claim):
                return False
            expiry = self._clock.monotonic() + lease_seconds
            self._claims[claim.service, claim.event_id] = claim.token, expiry
            return True

    def complete(self, claim: Claim) -> bool:
        """See `IdempotencyStore.complete`."""
        with self._lock:
            if not self._give_up(claim):
                return False
            self._done[claim.service, claim.event_id] = self._clock.monotonic()
            if len(self._done) > self._capacity:
                self._done.popitem(last=False)
            return True

    def release(self, claim: Claim) -> bool:
        """See `IdempotencyStore.release`."""
        with self._lock:
            return self._give_up(claim)

    def prune(self, older_than: float) -> int:
        """See `IdempotencyStore.prune`."""
        with self._lock:
            limit = self._clock.monotonic() - older_than
            old = [key for key, since in self._done.items() if since < limit]
            for key in old:
                del self._done[key]
            abandoned = [key for key, (_, expiry) in self._claims.items() if expiry < limit]
            for key in abandoned:
                del self._claims[key]
            return len(old) + len(abandoned)

    def close(self) -> None:
        pass

    def __len__(self) -> int:
        """The number of events remembered as done."""
        return len(self._done)

    def _give_up(self, claim: Claim) -> bool:
        ours = self._is_ours(claim)
        if ours:
            del self._claims[claim.service, claim.event_id]
        return ours

    def _is_ours(self, claim: Claim) -> bool:
        token, _ = self._claims.get((claim.service, claim.event_id), ("", 0.0))
        return token == claim.token
