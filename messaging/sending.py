"""The room of requests: messages packed into batches, and batches sent until they are taken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from messaging.clock import Clock
from messaging.errors import TransportError
from messaging.results import Entry, Tally
from messaging.transport import BATCH_ENTRIES, Failure, Outgoing, TopicTransport

__all__ = ["Answer", "Packer", "Sender"]

LONGEST_WAIT = 5.0
"""Seconds between two attempts, at most."""


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

    def add(self, entries: Iterable[Entry]) -> Iterator[list[Entry]]:
        """Take `entries`; gives each request that is now full."""
        for entry in entries:
            size = entry[0].size
            if self._entries and (
                self._bytes + size > self._max_bytes or (self._ordered and self._follows(entry))
            ):
                yield self._take()
            if self._ordered:
                self._groups[entry[0].group] = entry[0].id
            self._entries.append(entry)
            self._bytes += size
            if len(self._entries) == BATCH_ENTRIES:
                yield self._take()

    def rest(self) -> Iterator[list[Entry]]:
        """The last request, if there is anything in it."""
        if self._entries:
            yield self._take()

    def _follows(self, entry: Entry) -> bool:
        # The copies of one event go to different queues: they have no order among themselves.
        message = entry[0]
        return self._groups.get(message.group, message.id) != message.id

    def _take(self) -> list[Entry]:
        self._groups = {}
        entries, self._entries, self._bytes = self._entries, [], 0
        return entries


class Answer(NamedTuple):
    """What became of one batch: the entries not accepted in the end, by their index in it.

    `broken` says that nobody answered the last attempt, and why; the entries it was about are
    among `failures`.
    """

    failures: Sequence[Failure]
    broken: TransportError | None = None


class Sender:
    """Sends one batch, and what was refused of it again, until it is taken or given up."""

    __slots__ = ("_clock", "_max_attempts", "_topic")

    def __init__(self, topic: TopicTransport, *, max_attempts: int, clock: Clock) -> None:
        self._topic = topic
        self._max_attempts = max_attempts
        self._clock = clock

    def send(self, batch: Sequence[tuple[Outgoing, object]]) -> Answer:
        """What became of `batch`, after as many attempts as it takes. Never raises.

        Safe to call from several threads.
        """
        messages = [message for message, _ in batch]
        try:
            failures = self.attempt(messages)
        except TransportError as error:
            return _Again(self, messages, error=error).run()
        if not any(failure.retryable for failure in failures):
            return Answer(failures)
        return _Again(self, messages, failures=failures).run()

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
        except Exception as error:  # a transport that breaks its word; its text may quote data
            name = type(error).__qualname__
            raise TransportError(
                f"the topic's transport raised {name}", code=name, retryable=False
            ) from error


class _Again:
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
