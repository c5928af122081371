"""Sends batches of messages until they are accepted or given up."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import NamedTuple, TypeVar

from messaging.backoff import Backoff
from messaging.clock import Clock
from messaging.deadline import CURRENT, Deadline
from messaging.errors import TransportError
from messaging.histogram import Histogram
from messaging.publishing.results import Entry, Tally
from messaging.transport import Failure, Outgoing, TopicTransport

__all__ = ["Again", "Answer", "Begun", "Sender"]

LONGEST_WAIT = 5.0
BACKOFF = Backoff(first=0.1, longest=LONGEST_WAIT, jitter=1)
"""Maximum seconds between two attempts."""
LAST = 0.1
"""The share of a batch's time that is reserved for the last attempt."""

_Said = TypeVar("_Said")
_Steps = Generator[int | None, None, _Said]
"""A generator that has sent its request when it yields, and returns the answer. It yields the
number of the socket for the answer, or None if there is no socket to wait on."""


class Answer(NamedTuple):
    """The result of one batch: the entries finally not accepted, by their index in it.

    `broken` is the error if the last attempt got no answer; its entries are among `failures`.
    """

    failures: Sequence[Failure]
    broken: TransportError | None = None


class Sender:
    """Sends a batch, and resends its refused entries, until all are accepted or given up.

    timeout  seconds for all attempts of one batch and the waits between them.

    Thread-safe.
    """

    __slots__ = (
        *("_begin", "_clock", "_counting", "_max_attempts", "_timeout", "_topic"),
        *("accepted", "durations", "refused"),
    )

    def __init__(
        self, topic: TopicTransport, *, max_attempts: int, clock: Clock, timeout: float = math.inf
    ) -> None:
        self._topic = topic
        self._begin: Callable[[Sequence[Outgoing]], _Steps[Sequence[Failure]] | None] | None
        self._begin = getattr(topic, "begin", None)
        self._max_attempts = max_attempts
        self._clock = clock
        self._timeout = timeout
        self._counting = threading.Lock()
        self.accepted = 0
        """The number of messages that the topic accepted, and of those finally refused."""
        self.refused = 0
        self.durations: Histogram | None = None
        """Durations of requests in seconds, including all attempts; None: nothing reads them."""

    def count(self, messages: int, refused: int, began: float) -> None:
        """Record the final answer of a request that started at `began`."""
        durations = self.durations
        with self._counting:
            self.accepted += messages - refused
            self.refused += refused
            if durations is not None and began >= 0:
                durations.add(self._clock.monotonic() - began)

    def _begins(self) -> float:
        return -1.0 if self.durations is None else self._clock.monotonic()

    def deadline(self, timeout: float | None = None) -> Deadline:
        """When a batch that starts now will be given up."""
        return Deadline(self._timeout if timeout is None else timeout, self._clock)

    def send(
        self, batch: Sequence[tuple[Outgoing, object]], deadline: Deadline | None = None
    ) -> Answer:
        """Send `batch`, with as many attempts as it takes; returns its result. Never raises."""
        messages = [message for message, _ in batch]
        until, began = deadline or self.deadline(), self._begins()
        try:
            if deadline is not None:
                self.check(deadline)
            answer = self._judged(messages, self.attempt(messages, until), until, began)
        except TransportError as error:
            return Again(self, messages, until, began, error).run()
        return answer.run() if isinstance(answer, Again) else answer

    def begin(
        self, batch: Sequence[tuple[Outgoing, object]], deadline: Deadline | None = None
    ) -> Begun | None:
        """Make the first attempt, which is sent when this returns. None if the topic cannot send
        without waiting; use `send` then."""
        if self._begin is None:
            return None
        messages = [message for message, _ in batch]
        until = deadline or self.deadline()
        before = CURRENT.set(until)
        try:
            steps = self._begin(messages)
            if steps is None:
                return None
            return Begun(self._steps(messages, steps, until, self._begins()), until)
        finally:
            CURRENT.reset(before)

    def settle(
        self,
        batches: Iterable[Sequence[Entry]],
        tally: Tally,
        deadline: Deadline | None = None,
    ) -> None:
        """Send `batches` one by one and record them in `tally`; stop after one without an
        answer."""
        for batch in batches:
            if tally.broken is None:
                tally.settle(*self.send(batch, deadline), batch=batch)
            else:
                tally.unanswered(batch, tally.broken)

    def check(self, deadline: Deadline) -> None:
        """Raise `TransportError` if there is no time for an attempt."""
        if not deadline.left():
            raise TransportError(
                f"{self._topic!r} was not asked: the time was over before", code="Timeout",
                unknown=False,
            )  # fmt: skip

    def attempt(self, messages: Sequence[Outgoing], deadline: Deadline) -> Sequence[Failure]:
        """Make one request. Raises `TransportError` for any exception of the transport."""
        before = CURRENT.set(deadline)
        try:
            failures = self._topic.publish(messages)
        except TransportError:
            raise
        except Exception as error:
            raise _broken_word(error) from error
        finally:
            CURRENT.reset(before)
        return _checked(failures, len(messages)) if failures else ()

    def _steps(
        self,
        messages: Sequence[Outgoing],
        steps: _Steps[Sequence[Failure]],
        deadline: Deadline,
        began: float,
    ) -> _Steps[Answer | Again]:
        try:
            failures = yield from steps
            if failures:
                failures = _checked(failures, len(messages))
            return self._judged(messages, failures, deadline, began)
        except TransportError as error:
            return Again(self, messages, deadline, began, error)
        except Exception as error:  # noqa: BLE001 - a transport that breaks its word
            broken = _broken_word(error)
            broken.__cause__ = error
            return Again(self, messages, deadline, began, broken)

    def _judged(
        self,
        messages: Sequence[Outgoing],
        failures: Sequence[Failure],
        deadline: Deadline,
        began: float,
    ) -> Answer | Again:
        if not failures or not any(failure.retryable for failure in failures):
            self.count(len(messages), len(failures), began)
            return Answer(failures)
        return Again(self, messages, deadline, began, failures)


