"""The room of settlement: what is asked of a queue when handlers are done, and what of refusals."""

from __future__ import annotations

import math
import random
import threading
from collections.abc import Callable, Sequence

from messaging.clock import Clock
from messaging.errors import TransportError
from messaging.logs import logger
from messaging.outcome import Ack, Reject, Retry
from messaging.runtime.heartbeat import longest_lease
from messaging.runtime.ledger import Ledger
from messaging.runtime.memo import Memo
from messaging.runtime.postponed import Postponed
from messaging.runtime.receipts import Account, Held
from messaging.transport import BATCH_ENTRIES, DeadLetter, Delivery, Failure, QueueTransport

__all__ = ["Settlement"]

log = logger("messaging.runtime")

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 5.0
"""Seconds before a refused settlement is tried again: doubled each time, half of it by chance."""
MOST_TRIES, MOST_TRIES_AT_STOP = 10, 3
"""About half a minute, and about half a second."""

Again = list[tuple[Held, Failure]]
"""What was refused, and why."""
Later = list[tuple[float, Held]]
"""What is to be tried again, after so many seconds."""


class Settlement:
    """Settles receipts of one queue by their outcomes, ten in a request. Safe in any thread.

    memo       is told what was handled and is not deleted.
    postponed  is told what was released because it failed.
    comes_again  called with what was released by its handler or its retry policy.
    lock     guards changes of leases (see `Heartbeat`).
    backoff  seconds after which a message comes again whose dead letter was refused.
    """

    def __init__(
        self,
        queue: QueueTransport,
        ledger: Ledger,
        *,
        memo: Memo,
        postponed: Postponed,
        comes_again: Callable[[Delivery], None],
        lock: threading.Lock,
        backoff: Callable[[Delivery], float],
        clock: Clock,
    ) -> None:
        self._queue = queue
        self._ledger = ledger
        self._memo = memo
        self._postponed = postponed
        self._comes_again = comes_again
        self._lock = lock
        self._backoff = backoff
        self._clock = clock
        self.hurried = False
        """The worker stops: try few times."""

    def settle(self, chunk: list[Held]) -> Later:
        """Settle `chunk`; returns what is to be tried again after so many seconds."""
        sealed, gone = self._ledger.seal(chunk)
        deletes: list[Held] = []
        hides: list[Held] = []
        letters: list[Held] = []
        for held in gone:
            self._memo.remember(held)  # a handler that ended after its message was given up
        for held in sealed:
            outcome = held.outcome
            if held.lost:
                self._expire(held, "its lease was lost")
            elif type(outcome) is Ack:
                deletes.append(held)
            elif isinstance(outcome, Retry):
                hides.append(held)
            elif isinstance(outcome, Reject) and not held.copied:
                letters.append(held)
            else:
                deletes.append(held)
        later: Later = []
        for batch in _batches(letters):
            copied, refused = self._copy(batch, later)
            deletes += copied
            hides += refused
        for batch in _batches(deletes):
            self._delete(batch, later)
        for batch in _batches(hides):
            self._hide(batch, later)
        return later

    def call_back(self) -> int:
        """Let some of the postponed messages come now; how many those were.

        Best effort: a message that is not called back comes when it was to come.
        """
        batch = self._postponed.next_batch()
        if batch:
            try:
                self._queue.hide(batch, [0] * len(batch))
            except TransportError as error:
                log.warning(
                    "%d messages of %s cannot be called back and come later: %s",
                    len(batch), self._queue.name, error.code or type(error).__name__,
                )  # fmt: skip
        return len(batch)

    def _delete(self, batch: list[Held], later: Later) -> None:
        done, again = self._try(batch, self._queue.delete, on=True)
        rejected = [held for held in done if held.copied]
        if rejected:
            self._ledger.settle(rejected, Account.DEAD_LETTERED)
            for held in rejected:
                log.info(
                    "message %s of %s is dead-lettered: %s",
                    held.delivery.message_id, self._queue.name, _reason(held),
                )  # fmt: skip
            done = [held for held in done if not held.copied]
        self._ledger.settle(done, Account.ACKNOWLEDGED)
        self._postpone("delete", again, later)

    def _hide(self, batch: list[Held], later: Later) -> None:
        def hide(deliveries: Sequence[Delivery]) -> Sequence[Failure]:
            with self._lock:
                now = self._clock.monotonic()
                return self._queue.hide(
                    deliveries, [min(_delay(held), longest_lease(held, now)) for held in batch]
                )

        done, again = self._try(batch, hide, on=True)
        for held in done:
            if held.outcome is not None and held.outcome.origin != "worker":
                self._comes_again(held.delivery)
                if held.outcome.origin == "error":
                    self._postponed.add(held.delivery, _delay(held))
        self._ledger.settle(done, Account.RELEASED)
        self._postpone("release", again, later)

    def _copy(self, batch: list[Held], later: Later) -> tuple[list[Held], list[Held]]:
        """Those whose copy stands in the dead-letter queue, and those whose copy never will."""

        def copy(deliveries: Sequence[Delivery]) -> Sequence[Failure]:
            now = self._clock.now()
            return self._queue.dead_letter(
                [_letter(held, one, now, self._queue.name)
                 for held, one in zip(batch, deliveries, strict=True)]
            )  # fmt: skip

        copied, again = self._try(batch, copy, on=False)
        for held in copied:
            held.copied = True
        refused = []
        for held, failure in again:
            if not failure.retryable:
                # Nothing is deleted before it stands elsewhere: SQS's own redrive will move it.
                held.outcome = Retry(self._backoff(held.delivery), "dead letter refused")
                refused.append(held)
                log.error(
                    "message %s of %s cannot be dead-lettered (%s: %s); it is released, and SQS "
                    "moves it when it has been received max_receives times",
                    held.delivery.message_id, self._queue.name, failure.code, failure.message,
                )  # fmt: skip
        self._postpone("dead-letter", [one for one in again if one[1].retryable], later)
        return copied, refused

    def _try(
        self,
        batch: list[Held],
        request: Callable[[Sequence[Delivery]], Sequence[Failure]],
        *,
        on: bool,
    ) -> tuple[list[Held], Again]:
        """One request for `batch`: what it settled, and what was refused.

        on  try again even what was refused for good, if it was the request and not its entries:
            credentials are renewed, and queues come back.
        """
        try:
            failures = request([held.delivery for held in batch])
        except TransportError as error:
            code = error.code or type(error).__name__
            whole = Failure(0, code, str(error), on or error.retryable)
            return [], [(held, whole) for held in batch]
        if not failures:
            return batch, []
        refused = {failure.index: failure for failure in failures}
        done = [held for index, held in enumerate(batch) if index not in refused]
        return done, [(batch[index], failure) for index, failure in refused.items()]

    def _postpone(self, action: str, again: Again, later: Later) -> None:
        if not again:
            return
        now = self._clock.monotonic()
        most = MOST_TRIES_AT_STOP if self.hurried else MOST_TRIES
        for held, failure in again:
            held.tries += 1
            why = f"cannot {action} it: {failure.code} after {held.tries} tries"
            if not failure.retryable or held.tries >= most or held.lease_until <= now:
                self._expire(held, why)
                continue
            longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (held.tries - 1))
            self._ledger.unseal([held])
            later.append((random.uniform(longest / 2, longest), held))

    def _expire(self, held: Held, why: str) -> None:
        self._memo.remember(held)
        if self._ledger.settle([held], Account.EXPIRED):
            log.warning(
                "message %s of %s is left to its lease and comes again%s: %s",
                held.delivery.message_id,
                self._queue.name,
                ", to be deleted then" if held.handled else "",
                why,
            )


def _batches(helds: list[Held]) -> list[list[Held]]:
    return [helds[at : at + BATCH_ENTRIES] for at in range(0, len(helds), BATCH_ENTRIES)]


def _delay(held: Held) -> int:
    outcome = held.outcome
    return math.ceil(outcome.delay or 0) if isinstance(outcome, Retry) else 0


def _reason(held: Held) -> str:
    return held.outcome.reason if held.outcome is not None else ""


def _letter(held: Held, delivery: Delivery, now: float, queue: str) -> DeadLetter:
    outcome = held.outcome
    return DeadLetter(
        delivery=delivery,
        reason=_reason(held),
        error=outcome.error if isinstance(outcome, Reject) else None,
        attempts=delivery.receive_count,
        time=now,
        queue=queue,
    )
