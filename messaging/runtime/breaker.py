"""The circuit breaker: slows a service down while everything fails, and notices recovery."""

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
"""Seconds without a success after which failures count as an outage, whose end makes hidden
messages visible. After a shorter run of failures, they come back as their retry policy decided."""
RETRIES_A_SECOND = 10
"""Hidden messages that are retried per second, in total, while the circuit is open."""
LONGEST_WAIT = 300.0
"""Bounds, in seconds, for hiding a message while others fail as well."""


class Breaker:
    """Judges the outcomes of one service. Thread-safe.

    Closed: it counts different messages that end in an unexpected exception, until any handler ends
    otherwise. Open: handlers run at half the concurrency, and failed messages are hidden for longer
    the more have failed. New messages are still tried, each once, because nothing else tells an
    outage from many bad messages ahead of good ones. The first success closes the circuit, and
    messages hidden meanwhile are made visible.
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
        """True if nothing has failed since the last success: an `Ack` then changes nothing."""

    @property
    def crowded(self) -> bool:
        """True if it is open and so many messages are hidden that no more should be received."""
        return self.open and self._postponed.full

    def judge(self, delivery: Delivery, outcome: Outcome) -> bool:
        """Record an outcome. Returns True if an outage is over and messages should be made
        visible."""
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
