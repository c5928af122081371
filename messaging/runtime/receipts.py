"""The room of receipts: one in hand and what is known of it, how it may end, and how many did."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, fields
from enum import Enum
from typing import Self

from messaging.outcome import Ack, Discard, Outcome
from messaging.settlement import give_back
from messaging.transport import Delivery

__all__ = [
    "HANDLER_TIMEOUT",
    "LOST",
    "MAX_LEASE",
    "STOPPING",
    "Account",
    "Held",
    "Stats",
    "give_back",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What became of the receipts of one service, or of all: counts since the start.

    received       receipts; a message that came again counts again.
    acknowledged   deleted: its handler returned, or discarded it.
    released       made visible again, now or after a delay: to be retried, or given back at stop.
    dead_lettered  copied to the dead-letter queue, then deleted.
    expired        left to its lease, because that was lost or settling failed: it comes again.
    in_hand        waiting for a handler, in one, or waiting to be settled.
    discarded      of the acknowledged, those that a handler discarded.
    deduplicated   of the acknowledged and the dead-lettered, those that came again after they had
                   been handled, and were not handled again.
    """

    received: int = 0
    acknowledged: int = 0
    released: int = 0
    dead_lettered: int = 0
    expired: int = 0
    in_hand: int = 0
    discarded: int = 0
    deduplicated: int = 0

    @property
    def balanced(self) -> bool:
        """True: what was received is what was settled and what is in hand."""
        settled = self.acknowledged + self.released + self.dead_lettered + self.expired
        return self.received == settled + self.in_hand

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )

    @classmethod
    def total(cls, each: Iterable[Stats]) -> Self:
        """The sum of several services'."""
        return sum(each, cls())  # type: ignore[return-value]  # __add__ of a sum of Stats


LOST, MAX_LEASE, HANDLER_TIMEOUT, STOPPING = (
    "lease lost",
    "max_lease",
    "handler_timeout",
    "stopping",
)
"""Why a handler is told to end: the reasons of a `CancelToken`."""


class Account(Enum):
    """How a receipt ends."""

    __hash__ = object.__hash__  # Enum's own is a function in Python

    ACKNOWLEDGED = "acknowledged"
    RELEASED = "released"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


class Held:
    """One receipt in hand. Times are of the clock's `monotonic`, in seconds.

    Who may write: the ledger under its lock; `outcome` and `started` whoever runs the handler,
    once; `ending` and `capped` whoever looks after the leases.
    """

    __slots__ = (
        "cancel",
        "capped",
        "copied",
        "delivery",
        "ending",
        "first",
        "given",
        "gone",
        "key",
        "lease_until",
        "lost",
        "outcome",
        "received",
        "remembered",
        "sealed",
        "started",
        "told",
        "tries",
    )

    def __init__(self, key: Hashable, delivery: Delivery, now: float, lease: float) -> None:
        self.key = key
        self.delivery = self.given = delivery
        """The newest receipt, and the one that its handler was given."""
        self.received = self.first = now
        """When these two came."""
        self.lease_until = now + lease
        self.outcome: Outcome | None = None
        self.started: float | None = None
        """When its handler began."""
        self.cancel: Callable[[], object] | None = None
        """Cancels its handler, if that is async."""
        self.told = ""
        """Why its handler was told to end."""
        self.ending = ""
        """The same, if a limit of time was the reason."""
        self.tries = 0
        self.copied = False
        """Its copy stands in the dead-letter queue."""
        self.remembered = False
        """It was handled before, by an earlier receipt."""
        self.sealed = False
        """It is being settled: nobody else may touch its lease."""
        self.gone = False
        """It was given up while its handler ran, which still does."""
        self.lost = False
        """Its lease is: the message may be in other hands."""
        self.capped = False
        """Its lease is renewed no more."""

    def hold(self, delivery: Delivery, now: float, lease: float) -> None:
        """Hold the message by this receipt, too, received `now` for `lease` seconds."""
        if self.started is None:  # nobody has seen the receipt before
            self.first, self.given, self.told, self.ending = now, delivery, "", ""
        self.delivery = delivery
        self.received = now
        self.lease_until = now + lease
        self.lost = False
        self.capped = bool(self.ending)

    @property
    def watched(self) -> bool:
        """True: its handler has asked whether it is to end."""
        return self.given.cancel_token.watched

    def tell(self, reason: str) -> None:
        """Tell its handler to end; the first reason stays."""
        self.told = self.told or reason
        self.given.cancel_token.set(reason)

    @property
    def handled(self) -> bool:
        """True: its handler is done with it for good, whatever becomes of the delete."""
        return self.copied or isinstance(self.outcome, Ack | Discard)
