"""Protocols of stores: for who handles which event, for big bodies, and for shared rate limits.

The stores themselves stand where their databases are known: `messaging.idempotency` (memory,
SQLite, PostgreSQL, Redis), `messaging.rates` (memory, PostgreSQL, Redis), `messaging.claimcheck`
and `messaging.aws` (DynamoDB, S3).
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
"""A process that a `RateStore` has not heard of for so long is taken for dead."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A claim: only its holder may handle `event_id` for `service` now.

    `token` tells this claim from one that somebody makes after it has expired.

    Args:
        service: the name of a service.
        event_id: what the event is known by.
        token: tells this claim from others of the same event.

    Example:
        ```python
        from messaging.idempotency import MemoryStore
        from messaging.stores import Claim

        store = MemoryStore()
        claim = store.begin("marketing", "event-1", lease_seconds=60)
        assert isinstance(claim, Claim)  # nobody else has it: handle the event, and then
        assert store.complete(claim)
        ```
    """

    service: str
    event_id: str
    token: str


@dataclass(frozen=True, slots=True)
class InProgress:
    """Somebody else has claimed it. `seconds` until that claim expires, if it is not renewed.

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
    """It was handled, and stays so until the mark is pruned.

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

    Three states: absent, in progress with an expiry, done. Every method is atomic, and may be
    called from any thread and in any process.

    Raises:
        TransportError: by each method, when its database is away (a store of your own: anything).
    """

    def begin(
        self, service: str, event_id: str, *, lease_seconds: float
    ) -> Claim | InProgress | Done:
        """Claim it for `lease_seconds`, if it is absent or the last claim has expired.

        Args:
            service: the name of a service.
            event_id: what the event is known by.
            lease_seconds: seconds until the claim expires.
        """
        ...

    def renew(self, claim: Claim, *, lease_seconds: float) -> bool:
        """Hold it for `lease_seconds` from now. False: it is no longer ours.

        Args:
            claim: what `begin` gave.
            lease_seconds: seconds from now until it expires.
        """
        ...

    def complete(self, claim: Claim) -> bool:
        """It is done, for ever. False: it is no longer ours, and nothing was changed.

        A claim that has expired is still ours as long as nobody took it over.

        Args:
            claim: what `begin` gave.
        """
        ...

    def release(self, claim: Claim) -> bool:
        """It is absent again: the next may try. False: it was not ours any more.

        Args:
            claim: what `begin` gave.
        """
        ...

    def prune(self, older_than: float) -> int:
        """Forget what was done, or was claimed and expired, more than `older_than` seconds ago.

        Returns how many; 0 from a database that forgets by itself (Redis, DynamoDB). What is
        forgotten is handled again if it comes again.

        Args:
            older_than: seconds.
        """
        ...

    def close(self) -> None:
        """Let go of connections that the store made itself."""
        ...


@runtime_checkable
class ManyAtOnce(Protocol):
    """An `IdempotencyStore` that is asked for several events in one round trip, where it has these
    methods. Each event is as atomic as by itself; all of them together are not."""

    def begin_many(
        self, service: str, event_ids: Sequence[str], *, lease_seconds: float
    ) -> Sequence[Claim | InProgress | Done]:
        """`begin` for each of `event_ids`, no two of which are the same; the answers in order.

        Args:
            service: the name of a service.
            event_ids: what the events are known by.
            lease_seconds: seconds until the claims expire.
        """
        ...

    def complete_many(self, claims: Sequence[Claim]) -> Sequence[bool]:
        """`complete` for each of `claims`, which are of one service; the answers in order.

        Args:
            claims: what `begin_many` gave, of one service.
        """
        ...


class BlobStore(Protocol):
    """Keeps bytes under a key. Every method may be called from any thread."""

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`. A key that is there already keeps or replaces what it had.

        Args:
            key: what it is kept under.
            data: what is kept.
        """
        ...

    def get(self, key: str) -> bytes:
        """What was put.

        Args:
            key: what it was kept under.

        Raises:
            NotFound: when there is nothing under `key`.
            TransportError: when the store did not answer.
        """
        ...


@dataclass(frozen=True, slots=True)
class Reservation:
    """`seconds` until what was reserved may be used, 0 or less for now; and how many processes
    share the limit, the asking one included.

    Args:
        seconds: seconds until what was reserved may be used; 0 or less: now.
        members: how many processes share the limit.

    Example:
        ```python
        from messaging.rates.memory import MemoryRates

        rates = MemoryRates()  # at ten a second, each message costs 0.1 seconds
        reservation = rates.reserve("marketing", "worker-1", 0.1, saved=0.5, ahead=5.0)
        assert reservation.members == 1
        assert reservation.seconds <= 0  # at once: nothing was used for half a second
        ```
    """

    seconds: float
    members: int


class RateStore(Protocol):
    """Keeps, for each queue, the token bucket that all who receive from it share.

    A bucket is one moment: that until which its tokens are reserved. Whoever reserves moves it on,
    and waits until it has come; so nobody waits for long while others are served. Time is the
    store's own, so that no machine's clock matters. Every method is atomic and may be called from
    any thread and in any process.

    Raises:
        TransportError: by each method, when its database is away (a store of your own: anything).
    """

    def reserve(
        self, queue: str, member: str, cost: float, *, saved: float, ahead: float
    ) -> Reservation:
        """Move the moment on by `cost` seconds, and note that `member` is alive.

        Args:
            queue: the queue whose bucket it is.
            member: the process that reserves: any text of its own.
            cost: seconds that the limit takes to make the tokens that are reserved; may be 0.
            saved: the moment is never further behind than this: what is not used for longer is
                lost.
            ahead: it is never further ahead than this for each member, before it is moved: then it
                was written by a clock that has been set back.
        """
        ...

    def leave(self, queue: str, member: str, cost: float) -> None:
        """`member` ends, and gives back what it has not used.

        Args:
            queue: the queue whose bucket it is.
            member: the process that ends.
            cost: seconds that it gives back.
        """
        ...

    def close(self) -> None:
        """Let go of connections that the store made itself."""
        ...
