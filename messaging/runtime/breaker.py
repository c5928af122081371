"""The room of the circuit breaker: notices that everything fails, and lets one message try."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from enum import Enum

from messaging.clock import Clock
from messaging.logs import logger
from messaging.outcome import Circuit, Outcome, Reject, Retry
from messaging.runtime.receipts import Held
from messaging.transport import Delivery

__all__ = ["Breaker", "Verdict"]

log = logger("messaging.runtime")


class Verdict(Enum):
    """What may be received."""

    CLOSED = "everything"
    OPEN = "nothing"
    PROBING = "one message"


class Breaker:
    """Judges the outcomes of one service, by its `Circuit`. Safe to use from any thread.

    Closed: messages that ended in an unexpected exception are counted, each once, and whatever
    else a handler says starts the count anew. Open: nothing is to be received for a while. Then
    one message, the probe, decides: anything but an unexpected exception closes the circuit,
    and an exception opens it for twice as long.

    What handlers say that were running when it opened does not count: their messages began before.

    backoff       seconds after which a message comes again that is not dead-lettered meanwhile.
    last_receive  the receive after which SQS itself moves a message. Whoever fails then is
                  dead-lettered all the same: at the next receive it would be, without a reason.
    """

    def __init__(
        self,
        circuit: Circuit | None,
        *,
        service: str,
        backoff: Callable[[Delivery], float],
        last_receive: int,
        clock: Clock,
    ) -> None:
        self._circuit = circuit
        self._backoff = backoff
        self._last_receive = last_receive
        self._service = service
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: set[str] = set()
        self.verdict = Verdict.CLOSED
        self.calm = True
        """Closed, and nothing that failed is counted: an `Ack` changes nothing then."""
        self._opened_at = 0.0
        self._until = 0.0
        self._probes = 0
        self._probe: Held | None = None

    @property
    def seconds_left(self) -> float | None:
        """Until the next probe; None while nothing has to be waited for."""
        if self.verdict is not Verdict.OPEN:
            return None
        return max(0.0, self._until - self._clock.monotonic())

    def judge(self, held: Held, outcome: Outcome) -> tuple[Outcome, bool]:
        """What becomes of `held`, and whether the circuit has just opened."""
        origin = outcome.origin
        if self._circuit is None:
            return outcome, False
        if origin == "handler" and self.calm:
            return outcome, False
        with self._lock:
            if origin == "error":
                opened = self._error(self._circuit, held, outcome)
                return self._spared(held, outcome), opened
            if self.verdict is Verdict.CLOSED:
                if origin == "handler":
                    self._failed.clear()
                    self.calm = True
            elif held is self._probe:
                self._probe = None
                if origin == "handler":
                    self._close()
            return outcome, False

    def may_probe(self) -> bool:
        """While it is not closed: True if one message may be received now."""
        with self._lock:
            if self.verdict is Verdict.OPEN and self._clock.monotonic() >= self._until:
                self.verdict = Verdict.PROBING
            return self.verdict is Verdict.PROBING and self._probe is None

    def received(self, held: Held) -> None:
        """`held` is to be handled: the probe, if one is wanted."""
        if self.verdict is Verdict.PROBING:
            with self._lock:
                if self._probe is None:
                    self._probe = held
                    self._probes += 1

    def left(self, held: Held) -> bool:
        """It is in hand no more; True if it was a probe that nobody has judged."""
        if held is not self._probe:
            return False
        with self._lock:
            self._probe = None
        return True

    def _error(self, circuit: Circuit, held: Held, outcome: Outcome) -> bool:
        if self.verdict is Verdict.CLOSED:
            self._failed.add(held.delivery.message_id)
            self.calm = False
            if len(self._failed) < circuit.failures:
                return False
            self._opened_at = self._clock.monotonic()
            self._probes = 0
            self._pause(circuit)
            log.error(
                "the circuit of %s opens: the last %d messages all failed, at the end with %s; "
                "nothing is received for %.1f s, then one message is tried, and nothing is "
                "dead-lettered meanwhile",
                self._service,
                len(self._failed),
                getattr(outcome, "error", None) or "an error",
                self._until - self._opened_at,
            )
            self._failed.clear()
            return True
        if held is self._probe:
            self._probe = None
            self._pause(circuit)
            return True
        return False

    def _pause(self, circuit: Circuit) -> None:
        self.verdict = Verdict.OPEN
        longest = min(circuit.longest_pause, circuit.first_pause * 2.0 ** min(self._probes, 30))
        self._until = self._clock.monotonic() + random.uniform(longest / 2, longest)

    def _close(self) -> None:
        self.verdict, self.calm = Verdict.CLOSED, True
        log.warning(
            "the circuit of %s closes after %d probes in %.0f s",
            self._service,
            self._probes,
            self._clock.monotonic() - self._opened_at,
        )

    def _spared(self, held: Held, outcome: Outcome) -> Outcome:
        """While it is open nothing is dead-lettered for having failed often enough."""
        if self.verdict is Verdict.CLOSED or not isinstance(outcome, Reject):
            return outcome
        if held.delivery.receive_count >= self._last_receive:
            return outcome
        again = Retry(self._backoff(held.delivery), outcome.reason)
        again.error, again.origin = outcome.error, "error"
        return again
