"""Messages in flight: each receipt comes in once and leaves in exactly one of four ways."""

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
"""Seconds for which a message of a group is hidden that came again before the queue had answered
that it was back. Visible at once, it would come again before the next answer, too, and so go to and
fro until it has been received as often as it may be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stats:
    """What became of the receipts of one service, or of all: counts since the start.

    Args:
        received: receipts; a message that came again counts again.
        acknowledged: deleted: its handler returned, or discarded it.
        released: made visible again, now or after a delay: to be retried, or given back at stop.
        dead_lettered: copied to the dead-letter queue, then deleted.
        expired: left to its lease, because that was lost or settling failed: it comes again.
        in_flight: waiting for a handler, in one, or waiting to be settled.
        discarded: of the acknowledged, those that a handler discarded.
        deduplicated: of the acknowledged and the dead-lettered, those that came again after they
            had been handled, and were not handled again.

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
        """True: what was received is what was settled and what is in hand."""
        settled = self.acknowledged + self.released + self.dead_lettered + self.expired
        return self.received == settled + self.in_flight

    def __add__(self, other: Stats) -> Stats:
        return Stats(
            **{one.name: getattr(self, one.name) + getattr(other, one.name) for one in fields(self)}
        )

    @classmethod
    def total(cls, each: Iterable[Stats]) -> Self:
        """The sum of several services'.

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
"""Why a handler is told to end: the reasons of a `CancelToken`."""


class Disposition(Enum):
    """How a receipt ends."""

    __hash__ = object.__hash__  # Enum's own is a function in Python

    ACKNOWLEDGED = "acknowledged"
    RELEASED = "released"
    DEAD_LETTERED = "dead_lettered"
    EXPIRED = "expired"


@dataclass(slots=True, eq=False, repr=False)
class InFlightMessage:
    """One receipt in hand. Times are of the clock's `monotonic`, in seconds.

    Who may write: the ledger under its lock; `outcome` and `started` whoever runs the handler,
    once; `ending` and `capped` whoever looks after the leases.
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
    """When its handler began."""
    spent: float | None = None
    """Seconds that its handler took; None: it was not run, or has not ended."""
    cancel: Callable[[], object] | None = None
    """Cancels its handler, if that is async."""
    told: str = ""
    """Why its handler was told to end."""
    ending: str = ""
    """The same, if a limit of time was the reason."""
    tries: int = 0
    copied: bool = False
    """Its copy stands in the dead-letter queue."""
    remembered: bool = False
    """It was handled before, by an earlier receipt."""
    sealed: bool = False
    """It is being settled: nobody else may touch its lease."""
    gone: bool = False
    """It was given up while its handler ran, which still does."""
    lost: bool = False
    """Its lease is: the message may be in other hands."""
    capped: bool = False
    """Its lease is renewed no more."""

    def __post_init__(self, lease: float) -> None:
        self.given, self.first = self.delivery, self.received
        self.lease_until = self.received + lease

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
    def beside(self) -> bool:
        """True: it came again while it was being settled by an earlier receipt."""
        return self.key != self.delivery.message_id

    def sent_back(self) -> Outcome:
        """What becomes of it where it may not be handled now."""
        return give_back(TO_AND_FRO if self.beside else 0.0)

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


def _nobody(left: Sequence[InFlightMessage], account: Disposition) -> None:
    pass


class InFlight:
    """Accounts for the receipts of one queue.

    One lock, taken once for each chunk. `count` and `stuck` may be read without it.

    Args:
        left: called outside of the lock with those that have just left, and how.
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
        """By their keys. Nobody else changes it."""
        self._received = 0
        self._counts = dict.fromkeys(Disposition, 0)
        self._discarded = 0
        self._deduplicated = 0
        self._given_up: set[InFlightMessage] = set()
        self.measure: Callable[[Sequence[InFlightMessage], Disposition], None] | None = None
        """As `left`, for what has been settled; None: nobody reads metrics."""
        self.companions: set[InFlightMessage] = set()
        """Those that a handler runs in a batch beside the first of it, which counts for all."""

    @property
    def count(self) -> int:
        return len(self.held)

    @property
    def load(self) -> int:
        """The same, but what one handler runs in a batch counts once."""
        return len(self.held) - len(self.companions)

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
        start: Callable[[InFlightMessage], bool | None],
    ) -> Sequence[InFlightMessage]:
        """Enter receipts, whose leases began at `since`, and hand each to `start`; returns those
        that came after `close`, or in a pause, or while one is to be `alone`, or that `start` says
        False to: they have an outcome, and are to be released.

        A message that is in hand already lost its lease, or SQS delivered it twice: the new
        receipt takes the place of the old one, which has expired, and the message is not handled
        a second time beside itself. If it is being settled at this moment, the new receipt is
        held beside the old one, and if it was handled, it shares its outcome.
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
        """`known` is being settled: another one of the same message."""
        key = object()
        message = self.held[key] = InFlightMessage(key, delivery, since, lease)
        if known.handled:
            message.outcome, message.copied, message.remembered = known.outcome, known.copied, True
        return message

    def seal(
        self, chunk: Iterable[InFlightMessage]
    ) -> tuple[list[InFlightMessage], list[InFlightMessage]]:
        """Take these for settlement: those of them that are still in hand, and those that were
        given up before."""
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
        """Settlement failed for now: their leases are to be renewed again."""
        with self._lock:
            for message in chunk:
                message.sealed = False

    def settle(self, chunk: Sequence[InFlightMessage], account: Disposition) -> int:
        """Their end; returns how many of them were still in hand."""
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
        """Leave it to its lease although its handler still runs; False if that has just ended.

        Its result will be ignored, and its message handled again when it comes again.
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
        """Those of `chunk` that are in hand and not being settled, each with its receipt."""
        with self._lock:
            return [
                (message, message.delivery)
                for message in chunk
                if self.held.get(message.key) is message and not (message.sealed or message.lost)
            ]

    def renew(self, message: InFlightMessage, delivery: Delivery, until: float | None) -> bool:
        """The lease by this receipt goes on `until`, or is lost (None). False: it is held no more.

        Meanwhile the message may have been settled, or be held by a newer receipt.
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
        """Those whose handler has not ended."""
        with self._lock:
            return [message for message in self.held.values() if message.outcome is None]

    @property
    def given_up(self) -> list[InFlightMessage]:
        """Those whose handler still runs although their message has been given up."""
        with self._lock:
            return list(self._given_up)

    def finished(self) -> list[InFlightMessage]:
        """Those that wait to be settled."""
        with self._lock:
            return [message for message in self.held.values() if message.outcome is not None]

    def every(self) -> list[InFlightMessage]:
        """All that are in hand."""
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
