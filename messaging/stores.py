"""Protocols of stores: for idempotency, for large bodies, and for shared rate limits.

The stores themselves are in `messaging.idempotency` (memory, SQLite, PostgreSQL, Redis),
`messaging.rates` (memory, PostgreSQL, Redis), `messaging.claimcheck` and `messaging.aws` (DynamoDB,
S3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

__all__ = [
    "MEMBER_SECONDS",
    "BlobStore",
    "Claim",
    "Done",
    "IdempotencyStore",
    "InProgress",
    "ManyAtOnce",
    "RateStore",
    "Reservation",
]

MEMBER_SECONDS = 45.0
"""Seconds after which a `RateStore` considers a silent process dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim: only its holder may handle `event_id` for `service` now.

    `token` distinguishes this claim from one made after it has expired.

    Args:
        service: the name of a service.
        event_id: the identity of the event.
        token: distinguishes this claim from others for the same event.

    Example:
        ```python
        from messaging.idempotency import MemoryStore
        from messaging.stores import Claim

        store = MemoryStore()
        claim = store.begin("marketing", "event-1", lease_seconds=60)
        assert isinstance(claim, Claim)  # no other claim exists: handle the event, and then
        assert store.complete(claim)
        ```
    """

    service: str
    event_id: str
    token: str


@dataclass(frozen=True, slots=True)
class InProgress:
    """Another process has claimed it. `seconds` until that claim expires, if it is not renewed.

    Args:
        seconds: seconds until that claim expires.

    Example:
        ```python
        from messaging.idempotency import MemoryStore
        from messaging.stores import InProgress

        store = MemoryStore()
        store.begin("marketing", "event-1", lease_seconds=60)
        found = store.begin("marketing", "event-1", lease_seconds=60)
        assert isinstance(found, InProgress) and found.seconds <= 60
        ```
    """

    seconds: float


@dataclass(frozen=True, slots=True)
class Done:
    """It has been handled; this lasts until the mark is pruned.

    Example:
        ```python
        from messaging.idempotency import MemoryStore
        from messaging.stores import Claim, Done

        store = MemoryStore()
        claim = store.begin("marketing", "event-1", lease_seconds=60)
        assert isinstance(claim, Claim) and store.complete(claim)
        assert store.begin("marketing", "event-1", lease_seconds=60) == Done()
        ```
    """


class IdempotencyStore(Protocol):
    """Remembers per service which events are in progress and which are done.

    An event has one of three states: absent, in progress with an expiry, or done. Every method is
    atomic, and may be called from any thread and process.

    Raises:
        TransportError: by each method, if its database is unavailable (your own store may raise
            anything).
    """

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        """Claim it for `lease_seconds`, if it is absent or the last claim has expired.

        Args:
            service: the name of a service.
            event_id: the identity of the event.
            lease_seconds: seconds until the claim expires.
        """
        ...

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Extend the claim to `lease_seconds` from now. False: it is no longer ours.

        Args:
            claim: from `begin`.
            lease_seconds: seconds from now until it expires.
        """
        ...

    def complete(self, claim: Claim) -> bool:
        """Mark it as done, permanently. False: it is no longer ours, and nothing was changed.

        An expired claim is still ours until another process takes it over.

        Args:
            claim: from `begin`.
        """
        ...

    def release(self, claim: Claim) -> bool:
        """Make it absent again, so that the next attempt may claim it. False: it was no longer
        ours.

        Args:
            claim: from `begin`.
        """
        ...

    def prune(self, older_than: float) -> int:
        """Forget events that were done, or whose claims expired, more than `older_than` seconds
        ago.

        Returns how many; 0 for a database that forgets by itself (Redis, DynamoDB). A forgotten
        event is handled again if it is redelivered.

        Args:
            older_than: seconds.
        """
        ...

    def close(self) -> None:
        """Close the connections that the store opened itself."""
        ...


@runtime_checkable
class ManyAtOnce(Protocol):
    """An `IdempotencyStore` with these methods handles several events in one round trip. Each event
    is atomic on its own; all of them together are not."""

    def begin_many(
        self, service: str, event_ids: Sequence[str], *, lease_seconds: float
    ) -> Sequence[Claim | InProgress | Done]:
        """`begin` for each of `event_ids`, which are all different; returns the results in order.

        Args:
            service: the name of a service.
            event_ids: the identities of the events.
            lease_seconds: seconds until the claims expire.
        """
        ...

    def complete_many(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """`complete` for each of `claims`, which have the same service; returns the results in
        order.

        Args:
            claims: from `begin_many`, of one service.
        """
        ...


class BlobStore(Protocol):
    """Stores bytes under a key. Every method is thread-safe."""

    def put(self, key: str, data: bytes) -> None:
        """Store `data`. An existing key keeps or replaces its data.

        Args:
            key: the key.
            data: the data to store.
        """
        ...

    def get(self, key: str) -> bytes:
        """Return the stored data.

        Args:
            key: the key under which it was stored.

        Raises:
            NotFound: if there is nothing under `key`.
            TransportError: if the store did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """The seconds until the reserved tokens may be used (0 or less: now), and the number of
    processes that share the limit, including the caller.

    Args:
        seconds: seconds until the reserved tokens may be used; 0 or less: now.
        members: the number of processes that share the limit.

    Example:
        ```python
        from messaging.rates.memory import MemoryRates

        rates = MemoryRates()  # at ten a second, each message costs 0.1 seconds
        reservation = rates.reserve("marketing", "worker-1", 0.1, saved=0.5, ahead=5.0)
        assert reservation.members == 1
        assert reservation.seconds <= 0  # immediately: nothing was used for half a second
        ```
    """

    seconds: float
    members: int


class RateStore(Protocol):
    """Keeps, for each queue, the token bucket that all its receivers share.

    A bucket is a single time: until when its tokens are reserved. A reservation moves it forward,
    and its tokens may be used when that time has come; so processes take turns. Time is the store's
    own, so no machine's clock matters. Every method is atomic and may be called from any thread and
    process.

    Raises:
        TransportError: by each method, if its database is unavailable (your own store may raise
            anything).
    """

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        """Move the time forward by `cost` seconds, and record that `member` is alive.

        Args:
            queue: the bucket's queue.
            member: the reserving process: any unique text.
            cost: seconds in which the limit produces the reserved tokens; may be 0.
            saved: the time never lags further behind than this: tokens unused for longer are lost.
            ahead: before it is moved, it is never further ahead than this per member: otherwise it
                was written by a clock that has since been set back.
        """
        ...

    def leave(self, queue: str, member: str, cost: float) -> None:
        """Remove `member`, and return its unused tokens.

        Args:
            queue: the bucket's queue.
            member: the process that ends.
            cost: seconds' worth of tokens that it returns.
        """
        ...

    def close(self) -> None:
        """Close the connections that the store opened itself."""
        ...
