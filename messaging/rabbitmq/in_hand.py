"""The messages that a queue object has received but not settled, with the end of each lease.

RabbitMQ has no leases: a message stays with the channel that received it for as long as the channel
is open. The lease is kept here: when it ends, the message is put back, and its receipt is void.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import NamedTuple

from messaging.clock import SYSTEM_CLOCK
from messaging.transport import Delivery, Failure

__all__ = ["InHand", "Lease", "Tags", "void"]


class Lease(NamedTuple):
    """One received message: its delivery tag on the channel, and the time when it is put back."""

    tag: int
    until: float


class Tags(NamedTuple):
    """Delivery tags and the number of their channel (`Intake.era`).

    The next channel uses the same tags for other messages, which must not be settled by these.
    """

    era: int
    tags: list[int]


class InHand:
    """Receipts and leases. Thread-safe: each method uses single dict operations only."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._own = os.urandom(8).hex()
        self._leases: dict[str, Lease] = {}
        self.era = 1

    def __len__(self) -> int:
        return len(self._leases)

    def take(self, tag: int, seconds: float) -> str:
        """Record a received message, and return its receipt."""
        receipt = f"{self._own}-{next(self._numbers)}"
        self._leases[receipt] = Lease(tag, SYSTEM_CLOCK.monotonic() + seconds)
        return receipt

    def settle(self, deliveries: Sequence[Delivery]) -> tuple[Tags, list[Failure]]:
        """Remove these: returns their delivery tags, and the void receipts."""
        era = self.era  # read first, in case the channel is lost from here on
        tags: list[int] = []
        failures: list[Failure] = []
        for place, one in enumerate(deliveries):
            lease = self._leases.pop(one.receipt, None)
            if lease is None:
                failures.append(void(place))
            else:
                tags.append(lease.tag)
        return Tags(era, tags), failures

    def hold(self, deliveries: Sequence[Delivery], seconds: Sequence[float]) -> list[Failure]:
        """Make the leases end `seconds` from now; returns the void receipts."""
        failures: list[Failure] = []
        now = SYSTEM_CLOCK.monotonic()
        for place, (one, each) in enumerate(zip(deliveries, seconds, strict=True)):
            lease = self._leases.get(one.receipt)
            if lease is None:
                failures.append(void(place))
            else:
                self._leases[one.receipt] = lease._replace(until=now + each)
        return failures

    def has(self, delivery: Delivery) -> bool:
        """Whether the receipt is valid."""
        return delivery.receipt in self._leases

    def ended(self) -> list[int]:
        """Remove the messages whose leases have ended, and return their delivery tags."""
        now = SYSTEM_CLOCK.monotonic()
        over = [receipt for receipt, one in list(self._leases.items()) if one.until <= now]
        found = [self._leases.pop(receipt, None) for receipt in over]
        return [one.tag for one in found if one is not None]

    def next_end(self) -> float | None:
        """Seconds until the first lease ends; None if there is none."""
        ends = [one.until for one in list(self._leases.values())]
        return max(0.0, min(ends) - SYSTEM_CLOCK.monotonic()) if ends else None

    def drop(self, era: int = 0) -> None:
        """Forget all leases: the channel is or will be closed, and the broker redelivers its
        messages.

        era  number of the channel that follows.
        """
        self.era = era or self.era
        self._leases.clear()


def void(place: int) -> Failure:
    """The failure for a receipt that is no longer valid."""
    said = "the receipt is void: the lease has ended, or the message is settled already"
    return Failure(place, "ReceiptHandleIsInvalid", said, False)
