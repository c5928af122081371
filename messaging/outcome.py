"""Outcomes: what happens to a delivery, and how long to wait before it is retried.

An outcome is a value that may also be raised. A handler that returns has acknowledged its message;
otherwise it raises (or returns) `Retry`, `Reject` or `Discard`. For any other exception, the
consumer's `RetryPolicy` decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from messaging.backoff import Backoff, WaitStrategy, seconds_after
from messaging.errors import ConfigurationError

__all__ = [
    "Ack",
    "Circuit",
    "Discard",
    "Outcome",
    "RateLimit",
    "Reject",
    "Retry",
    "RetryPolicy",
    "WaitStrategy",
]

_BACKOFF = Backoff(first=2, longest=300, jitter=1)
MAX_DELAY = 43_200
"""Seconds: SQS's longest visibility timeout, counted from the receive.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html
"""


MAX_OUTAGE = 10_800
"""Seconds: a message is tried every 15 to 30 s during an outage, and SQS allows 1,000 receives."""


class Outcome(Exception):
    """What happens to one delivery: one of `Ack`, `Retry`, `Reject`, `Discard`.

    Example:
        ```python
        from messaging.outcome import Outcome, Retry

        assert isinstance(Retry(delay=30), Outcome)
        ```
    """

    reason: str = ""
    """Why, for the person on call. Only ids and types: it is logged and stored."""
    origin: Literal["handler", "error", "message", "worker"] = "handler"
    """Who decided: the handler; a `RetryPolicy`, after an unexpected exception; the message, which
    cannot be read; the worker, which released it. A `Circuit` counts the first two."""

    def __init__(self, reason: str = "") -> None:
        # A bare Outcome means nothing, and the message would be lost.
        if type(self) is Outcome:
            raise TypeError("Outcome is only a base class: raise Retry, Reject or Discard")
        super().__init__(reason)
        self.reason = reason


class Ack(Outcome):
    """Handled: delete the message. Returning from a handler means this.

    Args:
        reason: for the log.

    Example:
        ```python
        from messaging.outcome import Ack
        from messaging.testing import deliver

        assert isinstance(deliver(Marketing(), ana).outcome, Ack)
        ```
    """

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class Retry(Outcome):
    """Not now: make the message visible again after `delay` seconds (0 to 43,200).

    Without `delay`, the consumer's `RetryPolicy` chooses. It does not count against `max_attempts`:
    a handler that asks for more time gets it, until the queue's own redrive policy (`max_receives`)
    ends it.

    Args:
        delay: seconds (0 to 43,200) from now; None: the `RetryPolicy` chooses.
        reason: for the log: name fields, never their values.

    Raises:
        ConfigurationError: if `delay` is out of range.

    Example:
        ```python
        from messaging import Retry


        class Plataforma(Consumer):
            @handles
            def cancel(self, matricula: MatriculaCancelada) -> None:
                raise Retry(delay=30, reason="the library system is down")
        ```
    """

    def __init__(self, delay: float | None = None, reason: str = "") -> None:
        if delay is not None and not 0 <= delay <= MAX_DELAY:
            raise ConfigurationError(
                f"Retry(delay={delay!r}): SQS hides a message for 0 to {MAX_DELAY} seconds; "
                "for a longer wait, publish a new event when the time has come"
            )
        super().__init__(reason)
        self.delay = delay
        self.error: str | None = None


class Reject(Outcome):
    """Never: move the message to the dead-letter queue immediately, with `reason`.

    `reason` is stored with the message and shown to the person on call: name fields, never their
    values.

    Args:
        reason: stored with the message: name fields, never their values.
        error: the name of the exception that led to it.

    Example:
        ```python
        from messaging import Reject
        from messaging.testing import deliver


        class Plataforma(Consumer):
            @handles
            def cancel(self, matricula: MatriculaCancelada) -> None:
                raise Reject("aluno_id: there is no such student")


        assert deliver(Plataforma(), cancelada).rejected
        ```
    """

    def __init__(self, reason: str, *, error: str | None = None) -> None:
        super().__init__(reason)
        self.error = error


class Discard(Outcome):
    """Not ours to handle: delete the message without a dead letter; `reason` is logged.

    Args:
        reason: for the log: name fields, never their values.

    Example:
        ```python
        from messaging import Discard
        from messaging.testing import deliver


        class Plataforma(Consumer):
            @handles
            def cancel(self, matricula: MatriculaCancelada) -> None:
                raise Discard("the course is over")


        assert isinstance(deliver(Plataforma(), cancelada).outcome, Discard)
        ```
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Decides what happens after an unexpected exception: retry later, or dead-letter after enough
    attempts.

    Args:
        max_attempts: receives after which the message is dead-lettered (at least 1). SQS counts
            receives, so one released by a stopping worker counts too.
        wait: a tenacity wait strategy giving seconds before the next attempt; the default is full
            jitter: uniform between 0 and min(300, 2**attempt).
        never: exception types that no retry will fix: dead-lettered immediately.
        outage: seconds for which failures do not use up `max_attempts` while nothing else succeeds:
            an apparent outage dead-letters nothing. A message that fails alone in its queue is
            dead-lettered after that time. 0: every failure counts.

    Raises:
        ConfigurationError: if a number is out of range.

    Example:
        ```python
        from messaging import RetryPolicy
        from tenacity import wait_fixed


        class Plataforma(Consumer):
            retry = RetryPolicy(max_attempts=8, wait=wait_fixed(30), never=(ValueError,))

            @handles
            def cancel(self, matricula: MatriculaCancelada) -> None: ...
        ```
    """

    max_attempts: int = 5
    wait: WaitStrategy | None = None
    never: tuple[type[Exception], ...] = ()
    outage: float = 600.0

    def __post_init__(self) -> None:
        if self.max_attempts < 1:
            raise ConfigurationError(
                f"RetryPolicy(max_attempts={self.max_attempts}): at least 1, the first attempt"
            )
        if not 0 <= self.outage <= MAX_OUTAGE:
            raise ConfigurationError(
                f"RetryPolicy(outage={self.outage}): 0 to {MAX_OUTAGE} seconds; SQS receives a "
                "message at most 1,000 times"
            )

    def decide(self, error: BaseException, attempt: int) -> Retry | Reject:
        """The outcome of attempt number `attempt` (from 1) that ended in `error`.

        Args:
            error: the handler's exception.
            attempt: the number of the attempt, from 1.
        """
        name = type(error).__qualname__
        outcome: Retry | Reject
        if isinstance(error, self.never):
            return Reject(f"{name} is never retried", error=name)
        if attempt >= self.max_attempts:
            outcome = Reject(f"{name} after {attempt} attempts", error=name)
        else:
            outcome = Retry(self.delay(attempt), reason=name)
            outcome.error = name
        outcome.origin = "error"
        return outcome

    def delay(self, attempt: int) -> float:
        """Seconds to wait after attempt number `attempt` (from 1), at most 43,200.

        Args:
            attempt: the number of the attempt, from 1.
        """
        return min(
            float(MAX_DELAY),
            max(0.0, float(seconds_after(self.wait or _BACKOFF.strategy, attempt))),
        )


@dataclass(frozen=True, kw_only=True)
class Circuit:
    """The circuit breaker: slows a service down while every message fails, to spare its
    dependencies, without losing messages.

    While it is open, handlers run at half the concurrency and failed messages wait longer. The
    first success closes it. With or without a circuit, `RetryPolicy.outage` keeps failed messages
    out of the dead-letter queue meanwhile.

    Args:
        failures: the number of different messages in a row, each ended by an unexpected exception,
            that opens the circuit. Outcomes of a handler (`Retry`, `Reject`, `Discard`) are not
            failures, and a message that cannot be read is not counted.

    Raises:
        ConfigurationError: if `failures` is less than 1.

    Example:
        ```python
        from messaging import Circuit


        class Plataforma(Consumer):
            circuit = Circuit(failures=50)

            @handles
            def cancel(self, matricula: MatriculaCancelada) -> None: ...
        ```
    """

    failures: int = 20

    def __post_init__(self) -> None:
        if self.failures < 1:
            raise ConfigurationError(f"Circuit(failures={self.failures}): at least 1")


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Limits how many messages a service receives: `count` per `per` seconds, on average.

    It limits receiving, so that messages wait in the queue: no lease expires and no attempt is
    counted. A redelivered message counts again.

    Args:
        count: messages per `per` seconds.
        per: seconds.
        burst: how many may be received at once after a pause; by default what one second allows,
            and at least one. More than ten are still received ten at a time.
        shared: the limit applies to all processes of the service together. `Worker(rates=)` or
            `MESSAGING_RATES` says where it is kept: Redis or PostgreSQL.

    Raises:
        ConfigurationError: if a number is out of range.

    Example:
        ```python
        from messaging import RateLimit


        class Plataforma(Consumer):
            rate = RateLimit(50)  # 50 a second in each process
            # RateLimit(100, per=60): 100 a minute
            # RateLimit(50, shared=True): 50 a second in all processes together

            @handles
            def cancel(self, matricula: MatriculaCancelada) -> None: ...
        ```
    """

    count: float
    per: float = 1.0
    burst: int | None = None
    shared: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.count < float("inf") or not 0 < self.per < float("inf"):
            raise ConfigurationError(
                f"RateLimit({self.count!r}, per={self.per!r}): both more than 0, and finite"
            )
        if self.burst is not None and self.burst < 1:
            raise ConfigurationError(f"RateLimit(burst={self.burst!r}): at least 1")

    @property
    def a_second(self) -> float:
        """Messages per second."""
        return self.count / self.per

    @property
    def most(self) -> int:
        """The given or default burst."""
        return max(1, int(self.a_second)) if self.burst is None else self.burst
