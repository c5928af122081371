"""Sends batches of messages until they are taken or given up."""

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
"""Seconds between two attempts, at most."""
LAST = 0.1
"""Of the time that a batch has, the part that is kept for the last attempt."""

_Said = TypeVar("_Said")
_Steps = Generator[int | None, None, _Said]
"""A request that has been sent when it yields, and returns what was said to it. What it yields is
the number of the socket on which the answer comes, or None where nobody can look at it."""


class Answer(NamedTuple):
    """What became of one batch: the entries not accepted in the end, by their index in it.

    `broken` says that nobody answered the last attempt, and why; the entries it was about are
    among `failures`.
    """

    failures: Sequence[Failure]
    broken: TransportError | None = None


class Sender:
    """Sends one batch, and what was refused of it again, until it is taken or given up.

    timeout  seconds for all attempts of one batch and the waits between them.

    Safe to share between threads.
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
        """Messages that the topic has taken, and those not taken in the end."""
        self.refused = 0
        self.durations: Histogram | None = None
        """Seconds of requests with all their attempts; None: nobody reads them."""

    def count(self, messages: int, refused: int, began: float) -> None:
        """One more request, which began then, has had its final answer."""
        durations = self.durations
        with self._counting:
            self.accepted += messages - refused
            self.refused += refused
            if durations is not None and began >= 0:
                durations.add(self._clock.monotonic() - began)

    def _begins(self) -> float:
        return -1.0 if self.durations is None else self._clock.monotonic()

    def deadline(self, timeout: float | None = None) -> Deadline:
        """The moment at which a batch that is taken up now is given up."""
        return Deadline(self._timeout if timeout is None else timeout, self._clock)

    def send(
        self, batch: Sequence[tuple[Outgoing, object]], deadline: Deadline | None = None
    ) -> Answer:
        """What became of `batch`, after as many attempts as it takes. Never raises."""
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
        """The first attempt: sent when this returns. None where the topic cannot send and wait
        apart; then `send` is the way."""
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
        """Send `batches` one by one and tell `tally`; none after one that is unanswered."""
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
        """One request. Raises `TransportError`, whatever the transport raises."""
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
    """`failures`, of which each has a place of its own in a batch of so many."""
    places = {failure.index for failure in failures}
    if len(places) < len(failures) or not all(0 <= place < count for place in places):
        raise TransportError(
            "the topic's transport told of entries that were not in the batch, or of one twice",
            code="NoAnswer",
        )
    return failures


def _broken_word(error: Exception) -> TransportError:
    name = type(error).__qualname__  # its text may quote data
    return TransportError(f"the topic's transport raised {name}", code=name, retryable=False)


class Begun:
    """A first attempt under way.

    file  the number of the socket on which its answer comes; None: it has one, or cannot tell.
    """

    __slots__ = ("_answer", "_steps", "deadline", "file")

    def __init__(self, steps: _Steps[Answer | Again], deadline: Deadline) -> None:
        self._steps = steps
        self.deadline = deadline
        self.file: int | None = None
        self._answer: Answer | Again | None = None
        self._go_on()

    def result(self) -> Answer | Again:
        """Wait for the answer. What is to be sent again is sent by `Again.run`, not here."""
        while self._answer is None:
            self._go_on()
        return self._answer

    def close(self) -> None:
        """Nobody will wait for the answer: let go of the connection."""
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
        """Places of which an attempt left unknown what became of them."""

    def run(self) -> Answer:
        """What became of the batch in the end. Never raises."""
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
        """What the first attempt said, where there is to be no other."""
        try:
            return Answer(self._judged(self._asked()))
        except TransportError as error:
            return self._unanswered(error, error.retryable)

    def _unanswered(self, error: TransportError, retryable: bool) -> Answer:
        code, text = error.code or "NoAnswer", str(error)
        refused = [Failure(at, code, text, retryable) for at in self._left]
        return Answer(self._judged([*self._final, *refused]), error)

    def _room(self) -> float:
        """Seconds until the last attempt must begin: one without time would only raise doubts."""
        left = self._deadline.left()
        return left if left == math.inf else max(0.0, left - LAST * self._deadline.seconds)

    def _attempt(self) -> Sequence[Failure]:
        """What is refused now, by the index in the whole batch."""
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
        # What one attempt left open no later refusal closes.
        return [one._replace(unknown=one.index in self._doubtful) for one in failures]