def _checked(failures: Sequence[Failure], count: int) -> Sequence[Failure]:
    """Check that the `failures` have distinct, valid indexes in a batch of so many."""
    places = {failure.index for failure in failures}
    if len(places) < len(failures) or not all(0 <= place < count for place in places):
        raise TransportError(
            "the topic's transport reported entries that were not in the batch, or one twice",
            code="NoAnswer",
        )
    return failures


def _broken_word(error: Exception) -> TransportError:
    name = type(error).__qualname__  # its text may quote data
    return TransportError(f"the topic's transport raised {name}", code=name, retryable=False)


class Begun:
    """A first attempt in flight.

    file  the number of the socket for its answer; None: it has been answered, or has no socket.
    """

    __slots__ = ("_answer", "_steps", "deadline", "file")

    def __init__(self, steps: _Steps[Answer | Again], deadline: Deadline) -> None:
        self._steps = steps
        self.deadline = deadline
        self.file: int | None = None
        self._answer: Answer | Again | None = None
        self._go_on()

    def result(self) -> Answer | Again:
        """Wait for the answer. Resending is done by `Again.run`, not here."""
        while self._answer is None:
            self._go_on()
        return self._answer

    def close(self) -> None:
        """Abandon the request: close its connection."""
        self._steps.close()

    def _go_on(self) -> None:
        self.file = None
        try:
            self.file = next(self._steps)
        except StopIteration as end:
            self._answer = end.value


class Again:
    """The attempts after the first, which came to `first`: refused entries, or no answer."""

    def __init__(
        self,
        sender: Sender,
        messages: Sequence[Outgoing],
        deadline: Deadline,
        began: float,
        first: Sequence[Failure] | TransportError,
    ) -> None:
        self._sender = sender
        self._messages = messages
        self._deadline = deadline
        self._began = began
        self._first: Sequence[Failure] | TransportError | None = first
        self._left = list(range(len(messages)))
        self._final: list[Failure] = []
        self._doubtful: set[int] = set()
        """Indexes of entries whose fate an attempt left unknown."""

    def run(self) -> Answer:
        """Make the remaining attempts; returns the final result of the batch. Never raises."""
        attempts = 0
        while True:
            attempts += 1
            refused: Sequence[Failure] = list[Failure]()
            error: TransportError | None = None
            try:
                refused = self._attempt()
            except TransportError as raised:
                error = raised
            again = bool(refused) if error is None else error.retryable
            if not again or attempts >= self._sender._max_attempts or not self._room():
                break
            self._sender._clock.sleep(min(BACKOFF.after(attempts), self._room()))
        over = again and not self._room()
        if error is not None:
            told = self._over(str(error), attempts) if over else error
            return self._unanswered(told, error.retryable)
        if over:
            why = f"{self._sender._topic!r} did not take all entries ({refused[0].code})"
            error = self._over(why, attempts)
            refused = [one._replace(code="Timeout", message=str(error)) for one in refused]
        return Answer(self._judged([*self._final, *refused]), error)

    def left(self) -> Answer:
        """The result of the first attempt, if there will be no other."""
        try:
            return Answer(self._judged(self._asked()))
        except TransportError as error:
            return self._unanswered(error, error.retryable)

    def _unanswered(self, error: TransportError, retryable: bool) -> Answer:
        code, text = error.code or "NoAnswer", str(error)
        refused = [Failure(at, code, text, retryable) for at in self._left]
        return Answer(self._judged([*self._final, *refused]), error)

    def _room(self) -> float:
        """Seconds until the last attempt must start: one without enough time would only leave
        doubts."""
        left = self._deadline.left()
        return left if left == math.inf else max(0.0, left - LAST * self._deadline.seconds)

    def _attempt(self) -> Sequence[Failure]:
        """The entries refused now, by their index in the whole batch."""
        try:
            failures = self._asked()
        except TransportError as error:
            if error.unknown:
                self._doubtful.update(self._left)
            raise
        refused = [failure._replace(index=self._left[failure.index]) for failure in failures]
        self._doubtful.update(failure.index for failure in refused if failure.unknown)
        self._final += [failure for failure in refused if not failure.retryable]
        again = [failure for failure in refused if failure.retryable]
        self._left = [failure.index for failure in again]
        return again

    def _asked(self) -> Sequence[Failure]:
        first, self._first = self._first, None
        if first is None:
            self._sender.check(self._deadline)
            return self._sender.attempt([self._messages[at] for at in self._left], self._deadline)
        if isinstance(first, TransportError):
            raise first
        return first

    def _over(self, why: str, attempts: int) -> TransportError:
        return TransportError(
            f"{why}; given up after {attempts} {'attempt' if attempts == 1 else 'attempts'} in "
            f"{self._deadline.seconds:g} s: if the topic is only slow, allow more time "
            "(Publisher(timeout=...), MESSAGING_PUBLISH_TIMEOUT)",
            code="Timeout",
            unknown=bool(self._doubtful),
        )

    def _judged(self, failures: Sequence[Failure]) -> Sequence[Failure]:
        self._sender.count(len(self._messages), len(failures), self._began)
        # A later refusal does not settle what an earlier attempt left unknown.
        return [one._replace(unknown=one.index in self._doubtful) for one in failures]
