"""Settlement: the requests to a queue when handlers are done, and the handling of refusals."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from messaging.answers import Refusals, ask, refusals
from messaging.backoff import Backoff
from messaging.batching import batches
from messaging.clock import Clock
from messaging.logs import logger
from messaging.outcome import Ack
from messaging.runtime.handled import HandledCache
from messaging.runtime.heartbeat import longest_lease
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.runtime.postponed import Postponed
from messaging.runtime.under_way import UnderWay
from messaging.settlement import (
    Action,
    action_of,
    dead_letter,
    reason_of,
    refused,
    seconds_of,
)
from messaging.transport import BATCH_ENTRIES, Delivery, Failure, QueueTransport

__all__ = ["Deleting", "Later", "Settlement"]

log = logger("messaging.runtime")

BACKOFF = Backoff(first=0.2, longest=5.0, jitter=0.5)
"""Pauses before a refused settlement is retried."""
MOST_TRIES, MOST_TRIES_AT_STOP = 10, 3
"""Attempts: about half a minute, and about half a second."""

Again = list[tuple[InFlightMessage, Failure]]
"""A refused message, and why."""
Later = list[tuple[float, InFlightMessage]]
"""A message to retry, and after how many seconds."""


class Deleting(NamedTuple):
    """A DeleteMessageBatch that has been sent, and what it deletes."""

    batch: list[InFlightMessage]
    request: UnderWay[Sequence[Failure]]


class Settlement:
    """Settles messages of one queue by their outcomes, ten per request. Thread-safe.

    memo       remembers messages that were handled but not deleted.
    postponed  remembers messages that were released because they failed.
    comes_again  called with messages released by their handler or its retry policy.
    lock     guards changes of leases (see `Heartbeat`).
    backoff  seconds after which a message is retried if its dead letter was refused.
    """

    def __init__(
        self,
        queue: QueueTransport,
        in_flight: InFlight,
        *,
        handled_cache: HandledCache,
        postponed: Postponed,
        comes_again: Callable[[Delivery], None],
        lock: threading.Lock,
        backoff: Callable[[Delivery], float],
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._begin: Callable[[Sequence[Delivery]], Any] | None
        self._begin = getattr(queue, "begin_delete", None)
        self._in_flight = in_flight
        self._handled_cache = handled_cache
        self._postponed = postponed
        self._comes_again = comes_again
        self._lock = lock
        self._backoff = backoff
        self._clock = clock
        self.hurried = False
        """The worker is stopping: make fewer attempts."""

    def settle(
        self, chunk: list[InFlightMessage], under_way: list[Deleting] | None = None
    ) -> Later:
        """Settle `chunk`; returns the messages to retry, with their pauses in seconds.

        under_way  collects sent deletes for `finish`; None: wait for their answers.
        """
        sealed, gone = self._in_flight.seal(chunk)
        for message in gone:  # a handler that ended after its message was given up
            self._handled_cache.remember(message)
        deletes: list[InFlightMessage] = []
        hides: list[InFlightMessage] = []
        letters: list[InFlightMessage] = []
        by_action = {Action.DELETE: deletes, Action.HIDE: hides, Action.DEAD_LETTER: letters}
        for message in sealed:
            if message.lost:
                self._expire(message, "its lease was lost")
            elif type(message.outcome) is Ack:  # as nearly always: without the call
                deletes.append(message)
            elif (action := action_of(message.outcome, copied=message.copied)) in by_action:
                by_action[action].append(message)
            else:
                self._expire(message, "it has no valid outcome")
        later: Later = []
        for batch in _requests(letters):
            copied, never = self._copy(batch, later)
            deletes += copied
            hides += never
        for batch in _requests(deletes):
            begun = None if under_way is None else self._begin_delete(batch)
            if begun is None or under_way is None:
                done, again = self._try(batch, self._queue.delete, "delete")
                self._deleted(done, again, later)
            elif begun.request.file < 0:
                later += self.finish(begun) or ()
            else:
                under_way.append(begun)
        for batch in _requests(hides):
            self._change_visibility(batch, later)
        return later

    def call_back(self) -> int:
        """Make some of the postponed messages visible now; returns how many.

        Best effort: a message that is not called back becomes visible as planned.
        """
        batch = self._postponed.next_batch()
        if batch:
            answer = ask(
                lambda some: self._queue.change_visibility(some, [0] * len(some)),
                batch,
                f"hide of {self._queue.name}",
            )
            if answer.error is not None:
                log.warning(
                    "%d messages of %s cannot be called back and come later: %s",
                    len(batch), self._queue.name, answer.failures[0].code,
                )  # fmt: skip
        return len(batch)

    def finish(self, deleting: Deleting) -> Later | None:
        """Process the answer to a delete; returns None if it was sent again and has no answer
        yet."""
        request = deleting.request
        said: list[Sequence[Failure] | None] = []

        def hear(_: Sequence[Delivery]) -> Sequence[Failure]:
            said.append(request.hear())
            return said[0] or ()

        done, again = self._try(deleting.batch, hear, "delete")
        if said == [None]:
            return None
        later: Later = []
        self._deleted(done, again, later)
        return later

    def _begin_delete(self, batch: list[InFlightMessage]) -> Deleting | None:
        """Send the delete of `batch`; None if the transport only has blocking deletes."""
        if self._begin is None:
            return None
        try:
            steps = self._begin([message.delivery for message in batch])
            return None if steps is None else Deleting(batch, UnderWay(steps))
        except Exception as error:  # noqa: BLE001 - in one piece it is met again, and judged
            log.debug("a delete of %s could not be begun: %s", self._queue.name, type(error))
            return None

    def _deleted(self, done: list[InFlightMessage], again: Again, later: Later) -> None:
        rejected = [message for message in done if message.copied]
        if rejected:
            self._in_flight.settle(rejected, Disposition.DEAD_LETTERED)
            for message in rejected:
                log.info(
                    "message %s of %s is dead-lettered: %s",
                    message.delivery.message_id, self._queue.name, reason_of(message.outcome),
                )  # fmt: skip
            done = [message for message in done if not message.copied]
        self._in_flight.settle(done, Disposition.ACKNOWLEDGED)
        self._postpone("delete", again, later)

    def _change_visibility(self, batch: list[InFlightMessage], later: Later) -> None:
        def change_visibility(deliveries: Sequence[Delivery]) -> Sequence[Failure]:
            with self._lock:
                now = self._clock.monotonic()
                # These are not renewed: a broker may have a better way than a lease (`release`).
                release = getattr(self._queue, "release", self._queue.change_visibility)
                failures: Sequence[Failure] = release(
                    deliveries,
                    [
                        min(seconds_of(message.outcome), longest_lease(message, now))
                        for message in batch
                    ],
                )
                return failures

        done, again = self._try(batch, change_visibility, "change_visibility")
        for message in done:
            if message.outcome is not None and message.outcome.origin != "worker":
                self._comes_again(message.delivery)
                if message.outcome.origin == "error":
                    self._postponed.add(message.delivery, seconds_of(message.outcome))
        self._in_flight.settle(done, Disposition.RELEASED)
        self._postpone("release", again, later)

    def _copy(
        self, batch: list[InFlightMessage], later: Later
    ) -> tuple[list[InFlightMessage], list[InFlightMessage]]:
        """The messages whose copy is in the dead-letter queue, and those whose copy was refused for
        good."""

        now, queue = self._clock.now(), self._queue
        letters = [
            dead_letter(message.delivery, message.outcome, now=now, queue=queue.name)
            for message in batch
        ]
        copied, again = _sorted(
            batch, ask(queue.dead_letter, letters, f"dead_letter of {queue.name}", apart=True)
        )
        for message in copied:
            message.copied = True
        never = [
            self._never(message, failure) for message, failure in again if not failure.retryable
        ]
        self._postpone("dead-letter", [one for one in again if one[1].retryable], later)
        return copied, never

    def _never(self, message: InFlightMessage, failure: Failure) -> InFlightMessage:
        """Its copy was refused for good. When it is redelivered, only the copy is retried, because
        its handler has decided."""
        log.error(
            "message %s of %s cannot be dead-lettered (%s: %s); it is released, and SQS moves it "
            "when it has been received max_receives times; its reason: %s",
            message.delivery.message_id,
            self._queue.name,
            failure.code,
            failure.message,
            reason_of(message.outcome),
        )
        self._handled_cache.remember(message, refused=True)
        message.outcome = refused(self._backoff(message.delivery))
        return message

    def _try(
        self,
        batch: list[InFlightMessage],
        request: Callable[[Sequence[Delivery]], Sequence[Failure]],
        name: str,
    ) -> tuple[list[InFlightMessage], Again]:
        """Make one request for `batch`: returns what it settled, and what was refused."""
        answer: Sequence[Failure] | Exception
        try:
            answer = request([message.delivery for message in batch])
            if len(answer) == 0:  # as nearly always; None says nothing, and raises
                return batch, []
        except Exception as error:  # noqa: BLE001 - a thread of the library must outlive it
            answer = error
        found = refusals(answer, len(batch), f"{name} of {self._queue.name}")
        done, again = _sorted(batch, found)
        if found.whole:
            # Even after a permanent error: credentials are renewed, and queues are recreated.
            again = [(message, one._replace(retryable=True)) for message, one in again]
        return done, again

    def _postpone(self, action: str, again: Again, later: Later) -> None:
        if not again:
            return
        now = self._clock.monotonic()
        most = MOST_TRIES_AT_STOP if self.hurried else MOST_TRIES
        for message, failure in again:
            message.tries += 1
            why = f"cannot {action} it: {failure.code} after {message.tries} tries"
            if not failure.retryable or message.tries >= most or message.lease_until <= now:
                self._expire(message, why)
                continue
            self._in_flight.unseal([message])
            later.append((BACKOFF.after(message.tries), message))

    def _expire(self, message: InFlightMessage, why: str) -> None:
        self._handled_cache.remember(message)
        if self._in_flight.settle([message], Disposition.EXPIRED):
            log.warning(
                "message %s of %s is left to its lease and is redelivered%s: %s",
                message.delivery.message_id,
                self._queue.name,
                ", to be deleted then" if message.handled else "",
                why,
            )


def _requests(messages: list[InFlightMessage]) -> list[list[InFlightMessage]]:
    """What is asked for together: nearly always all of them."""
    if len(messages) <= BATCH_ENTRIES:
        return [messages] if messages else []
    return batches(messages)


def _sorted(batch: list[InFlightMessage], answer: Refusals) -> tuple[list[InFlightMessage], Again]:
    """The messages of `batch` that were settled, and those that were refused."""
    if not answer.failures:
        return batch, []
    failures = {one.index: one for one in answer.failures}
    done = [message for index, message in enumerate(batch) if index not in failures]
    return done, [(batch[index], failure) for index, failure in failures.items()]
