"""Messages in flight: each receipt enters once and leaves in exactly one of four ways."""

from __future__ import annotations

import threading
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import InitVar, dataclass, field, fields
from enum import Enum
from typing import Self

from messaging.outcome import Ack, Discard, Outcome
from messaging.settlement import give_back
from messaging.transport import Delivery

__all__ = [
    "Disposition",
    "HANDLER_TIMEOUT",
    "InFlightMessage",
    "LOST",
    "InFlight",
    "MAX_LEASE",
    "STOPPING",
    "Stats",
    "give_back",
]


TO_AND_FRO = 1.0
"""Seconds for which a message of a group is hidden if it was redelivered before the queue had
answered its release. If visible at once, it would be redelivered before the next answer too, and so
go back and forth until it reached its maximum number of receives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """The receipts of one service, or of all, by how they ended: counts since the start.

    Args:
        received: receipts; a redelivered message counts again.
        acknowledged: deleted: its handler returned, or discarded it.
        released: made visible again, now or after a delay: retries, and messages released at a
            stop.
        dead_lettered: copied to the dead-letter queue, then deleted.
        expired: left to its lease, because the lease was lost or settling failed: it is
            redelivered.
        in_flight: waiting for a handler, in one, or waiting to be settled.
        discarded: acknowledged messages that a handler discarded.
        deduplicated: acknowledged or dead-lettered messages that were redelivered after they had
            been handled, and were not handled again.

    Example:
        ```python
        from messaging import Worker

        marketing = Marketing()
        with Worker(marketing, broker=broker) as worker:
            publisher.publish(ana)
            while not marketing.welcomed:
                pass
        assert (worker.stats.received, worker.stats.acknowledged) == (1, 1)
        assert worker.stats.balanced
        ```
    """

    received: int = 0
    acknowledged: int = 0
    released: int = 0
    dead_lettered: int = 0
    expired: int = 0
    in_flight: int = 0
    discarded: int = 0
    deduplicated: int = 0

    @property
    def balanced(self) -> bool:
        """True if received equals settled plus in flight."""
        settled = self.acknowledged + self.released + self.dead_lettered + self.expired
        return self.received == settled + self.in_flight

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )

    @classmethod
    def total(cls, each: Iterable[Stats]) -> Self:
        """The sum of several services' counts.

        Args:
            each: the counts of several services.
        """
        return sum(each, cls())  # type: ignore[return-value]  # __add__ of a sum of Stats


LOST, MAX_LEASE, HANDLER_TIMEOUT, STOPPING = (
    "lease lost",
    "max_lease",
    "handler_timeout",
    "stopping",
)
"""Why a handler is told to end: the possible reasons of a `CancelToken`."""


class Disposition(Enum):
    """The ways in which a receipt ends."""

    __hash__ = object.__hash__  # Enum's own is implemented in Python

    ACKNOWLEDGED = "acknowledged"
    RELEASED = "released"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


@dataclass(slots=True, eq=False, repr=False)
class InFlightMessage:
    """One message in flight. Times are from the clock's `monotonic`, in seconds.

    Writers: `InFlight`, under its lock; `outcome` and `started` are set once, by the thread that
    runs the handler; `ending` and `capped` by the heartbeat.
    """

    key: Hashable
    delivery: Delivery
    """The newest receipt."""
    received: float
    """When it came."""
    lease: InitVar[float]
    given: Delivery = field(init=False)
    """The receipt that its handler was given."""
    first: float = field(init=False)
    """When that came."""
    lease_until: float = field(init=False)
    outcome: Outcome | None = None
    started: float | None = None
    """When its handler started."""
    spent: float | None = None
    """Seconds that its handler took; None if it was not run, or has not ended."""
    cancel: Callable[[], object] | None = None
    """Cancels its handler, if it is async."""
    told: str = ""
    """Why its handler was told to end."""
    ending: str = ""
    """The same, if a time limit was the reason."""
    tries: int = 0
    copied: bool = False
    """Its copy is in the dead-letter queue."""
    remembered: bool = False
    """It was handled before, by an earlier receipt."""
    sealed: bool = False
    """It is being settled: nothing else may change its lease."""
    gone: bool = False
    """It was given up while its handler ran, which still does."""
    lost: bool = False
    """Its lease is lost: another worker may have the message."""
    capped: bool = False
    """Its lease is no longer renewed."""

    def __post_init__(self, lease: float) -> None:
        self.given, self.first = self.delivery, self.received
        self.lease_until = self.received + lease

    def hold(self, delivery: Delivery, now: float, lease: float) -> None:
        """Also hold the message by this receipt, received `now` for `lease` seconds."""
        if self.started is None:  # nothing has used the receipt yet
            self.first, self.given, self.told, self.ending = now, delivery, "", ""
        self.delivery = delivery
        self.received = now
        self.lease_until = now + lease
        self.lost = False
        self.capped = bool(self.ending)

    @property
    def beside(self) -> bool:
        """True if it was redelivered while being settled by an earlier receipt."""
        return self.key != self.delivery.message_id

    def sent_back(self) -> Outcome:
        """Its outcome if it may not be handled now."""
        return give_back(TO_AND_FRO if self.beside else 0.0)

    @property
    def watched(self) -> bool:
        """True if its handler has checked whether it should end."""
        return self.given.cancel_token.watched

    def tell(self, reason: str) -> None:
        """Tell its handler to end; the first reason is kept."""
        self.told = self.told or reason
        self.given.cancel_token.set(reason)

    @property
    def handled(self) -> bool:
        """True if its handler is done with it for good, even if the delete fails."""
        return self.copied or isinstance(self.outcome, Ack | Discard)


def _nobody(left: Sequence[InFlightMessage], account: Disposition) -> None:
    pass


class InFlight:
    """Accounts for the receipts of one queue.

    Its single lock is taken once per chunk. `count` and `stuck` may be read without it.

    Args:
        left: called outside the lock with the messages that have just left, and how.
    """

    def __init__(
        self, left: Callable[[Sequence[InFlightMessage], Disposition], None] = _nobody
    ) -> None:
        self._left = left
        self._lock = threading.Lock()
        self._closed = False
        self.paused = False
        """True: what comes is to be given back."""
        self.alone = False
        """The same, because one that may end the process is being handled."""
        self.held: dict[Hashable, InFlightMessage] = {}
        """Messages by their keys. Only this class changes it."""
        self._received = 0
        self._counts = dict.fromkeys(Disposition, 0)
        self._discarded = 0
        self._deduplicated = 0
        self._given_up: set[InFlightMessage] = set()
        self.measure: Callable[[Sequence[InFlightMessage], Disposition], None] | None = None
        """Like `left`, for settled messages; None if nothing reads metrics."""
        self.companions: set[InFlightMessage] = set()
        """Messages that run in a batch, except its first one, which counts for all."""

    @property
    def count(self) -> int:
        return len(self.held)

    @property
    def load(self) -> int:
        """The same, but a batch counts once."""
        return len(self.held) - len(self.companions)

    @property
    def stuck(self) -> int:
        """Number of handlers that still run although their message was given up."""
        return len(self._given_up)

    def close(self) -> None:
        """From now on, newly received messages are not handled."""
        with self._lock:
            self._closed = True

    def receive(
        self,
        deliveries: Sequence[Delivery],
        since: float,
        lease: float,
        start: Callable[[InFlightMessage], bool | None],
    ) -> Sequence[InFlightMessage]:
        """Enter receipts, whose leases began at `since`, and hand each to `start`; returns those
        that came after `close`, or in a pause, or while one is to be `alone`, or that `start` says
        False to: they have an outcome, and are to be released.

        If a message is already in flight, its lease was lost, or SQS delivered it twice: the new
        receipt replaces the old one, which has expired, and the message is not handled twice at
        once. If it is just being settled, the new receipt is kept as well, and shares its outcome
        if it was handled.
        """
        back: list[InFlightMessage] = []
        with self._lock:
            self._received += len(deliveries)
            refused = self._closed or self.paused or self.alone
            in_flight = self.held
            for delivery in deliveries:
                key = delivery.message_id
                if key not in in_flight:
                    message = in_flight[key] = InFlightMessage(key, delivery, since, lease)
                elif not in_flight[key].sealed:
                    self._counts[Disposition.EXPIRED] += 1
                    in_flight[key].hold(delivery, since, lease)
                    continue
                else:
                    message = self._beside(in_flight[key], delivery, since, lease)
                if message.remembered:
                    back.append(message)
                elif refused:
                    message.outcome = give_back()
                    back.append(message)
                elif start(message) is False:  # under the lock: after close() nothing is started
                    message.outcome = message.sent_back()
                    back.append(message)
        return back

    def _beside(
        self, known: InFlightMessage, delivery: Delivery, since: float, lease: float
    ) -> InFlightMessage:
        """`known` is being settled: add another receipt of the same message."""
        key = object()
        message = self.held[key] = InFlightMessage(key, delivery, since, lease)
        if known.handled:
            message.outcome, message.copied, message.remembered = known.outcome, known.copied, True
        return message

    def seal(
        self, chunk: Iterable[InFlightMessage]
    ) -> tuple[list[InFlightMessage], list[InFlightMessage]]:
        """Take these for settlement: returns those still in flight, and those that were given up
        before."""
        sealed, gone = [], []
        with self._lock:
            in_flight = self.held
            for message in chunk:
                if in_flight.get(message.key) is message:
                    message.sealed = True
                    sealed.append(message)
                else:
                    gone.append(message)
                    if message.gone:
                        message.gone = False
                        self._given_up.discard(message)
        if gone:
            self._left((), Disposition.EXPIRED)  # one more handler can be started
        return sealed, gone

    def unseal(self, chunk: Iterable[InFlightMessage]) -> None:
        """Settlement failed temporarily: renew their leases again."""
        with self._lock:
            for message in chunk:
                message.sealed = False

    def settle(self, chunk: Sequence[InFlightMessage], account: Disposition) -> int:
        """Record their end; returns how many of them were still in flight."""
        left = []
        with self._lock:
            in_flight = self.held
            for message in chunk:
                key = message.key
                if in_flight.get(key) is message:
                    del in_flight[key]
                    left.append(message)
                    if type(message.outcome) is not Ack or message.remembered:
                        self._note(message, account)
            self._counts[account] += len(left)
        if left:
            if self.measure is not None:
                self.measure(left, account)
            self._left(left, account)
        return len(left)

    def _note(self, message: InFlightMessage, account: Disposition) -> None:
        if account is Disposition.ACKNOWLEDGED and type(message.outcome) is Discard:
            self._discarded += 1
        if message.remembered and account in (Disposition.ACKNOWLEDGED, Disposition.DEAD_LETTERED):
            self._deduplicated += 1

    def give_up(self, message: InFlightMessage) -> bool:
        """Leave it to its lease although its handler still runs; False if the handler has just
        ended.

        Its result will be ignored, and the message is handled again when it is redelivered.
        """
        with self._lock:
            if (
                self.held.get(message.key) is not message
                or message.sealed
                or message.outcome is not None
            ):
                return False
            del self.held[message.key]
            message.gone = message.lost = True
            if message in self.companions:
                self.companions.discard(message)
            else:
                self._given_up.add(message)
            self._counts[Disposition.EXPIRED] += 1
        self._left([message], Disposition.EXPIRED)
        return True

    def leased(self, chunk: Iterable[InFlightMessage]) -> list[tuple[InFlightMessage, Delivery]]:
        """The messages of `chunk` that are in flight and not being settled, each with its
        receipt."""
        with self._lock:
            return [
                (message, message.delivery)
                for message in chunk
                if self.held.get(message.key) is message and not (message.sealed or message.lost)
            ]

    def renew(self, message: InFlightMessage, delivery: Delivery, until: float | None) -> bool:
        """Record that the lease of this receipt lasts `until`, or is lost (None).

        Returns False if it is no longer held: the message may have been settled, or have a newer
        receipt.
        """
        with self._lock:
            if self.held.get(message.key) is not message or message.delivery is not delivery:
                return False
            if until is None:
                message.lost = True
            else:
                message.lease_until = until
            return True

    def unfinished(self) -> list[InFlightMessage]:
        """The messages whose handler has not ended."""
        with self._lock:
            return [message for message in self.held.values() if message.outcome is None]

    @property
    def given_up(self) -> list[InFlightMessage]:
        """The messages whose handler still runs although they were given up."""
        with self._lock:
            return list(self._given_up)

    def finished(self) -> list[InFlightMessage]:
        """The messages that wait to be settled."""
        with self._lock:
            return [message for message in self.held.values() if message.outcome is not None]

    def every(self) -> list[InFlightMessage]:
        """All messages in flight."""
        with self._lock:
            return list(self.held.values())

    def stats(self) -> Stats:
        with self._lock:
            counts = {account.value: count for account, count in self._counts.items()}
            return Stats(
                received=self._received,
                in_flight=len(self.held),
                discarded=self._discarded,
                deduplicated=self._deduplicated,
                **counts,
            )
