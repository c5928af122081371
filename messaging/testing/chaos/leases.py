"""The leases of one process and queue, as the broker holds them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from messaging.transport import Delivery

__all__ = ["Leases"]

MARGIN = 2.0
"""Margin in seconds: a missing renewal only counts if the lease was clearly due, and the gain large
enough."""


@dataclass(slots=True)
class _Lease:
    receipt: str
    until: float


class Leases:
    """Records every receive and change of visibility that the broker executed.

    asked  the receipts whose visibility was requested to change; each check clears it.
    """

    def __init__(self, *, lease: int, max_lease: float) -> None:
        self.asked: set[str] = set()
        self._lease = lease
        self._max_lease = max_lease
        self._first: dict[str, float] = {}
        self._held: dict[str, _Lease] = {}

    def begin(self, deliveries: Sequence[Delivery], *, asked: float, until: float) -> None:
        """These are leased until `until`, by a request made at `asked`."""
        for one in deliveries:
            self._first.setdefault(one.message_id, asked)
            self._held[one.message_id] = _Lease(one.receipt, until)

    def go_on(self, delivery: Delivery, until: float) -> None:
        """Record that the lease of this receipt lasts until then."""
        held = self._held.get(delivery.message_id)
        if held is not None and held.receipt == delivery.receipt:
            held.until = until

    def end(self, deliveries: Iterable[Delivery]) -> None:
        """Record that these leases have ended: others may have the messages."""
        for one in deliveries:
            self._held.pop(one.message_id, None)

    def due(self, in_hand: Iterable[str], now: float, current: Mapping[str, str]) -> set[str]:
        """The receipts of messages in flight that a check at this moment must renew.

        This leaves out receipts whose lease has ended, or that others have received since, because
        the process cannot keep them, and those for which a renewal would gain next to nothing.
        """
        found = set()
        for message in in_hand:
            held = self._held.get(message)
            if held is None:
                continue
            if held.until <= now or current.get(message) != held.receipt:
                del self._held[message]
                continue
            left = held.until - now
            wins = min(self._lease, self._first[message] + self._max_lease - now) - left
            if left < self._lease / 2 - MARGIN and wins > MARGIN:
                found.add(held.receipt)
        return found
