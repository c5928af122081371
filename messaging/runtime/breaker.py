"""The circuit breaker: notices that everything fails, slows down, and notices the end of it."""

from __future__ import annotations

import logging
import threading

from messaging.backoff import half_jitter
from messaging.clock import Clock
from messaging.logs import logger
from messaging.outcome import Circuit, Outcome, Retry
from messaging.runtime.postponed import Postponed
from messaging.transport import Delivery

__all__ = ["Breaker"]

log = logger("messaging.runtime")

OUTAGE = 5.0
"""Seconds without a success that make a run of failures an outage, whose end calls messages back.
After a shorter one they come by themselves, as their retry policy said."""
RETRIES_A_SECOND = 10
"""While the circuit is open: so many hidden messages together are tried again each second."""
LONGEST_WAIT = 300.0
"""Seconds that a message is hidden because others fail as well."""


class Breaker:
    """Judges the outcomes of one service. Safe to use from any thread.

    Closed: different messages that ended in an unexpected exception are counted until a handler
    says anything else. Open: handlers run at half the concurrency, and what has failed is hidden
    the longer, the more has failed. New messages are still tried, each once, for nothing else tells
    an outage from many bad messages before good ones. The first success closes it, and what was
    hidden meanwhile is called back.
    """

    def __init__(
        self, circuit: Circuit | None, postponed: Postponed, *, service: str, clock: Clock
    ) -> None:
        self._circuit = circuit
        self._postponed = postponed
        self._service = service
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self._since = 0.0
        self.open = False
        self.calm = True
        """Nothing has failed since the last success: an `Ack` changes nothing then."""

    @property
    def crowded(self) -> bool:
        """True: it is open, and so many messages are hidden that no more are to be received."""
        return self.open and self._postponed.full

    def judge(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Take note of an outcome. True: an outage is over, and messages are to be called back."""
        if outcome.origin == "error":
            with self._lock:
                self._failure(delivery, outcome)
            if self.open and isinstance(outcome, Retry):
                outcome.delay = max(outcome.delay or 0.0, self._wait())
            return False
        if outcome.origin != "handler" or self.calm:
            return False
        with self._lock:
            return self._success()

    def _failure(self, delivery: Delivery, outcome: Outcome) -> None:
        if self.calm:
            self.calm, self._since = False, self._clock.monotonic()
        self._failed.add(delivery.message_id)
        if self.open or self._circuit is None or len(self._failed) < self._circuit.failures:
            return
        self.open = True
        log.error(
            "the circuit of %s opens: the last %d messages all failed, at the end with %s; "
            "handlers run at half the concurrency, and nothing is dead-lettered for failing now",
            self._service,
            len(self._failed),
            getattr(outcome, "error", None) or "an error",
        )

    def _success(self) -> bool:
        if self.calm:  # another thread was first
            return False
        lasted = self._clock.monotonic() - self._since
        failed, was_open = len(self._failed), self.open
        self._failed.clear()
        self.calm, self.open = True, False
        if not was_open and lasted < OUTAGE:
            self._postponed.forget()
            return False
        back = self._postponed.call_back()
        log.log(
            logging.WARNING if was_open else logging.INFO,
            "%s handles messages again after %.0f s in which %d failed: %d are called back",
            self._service,
            lasted,
            failed,
            back,
        )
        return back > 0

    def _wait(self) -> float:
        longest = min(LONGEST_WAIT, len(self._postponed) / RETRIES_A_SECOND)
        return half_jitter(longest)
