"""The room of accounts: every receipt comes in once and leaves in exactly one of four ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, fields
from enum import Enum
from typing import Self

from messaging.outcome import Discard, Outcome, Retry
from messaging.transport import Delivery

__all__ = ["Account", "Held", "Ledger", "Stats"]


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
    """

    received: int = 0
    acknowledged: int = 0
    released: int = 0
    dead_lettered: int = 0
    expired: int = 0
    in_hand: int = 0
    discarded: int = 0

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


class Account(Enum):
    """How a receipt ends."""

    ACKNOWLEDGED = "acknowledged"
    RELEASED = "released"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


class Held:
    """One receipt in hand. Times are of the clock's `monotonic`, in seconds.

    Who may write: the ledger under its lock; `outcome` whoever ran the handler, once.
    """

    __slots__ = (
        "capped", "copied", "delivery", "key", "lease_until", "lost", "outcome", "received",
        "sealed", "tries",
    )  # fmt: skip

    def __init__(self, key: Hashable, delivery: Delivery, now: float, lease: float) -> None:
        self.key = key
        self.outcome: Outcome | None = None
        self.tries = 0
        self.copied = False
        """Its copy stands in the dead-letter queue."""
        self.sealed = False
        """It is being settled: nobody else may touch its lease."""
        self.hold(delivery, now, lease)

    def hold(self, delivery: Delivery, now: float, lease: float) -> None:
        """Hold the message by this receipt, received `now` for `lease` seconds."""
        self.delivery = delivery
        self.received = now
        self.lease_until = now + lease
        self.lost = False
        self.capped = False


class Ledger:
    """Accounts for the receipts of one queue, and bounds how many are in hand.

    One lock, taken once for each chunk. `in_hand` may be read without it.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._poller_waits = False
        self._closed = False
        self._held: dict[Hashable, Held] = {}
        self._received = 0
        self._counts = dict.fromkeys(Account, 0)
        self._discarded = 0

    @property
    def in_hand(self) -> int:
        return len(self._held)

    def room(self, least: int) -> int:
        """How many more may be received; waits until at least `least` may. 0: closed."""
        with self._changed:
            while not self._closed:
                free = self._capacity - len(self._held)
                if free >= least:
                    return free
                self._poller_waits = True
                self._changed.wait()
            return 0

    def free(self) -> int:
        """How many more may be received now; does not wait."""
        with self._lock:
            return 0 if self._closed else max(0, self._capacity - len(self._held))

    def close(self) -> None:
        """From now on nothing is received that anybody will handle."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def receive(
        self,
        deliveries: Sequence[Delivery],
        now: float,
        lease: float,
        start: Callable[[Held], None],
    ) -> Sequence[Held]:
        """Enter receipts and hand each to `start`; returns those that came after `close`, which
        are to be released.

        A message that is in hand already lost its lease, or SQS delivered it twice: the new
        receipt takes the place of the old one, which has expired, and the message is not handled
        a second time beside itself.
        """
        late = []
        with self._lock:
            self._received += len(deliveries)
            for delivery in deliveries:
                known = self._held.get(delivery.message_id)
                if known is not None and not known.sealed:
                    self._counts[Account.EXPIRED] += 1
                    known.hold(delivery, now, lease)
                    continue
                key: Hashable = delivery.message_id if known is None else object()
                self._held[key] = held = Held(key, delivery, now, lease)
                if self._closed:
                    held.outcome = Retry(0)
                    late.append(held)
                else:
                    start(held)  # under the lock: after close() nothing is started
        return late

    def seal(self, chunk: Iterable[Held]) -> list[Held]:
        """Take these for settlement: those of them that are still in hand."""
        sealed = []
        with self._lock:
            for held in chunk:
                if self._held.get(held.key) is held:
                    held.sealed = True
                    sealed.append(held)
        return sealed

    def unseal(self, chunk: Iterable[Held]) -> None:
        """Settlement failed for now: their leases are to be renewed again."""
        with self._lock:
            for held in chunk:
                held.sealed = False

    def settle(self, chunk: Sequence[Held], account: Account) -> int:
        """Their end; returns how many of them were still in hand."""
        with self._lock:
            settled = 0
            for held in chunk:
                if self._held.get(held.key) is held:
                    del self._held[held.key]
                    settled += 1
                    if account is Account.ACKNOWLEDGED and type(held.outcome) is Discard:
                        self._discarded += 1
            self._counts[account] += settled
            if self._poller_waits:
                self._poller_waits = False
                self._changed.notify_all()
        return settled

    def due(self, before: float) -> list[Held]:
        """Those whose lease ends `before` and can be renewed."""
        with self._lock:
            return [
                held
                for held in self._held.values()
                if held.lease_until < before and not (held.lost or held.capped)
            ]

    def leased(self, chunk: Iterable[Held]) -> list[tuple[Held, Delivery]]:
        """Those of `chunk` that are in hand and not being settled, each with its receipt."""
        with self._lock:
            return [
                (held, held.delivery)
                for held in chunk
                if self._held.get(held.key) is held and not (held.sealed or held.lost)
            ]

    def renew(self, held: Held, delivery: Delivery, until: float | None) -> bool:
        """The lease by this receipt goes on `until`, or is lost (None). False: it is held no more.

        Meanwhile the message may have been settled, or be held by a newer receipt.
        """
        with self._lock:
            if self._held.get(held.key) is not held or held.delivery is not delivery:
                return False
            if until is None:
                held.lost = True
            else:
                held.lease_until = until
            return True

    def unfinished(self) -> list[Held]:
        """Those whose handler has not ended."""
        with self._lock:
            return [held for held in self._held.values() if held.outcome is None]

    def finished(self) -> list[Held]:
        """Those that wait to be settled."""
        with self._lock:
            return [held for held in self._held.values() if held.outcome is not None]

    def stats(self) -> Stats:
        with self._lock:
            counts = {account.value: count for account, count in self._counts.items()}
            return Stats(
                received=self._received,
                in_hand=len(self._held),
                discarded=self._discarded,
                **counts,
            )
