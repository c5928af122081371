"""The room of accounts: every receipt comes in once and leaves in exactly one of four ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence

from messaging.outcome import Ack, Discard
from messaging.runtime.receipts import Account, Held, Stats, give_back
from messaging.transport import Delivery

__all__ = ["Ledger"]


def _nobody(left: Sequence[Held], account: Account) -> None:
    pass


class Ledger:
    """Accounts for the receipts of one queue.

    One lock, taken once for each chunk. `in_hand` and `stuck` may be read without it.

    left  called outside of the lock with those that have just left, and how.
    """

    def __init__(self, left: Callable[[Sequence[Held], Account], None] = _nobody) -> None:
        self._left = left
        self._lock = threading.Lock()
        self._closed = False
        self._held: dict[Hashable, Held] = {}
        self._received = 0
        self._counts = dict.fromkeys(Account, 0)
        self._discarded = 0
        self._deduplicated = 0
        self._given_up: set[Held] = set()

    @property
    def in_hand(self) -> int:
        return len(self._held)

    @property
    def stuck(self) -> int:
        """Handlers that still run although their message has been given up."""
        return len(self._given_up)

    def close(self) -> None:
        """From now on nothing is received that anybody will handle."""
        with self._lock:
            self._closed = True

    def receive(
        self,
        deliveries: Sequence[Delivery],
        since: float,
        lease: float,
        start: Callable[[Held], None],
        wanted: Callable[[], bool] = lambda: True,
    ) -> Sequence[Held]:
        """Enter receipts, whose leases began at `since`, and hand each to `start`; returns those
        that came after `close`, or while they are not `wanted`: they are to be released.

        A message that is in hand already lost its lease, or SQS delivered it twice: the new
        receipt takes the place of the old one, which has expired, and the message is not handled
        a second time beside itself. If it is being settled at this moment, the new receipt is
        held beside the old one, and if it was handled, it shares its outcome.
        """
        back: list[Held] = []
        with self._lock:
            self._received += len(deliveries)
            refused = self._closed or not wanted()
            in_hand = self._held
            for delivery in deliveries:
                key = delivery.message_id
                if key not in in_hand:
                    held = in_hand[key] = Held(key, delivery, since, lease)
                elif not in_hand[key].sealed:
                    self._counts[Account.EXPIRED] += 1
                    in_hand[key].hold(delivery, since, lease)
                    continue
                else:
                    held = self._beside(in_hand[key], delivery, since, lease)
                if held.remembered:
                    back.append(held)
                elif refused:
                    held.outcome = give_back()
                    back.append(held)
                else:
                    start(held)  # under the lock: after close() nothing is started
        return back

    def _beside(self, known: Held, delivery: Delivery, since: float, lease: float) -> Held:
        """`known` is being settled: another one of the same message."""
        key = object()
        held = self._held[key] = Held(key, delivery, since, lease)
        if known.handled:
            held.outcome, held.copied, held.remembered = known.outcome, known.copied, True
        return held

    def seal(self, chunk: Iterable[Held]) -> tuple[list[Held], list[Held]]:
        """Take these for settlement: those of them that are still in hand, and those that were
        given up before."""
        sealed, gone = [], []
        with self._lock:
            in_hand = self._held
            for held in chunk:
                if in_hand.get(held.key) is held:
                    held.sealed = True
                    sealed.append(held)
                else:
                    gone.append(held)
                    if held.gone:
                        held.gone = False
                        self._given_up.discard(held)
        if gone:
            self._left((), Account.EXPIRED)  # one more handler can be started
        return sealed, gone

    def unseal(self, chunk: Iterable[Held]) -> None:
        """Settlement failed for now: their leases are to be renewed again."""
        with self._lock:
            for held in chunk:
                held.sealed = False

    def settle(self, chunk: Sequence[Held], account: Account) -> int:
        """Their end; returns how many of them were still in hand."""
        left = []
        with self._lock:
            in_hand = self._held
            for held in chunk:
                if in_hand.get(held.key) is held:
                    del in_hand[held.key]
                    left.append(held)
                    if type(held.outcome) is not Ack or held.remembered:
                        self._note(held, account)
            self._counts[account] += len(left)
        if left:
            self._left(left, account)
        return len(left)

    def _note(self, held: Held, account: Account) -> None:
        if account is Account.ACKNOWLEDGED and type(held.outcome) is Discard:
            self._discarded += 1
        if held.remembered and account in (Account.ACKNOWLEDGED, Account.DEAD_LETTERED):
            self._deduplicated += 1

    def give_up(self, held: Held) -> bool:
        """Leave it to its lease although its handler still runs; False if that has just ended.

        Its result will be ignored, and its message handled again when it comes again.
        """
        with self._lock:
            if self._held.get(held.key) is not held or held.sealed or held.outcome is not None:
                return False
            del self._held[held.key]
            held.gone = held.lost = True
            self._given_up.add(held)
            self._counts[Account.EXPIRED] += 1
        self._left([held], Account.EXPIRED)
        return True

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

    @property
    def given_up(self) -> list[Held]:
        """Those whose handler still runs although their message has been given up."""
        with self._lock:
            return list(self._given_up)

    def finished(self) -> list[Held]:
        """Those that wait to be settled."""
        with self._lock:
            return [held for held in self._held.values() if held.outcome is not None]

    def every(self) -> list[Held]:
        """All that are in hand."""
        with self._lock:
            return list(self._held.values())

    def stats(self) -> Stats:
        with self._lock:
            counts = {account.value: count for account, count in self._counts.items()}
            return Stats(
                received=self._received,
                in_hand=len(self._held),
                discarded=self._discarded,
                deduplicated=self._deduplicated,
                **counts,
            )
