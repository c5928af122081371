"""The room of requests: messages packed into batches, and batches sent until they are taken."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from typing import NamedTuple, TypeVar

from messaging.clock import Clock
from messaging.errors import TransportError
from messaging.results import Entry, Tally
from messaging.transport import BATCH_ENTRIES, Failure, Outgoing, TopicTransport

__all__ = ["Again", "Answer", "Begun", "Packer", "Sender"]

LONGEST_WAIT = 5.0
"""Seconds between two attempts, at most."""

_Said = TypeVar("_Said")
_Steps = Generator[None, None, _Said]
"""A request that has been sent when it yields, and returns what was said to it."""


class Packer:
    """Fills requests: at most `BATCH_ENTRIES` messages and `max_bytes` together.

    SNS bills each 64 KiB of a request, begun ones too, so the fullest requests are the cheapest.
    https://aws.amazon.com/sns/pricing/

    ordered  for a FIFO topic: two events of one group never share a request, because the first
             may be refused for now and the second accepted.
    """

    __slots__ = ("_bytes", "_entries", "_groups", "_max_bytes", "_ordered")

    def __init__(self, max_bytes: int, *, ordered: bool = False) -> None:
        self._max_bytes = max_bytes
        self._ordered = ordered
        self._groups: dict[str | None, str] = {}
        self._entries: list[Entry] = []
        self._bytes = 0

    def add(self, entry: Entry) -> list[Entry] | None:
        """Take `entry`; gives the request that is full now, if one is."""
        message = entry[0]
        full: list[Entry] | None = None
        size = self._bytes + message.size
        if self._entries and (size > self._max_bytes or (self._ordered and self._follows(message))):
            full, size = self.rest(), message.size
        if self._ordered:
            self._groups[message.group] = message.id
        entries = self._entries
        entries.append(entry)
        self._bytes = size
        return self.rest() if len(entries) == BATCH_ENTRIES else full

    def rest(self) -> list[Entry]:
        """What has been taken since the last full request: the last one, which may be empty."""
        self._groups = {}
        entries, self._entries, self._bytes = self._entries, [], 0
        return entries

    def all(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """The requests that `entries` make."""
        for entry in entries:
            if full := self.add(entry):
                yield full
        if rest := self.rest():
            yield rest

    def _follows(self, message: Outgoing) -> bool:
        # The copies of one event go to different queues: they have no order among themselves.
        return self._groups.get(message.group, message.id) != message.id


class Answer(NamedTuple):
    """What became of one batch: the entries not accepted in the end, by their index in it.

    `broken` says that nobody answered the last attempt, and why; the entries it was about are
    among `failures`.
    """

    failures: Sequence[Failure]
    broken: TransportError | None = None


class Sender:
    """Sends one batch, and what was refused of it again, until it is taken or given up.

    Safe to share between threads.
    """

    __slots__ = ("_begin", "_clock", "_max_attempts", "_topic")

    def __init__(self, topic: TopicTransport, *, max_attempts: int, clock: Clock) -> None:
        self._topic = topic
        self._begin: Callable[[Sequence[Outgoing]], _Steps[Sequence[Failure]] | None] | None
        self._begin = getattr(topic, "begin", None)
        self._max_attempts = max_attempts
        self._clock = clock

    def send(self, batch: Sequence[tuple[Outgoing, object]]) -> Answer:
        """What became of `batch`, after as many attempts as it takes. Never raises."""
        messages = [message for message, _ in batch]
        try:
            answer = self._judged(messages, self.attempt(messages))
        except TransportError as error:
            return Again(self, messages, error=error).run()
        return answer.run() if isinstance(answer, Again) else answer

    def begin(self, batch: Sequence[tuple[Outgoing, object]]) -> Begun | None:
        """The first attempt: sent when this returns. None where the topic cannot send and wait
        apart; then `send` is the way."""
        messages = [message for message, _ in batch]
        steps = None if self._begin is None else self._begin(messages)
        return None if steps is None else Begun(self._steps(messages, steps))

    def settle(self, batches: Iterable[Sequence[Entry]], tally: Tally) -> None:
        """Send `batches` one by one and tell `tally`; none after one that is unanswered."""
        for batch in batches:
            if tally.broken is None:
                tally.settle(*self.send(batch), batch=batch)
            else:
                tally.unanswered(batch, tally.broken)

    def attempt(self, messages: Sequence[Outgoing]) -> Sequence[Failure]:
        """One request. Raises `TransportError`, whatever the transport raises."""
        try:
            return self._topic.publish(messages)
        except TransportError:
            raise
        except Exception as error:
            raise _broken_word(error) from error

    def _steps(
        self, messages: Sequence[Outgoing], steps: _Steps[Sequence[Failure]]
    ) -> _Steps[Answer | Again]:
        try:
            return self._judged(messages, (yield from steps))
        except TransportError as error:
            return Again(self, messages, error=error)
        except Exception as error:  # noqa: BLE001 - a transport that breaks its word
            broken = _broken_word(error)
            broken.__cause__ = error
            return Again(self, messages, error=broken)

    def _judged(self, messages: Sequence[Outgoing], failures: Sequence[Failure]) -> Answer | Again:
        if not failures or not any(failure.retryable for failure in failures):
            return Answer(failures)
        return Again(self, messages, failures=failures)


def _broken_word(error: Exception) -> TransportError:
    name = type(error).__qualname__  # its text may quote data
    return TransportError(f"the topic's transport raised {name}", code=name, retryable=False)


class Begun:
    """A first attempt under way."""

    __slots__ = ("_answer", "_steps")

    def __init__(self, steps: _Steps[Answer | Again]) -> None:
        self._steps = steps
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
        try:
            next(self._steps)
        except StopIteration as end:
            self._answer = end.value


class Again:
    """The attempts after the first. Rare, so it may cost what tenacity costs."""

    def __init__(
        self,
        sender: Sender,
        messages: Sequence[Outgoing],
        *,
        failures: Sequence[Failure] = (),
        error: TransportError | None = None,
    ) -> None:
        self._sender = sender
        self._messages = messages
        self._left = list(range(len(messages)))
        self._final: list[Failure] = []
        self._first: tuple[Sequence[Failure], TransportError | None] | None = (
            failures,
            error,
        )

    def run(self) -> Answer:
        """What became of the batch in the end. Never raises."""
        # tenacity is loaded when something fails, not when the library is imported.
        from tenacity import (
            Retrying,
            retry_if_exception,
            retry_if_result,
            stop_after_attempt,
            wait_random_exponential,
        )

        retrying = Retrying(
            stop=stop_after_attempt(self._sender._max_attempts),
            wait=wait_random_exponential(multiplier=0.1, max=LONGEST_WAIT),
            retry=retry_if_result(lambda refused: any(one.retryable for one in refused))
            | retry_if_exception(
                lambda error: isinstance(error, TransportError) and error.retryable
            ),
            sleep=self._sender._clock.sleep,
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else (),
        )
        try:
            refused: Sequence[Failure] = retrying(self._attempt)
        except TransportError as error:
            code, text = error.code or "NoAnswer", str(error)
            silent = [Failure(at, code, text, error.retryable) for at in self._left]
            return Answer([*self._final, *silent], error)
        return Answer([*self._final, *refused])

    def _attempt(self) -> Sequence[Failure]:
        """What is refused now, by the index in the whole batch."""
        if self._first is not None:
            (failures, error), self._first = self._first, None
            if error is not None:
                raise error
        else:
            failures = self._sender.attempt([self._messages[at] for at in self._left])
        refused = [failure._replace(index=self._left[failure.index]) for failure in failures]
        self._final += [failure for failure in refused if not failure.retryable]
        again = [failure for failure in refused if failure.retryable]
        self._left = [failure.index for failure in again]
        return again
