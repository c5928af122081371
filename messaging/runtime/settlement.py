"""The room of settlement: what is asked of a queue when handlers are done, and what of refusals."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence

from messaging.answers import Answer, ask
from messaging.clock import Clock
from messaging.logs import logger
from messaging.outcome import Ack
from messaging.runtime.heartbeat import longest_lease
from messaging.runtime.ledger import Ledger
from messaging.runtime.memo import Memo
from messaging.runtime.postponed import Postponed
from messaging.runtime.receipts import Account, Held
from messaging.settlement import (
    Action,
    action_of,
    dead_letter,
    reason_of,
    refused,
    seconds_of,
)
from messaging.transport import BATCH_ENTRIES, Delivery, Failure, QueueTransport

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
            if held.lost:
                self._expire(held, "its lease was lost")
                continue
            outcome = held.outcome
            if type(outcome) is Ack:  # as nearly always: without the call
                deletes.append(held)
                continue
            action = action_of(outcome, copied=held.copied)
            if action is Action.DELETE:
                deletes.append(held)
            elif action is Action.HIDE:
                hides.append(held)
            elif action is Action.DEAD_LETTER:
                letters.append(held)
            else:
                self._expire(held, "it has no outcome that says what becomes of it")
        later: Later = []
        for batch in _batches(letters):
            copied, never = self._copy(batch, later)
            deletes += copied
            hides += never
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
            answer = ask(
                lambda some: self._queue.hide(some, [0] * len(some)),
                batch,
                f"hide of {self._queue.name}",
            )
            if answer.error is not None:
                log.warning(
                    "%d messages of %s cannot be called back and come later: %s",
                    len(batch), self._queue.name, answer.failures[0].code,
                )  # fmt: skip
        return len(batch)

    def _delete(self, batch: list[Held], later: Later) -> None:
        done, again = self._try(batch, self._queue.delete, "delete")
        rejected = [held for held in done if held.copied]
        if rejected:
            self._ledger.settle(rejected, Account.DEAD_LETTERED)
            for held in rejected:
                log.info(
                    "message %s of %s is dead-lettered: %s",
                    held.delivery.message_id, self._queue.name, reason_of(held.outcome),
                )  # fmt: skip
            done = [held for held in done if not held.copied]
        self._ledger.settle(done, Account.ACKNOWLEDGED)
        self._postpone("delete", again, later)

    def _hide(self, batch: list[Held], later: Later) -> None:
        def hide(deliveries: Sequence[Delivery]) -> Sequence[Failure]:
            with self._lock:
                now = self._clock.monotonic()
                return self._queue.hide(
                    deliveries,
                    [min(seconds_of(held.outcome), longest_lease(held, now)) for held in batch],
                )

        done, again = self._try(batch, hide, "hide")
        for held in done:
            if held.outcome is not None and held.outcome.origin != "worker":
                self._comes_again(held.delivery)
                if held.outcome.origin == "error":
                    self._postponed.add(held.delivery, seconds_of(held.outcome))
        self._ledger.settle(done, Account.RELEASED)
        self._postpone("release", again, later)

    def _copy(self, batch: list[Held], later: Later) -> tuple[list[Held], list[Held]]:
        """Those whose copy stands in the dead-letter queue, and those whose copy never will."""

        now, queue = self._clock.now(), self._queue
        letters = [
            dead_letter(held.delivery, held.outcome, now=now, queue=queue.name) for held in batch
        ]
        copied, again = _sorted(
            batch, ask(queue.dead_letter, letters, f"dead_letter of {queue.name}", apart=True)
        )
        for held in copied:
            held.copied = True
        never = [self._never(held, failure) for held, failure in again if not failure.retryable]
        self._postpone("dead-letter", [one for one in again if one[1].retryable], later)
        return copied, never

    def _never(self, held: Held, failure: Failure) -> Held:
        """Its copy was refused for good. When it comes again the copy is tried again, and its
        handler is not run: it has decided."""
        log.error(
            "message %s of %s cannot be dead-lettered (%s: %s); it is released, and SQS moves it "
            "when it has been received max_receives times; its reason: %s",
            held.delivery.message_id,
            self._queue.name,
            failure.code,
            failure.message,
            reason_of(held.outcome),
        )
        self._memo.remember(held, refused=True)
        held.outcome = refused(self._backoff(held.delivery))
        return held

    def _try(
        self,
        batch: list[Held],
        request: Callable[[Sequence[Delivery]], Sequence[Failure]],
        name: str,
    ) -> tuple[list[Held], Again]:
        """One request for `batch`: what it settled, and what was refused."""
        answer = ask(request, [held.delivery for held in batch], f"{name} of {self._queue.name}")
        done, again = _sorted(batch, answer)
        if answer.whole:
            # Even if it was for good: credentials are renewed, and queues come back.
            again = [(held, one._replace(retryable=True)) for held, one in again]
        return done, again

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


def _sorted(batch: list[Held], answer: Answer) -> tuple[list[Held], Again]:
    """Those of `batch` that were settled, and those that were refused."""
    if not answer.failures:
        return batch, []
    failures = {one.index: one for one in answer.failures}
    done = [held for index, held in enumerate(batch) if index not in failures]
    return done, [(batch[index], failure) for index, failure in failures.items()]
