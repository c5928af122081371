"""Decides which failed attempts of a message count: those explained by an outage do not.

If a message fails while others succeed, the message itself is at fault. If it fails while nothing
succeeds, the cause may be an unavailable database. The success of another message tells the two
apart: it is a witness that the service was working.
"""

from __future__ import annotations

from dataclasses import dataclass

from messaging.backoff import half_jitter
from messaging.clock import Clock
from messaging.outcome import Reject, Retry, RetryPolicy
from messaging.transport import Delivery

__all__ = ["MOST_REMEMBERED", "SPARED_WAIT", "Attempts", "receives_within"]

SPARED_WAIT = 30.0
"""Maximum seconds (the minimum is half of it) until a message is retried that has used up its
attempts in what may be an outage: often enough to notice the end of the outage, and rarely enough
to stay below `max_receives`."""
MOST_REMEMBERED = 20_000
"""Maximum number of failing messages remembered; the oldest are forgotten, and get one more
attempt."""


def receives_within(outage: float) -> int:
    """How often a message may be received within so many seconds beyond its attempts."""
    return int(-(-outage // (SPARED_WAIT / 2)))


@dataclass(slots=True)
class _Failing:
    since: float
    """When this process first saw it fail."""
    successes: int
    """Successes of others when it last failed."""
    excused: int = 0
    """Failed attempts without a success of another message since the previous one."""


class Attempts:
    """Judges the failures of one consumer. Thread-safe.

    Each failure after the first is witnessed if another message has succeeded since the previous
    one; unwitnessed failures do not count towards `RetryPolicy.max_attempts`. After
    `RetryPolicy.outage` seconds they count anyway: a message that fails alone in its queue has no
    witness.

    last_receive  the receive after which SQS itself would move the message, without a reason.
    """

    def __init__(self, policy: RetryPolicy, *, last_receive: int, clock: Clock) -> None:
        self._policy = policy
        self._last_receive = last_receive
        self._clock = clock
        self._tolerant = policy.outage > 0 and policy.max_attempts > 1
        self._successes = 0
        self.failing: dict[str, _Failing] = {}
        """By message id. Nearly always empty: then successes need not be reported."""

    def succeeded(self, message: str) -> None:
        """Record that a handler completed this message."""
        self._successes += 1
        self.failing.pop(message, None)

    def decide(self, error: BaseException, delivery: Delivery) -> Retry | Reject:
        """The outcome of an attempt that ended in `error`."""
        outcome = self._policy.decide(error, delivery.receive_count)
        if not self._tolerant or outcome.origin != "error":  # `never` is at once
            return outcome
        counted = self._count(delivery)
        if isinstance(outcome, Retry):
            return outcome
        if counted or delivery.receive_count >= self._last_receive:
            self.failing.pop(delivery.message_id, None)
            return outcome
        spared = Retry(half_jitter(SPARED_WAIT), type(error).__qualname__)
        spared.error, spared.origin = outcome.error, "error"
        return spared

    def _count(self, delivery: Delivery) -> bool:
        """Count a failure; returns True if the message should be given up."""
        now = self._clock.monotonic()
        known = self.failing.get(delivery.message_id)
        if known is None:
            while len(self.failing) >= MOST_REMEMBERED:
                self.failing.pop(next(iter(self.failing)), None)
            self.failing[delivery.message_id] = _Failing(now, self._successes)
            return False
        witnessed = known.successes != self._successes
        known.successes = self._successes
        known.excused += not witnessed
        if now - known.since >= self._policy.outage:
            return True
        return witnessed and delivery.receive_count - known.excused >= self._policy.max_attempts
