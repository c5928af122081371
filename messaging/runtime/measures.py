"""Measures the messages of one service for metrics; created only if something reads them.

It gets messages when they have been settled, ten at a time, and records each one's type, outcome
and handler time. Waiting times and event ages are only sampled (`LOOKS`), because they require
reading the message again.
"""

from __future__ import annotations

import threading
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.consuming.consumer import Consumer
from messaging.envelope import time_of
from messaging.histogram import AGES, DURATIONS, Histogram
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.settlement import seconds_of

__all__ = ["ATTEMPTS", "MOST_REASONS", "OTHER", "OUTCOMES", "Measures"]

LOOKS, BURST = 20.0, 20
"""Messages whose age is measured: per second, and at most at once after a pause."""
MOST_REASONS = 20
"""Maximum number of different dead-letter reasons; later ones are `OTHER`."""
OTHER = "other"
MOST_RELEASED = 10_000
"""Maximum number of messages remembered until they are redelivered; the oldest are kept."""
GRACE = 60.0
"""Seconds after which a message that was not redelivered here is assumed to be with another
worker."""
ATTEMPTS: Sequence[tuple[int, str]] = (
    *((1, "1"), (2, "2"), (3, "3"), (4, "4"), (5, "5"), (10, "6-10"), (100, "11-100")),
)
_MORE_ATTEMPTS = "101-"
OUTCOMES = ("acknowledged", "discarded", "rejected", "retried", "failed", "given_back", "expired")
"""acknowledged, discarded, rejected and retried: the handler's decision; failed: it raised, and the
message is retried; given_back: it was cancelled or not started; expired: left to its lease."""


class Measures:
    """The measurements of one service. All methods are thread-safe."""

    def __init__(self, consumer: Consumer, *, clock: Clock = SYSTEM_CLOCK) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        # The usual outcome by type, to avoid creating a tuple for each message.
        self._acknowledged: dict[str, Histogram] = {
            name: Histogram(DURATIONS) for name in (*consumer.handlers, OTHER)
        }
        self._durations = {(name, "acknowledged"): one for name, one in self._acknowledged.items()}
        self._in_queue, self._age = Histogram(AGES), Histogram(AGES)
        self._retries: dict[str, int] = {}
        self._reasons: dict[str, int] = {}
        self._released: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """Messages to be redelivered: when they were sent, and until when they are remembered."""
        self._looks = float(BURST)
        self._looked = clock.monotonic()

    def settled(self, messages: Sequence[InFlightMessage], account: Disposition) -> None:
        """Record how these messages ended."""
        usual = account is Disposition.ACKNOWLEDGED
        with self._lock:
            acknowledged = self._acknowledged
            last: str | None = None
            durations = other = acknowledged[OTHER]
            for message in messages:
                name = message.delivery.event_type
                if name != last:  # neighbours are mostly of one type
                    last = name
                    durations = acknowledged.get(name or OTHER, other)
                if usual and type(message.outcome) is Ack:
                    if (spent := message.spent) is not None:
                        durations.add(spent)
                else:
                    known = name if name and name in acknowledged else OTHER
                    self._unusual(message, account, known)
            if self._released:
                self._forget(messages, account)
            self._look(messages)

    def durations(self) -> Mapping[tuple[str, str], Histogram]:
        """Handler durations in seconds, by event type and outcome."""
        with self._lock:
            return dict(self._durations)

    @property
    def in_queue(self) -> Histogram:
        """Seconds from when a message was sent to the queue until it was received."""
        return self._in_queue

    @property
    def age(self) -> Histogram:
        """Seconds from the event's `time` until it was settled."""
        return self._age

    def retries(self) -> Mapping[str, int]:
        """Messages retried because of their handler, by the number of the failed attempt."""
        with self._lock:
            return dict(self._retries)

    def reasons(self) -> Mapping[str, int]:
        """Dead letters by kind of reason: the class of an error, or "rejected"."""
        with self._lock:
            return dict(self._reasons)

    def oldest(self, in_flight: InFlight) -> float:
        """Seconds since the oldest message that is in flight or will be redelivered was sent; 0:
        none.

        SQS leaves a message out of its own metric once it has been received three times.
        """
        now = self._clock.now()
        held = [one.delivery.sent_at for one in in_flight.every()]
        with self._lock:
            for key in [key for key, (_, until) in self._released.items() if until < now]:
                del self._released[key]
            held += [sent for sent, _ in self._released.values()]
        return max(0.0, now - min((one for one in held if one), default=now))

    def _unusual(self, message: InFlightMessage, account: Disposition, name: str) -> None:
        outcome = message.outcome
        if message.spent is not None:
            key = (name, _kind(outcome, account))
            found = self._durations.get(key)
            if found is None:
                found = self._durations[key] = Histogram(DURATIONS)
            found.add(message.spent)
        if account is Disposition.DEAD_LETTERED and isinstance(outcome, Reject):
            reason = _reason(outcome)
            if reason not in self._reasons and len(self._reasons) >= MOST_REASONS:
                reason = OTHER
            self._reasons[reason] = self._reasons.get(reason, 0) + 1
        if account is Disposition.RELEASED and isinstance(outcome, Retry):
            delivery = message.delivery
            if outcome.origin != "worker":
                attempt = attempt_of(delivery.receive_count)
                self._retries[attempt] = self._retries.get(attempt, 0) + 1
            if len(self._released) < MOST_RELEASED:
                until = self._clock.now() + seconds_of(outcome) + GRACE
                self._released[delivery.message_id] = delivery.sent_at, until

    def _forget(self, messages: Sequence[InFlightMessage], account: Disposition) -> None:
        if account is not Disposition.RELEASED:
            for message in messages:
                self._released.pop(message.delivery.message_id, None)

    def _look(self, messages: Sequence[InFlightMessage]) -> None:
        monotonic = self._clock.monotonic()
        looks = min(float(BURST), self._looks + (monotonic - self._looked) * LOOKS)
        self._looked = monotonic
        now = self._clock.now() if looks >= 1.0 else 0.0
        for message in messages:
            if looks < 1.0:
                break
            if message.spent is None:
                continue  # no handler has seen it
            looks -= 1.0
            delivery = message.delivery
            if delivery.sent_at and delivery.received_at:
                self._in_queue.add(max(0.0, delivery.received_at - delivery.sent_at))
            time = time_of(delivery.body)
            if time is not None:
                self._age.add(max(0.0, now - time))
        self._looks = looks


def attempt_of(count: int) -> str:
    """The label of a receive of this number."""
    at = bisect_left(ATTEMPTS, (count, ""))
    return ATTEMPTS[at][1] if at < len(ATTEMPTS) else _MORE_ATTEMPTS


def _kind(outcome: Outcome | None, account: Disposition) -> str:
    if account is Disposition.EXPIRED or outcome is None:
        return "expired"
    if isinstance(outcome, Retry):
        return {"error": "failed", "worker": "given_back"}.get(outcome.origin, "retried")
    if isinstance(outcome, Reject):
        return "rejected"
    return "discarded" if isinstance(outcome, Discard) else "acknowledged"


def _reason(outcome: Reject) -> str:
    """The kind of a reason: its text is arbitrary, and may differ for each message."""
    return outcome.error or "rejected"
