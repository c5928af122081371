"""Runs a whole topology in one thread until every queue is empty."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from messaging.clock import Clock
from messaging.codec import Codec
from messaging.consuming.batch_dispatch import largest_batch, units
from messaging.consuming.consumer import Consumer
from messaging.consuming.dispatch import Dispatcher, Middleware
from messaging.errors import ConfigurationError, TransportError
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.settlement import (
    Action,
    Groups,
    action_of,
    dead_letter,
    is_ordered,
    refused,
    seconds_of,
)
from messaging.testing.delivery import batch_settled, settled
from messaging.transport import BATCH_ENTRIES, Broker, Delivery, Failure, QueueTransport

__all__ = ["Drained", "drain"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """The result of a drain: counts of receipts, in total and `of` each service.

    Args:
        received: receipts: a retried message counts again.
        acknowledged: handled messages.
        discarded: messages that a handler discarded.
        retried: messages to be retried.
        released: messages that were released unhandled.
        dead_lettered: messages that were given up.
        reasons: the reasons of the dead letters.
        of: the same counts, by service.

    Example:
        ```python
        from messaging.testing import FakeClock, drain

        clock = FakeClock()
        broker = MemoryBroker(topology, clock=clock)
        with Publisher(broker.topic(), source="/cadastro") as publisher:
            publisher.publish(ana)
        drained = drain(broker, Marketing(), clock=clock)
        assert (drained.received, drained.acknowledged, drained.reasons) == (1, 1, ())
        ```
    """

    received: int = 0
    acknowledged: int = 0
    discarded: int = 0
    retried: int = 0
    released: int = 0
    dead_lettered: int = 0
    reasons: tuple[str, ...] = ()
    of: Mapping[str, Drained] = field(default_factory=dict, repr=False)


def drain(
    broker: Broker,
    *consumers: Consumer,
    clock: Clock,
    codec: Codec | None = None,
    middleware: Sequence[Middleware] = (),
    limit: int = 100_000,
) -> Drained:
    """Handle all messages in the consumers' queues, one after another, until all are empty.

    It waits for retries with `clock.sleep`, which takes no time with a `FakeClock`; use the same
    clock for the broker. In a FIFO queue, nothing of its group overtakes a retried message.
    Messages that handlers publish meanwhile are handled too; `limit` stops endless loops. A dead
    letter that the queue refuses is retried, as in a `Worker`, until the broker moves it.

    Args:
        broker: the broker with the messages.
        *consumers: the services; other queues are left alone.
        clock: the broker's `FakeClock`, which is moved forward to when a message is visible again.
        codec: how a message's body is read and written; `JsonCodec()` by default, and the
            producer's otherwise.
        middleware: context managers around each handler, outermost first.
        limit: maximum number of receipts.

    Raises:
        ConfigurationError: if the queues are not empty after `limit` receipts, which suggests an
            endless loop.

    Example:
        ```python
        from messaging.testing import FakeClock, drain

        clock = FakeClock()
        broker = MemoryBroker(topology, clock=clock)
        Publisher(broker.topic(), source="/cadastro").publish(ana)

        drained = drain(broker, Marketing(), clock=clock)
        assert drained.of["marketing"].acknowledged == 1
        ```
    """
    lanes: list[_Lane] = []
    left = limit
    runner = asyncio.Runner()  # creates its loop when the first async handler needs it
    try:
        lanes += [_Lane(broker, one, clock, codec, middleware, runner) for one in consumers]
        while True:
            taken = sum(lane.turn() for lane in lanes)
            left -= taken
            if left < 0:
                raise ConfigurationError(
                    f"drain: still not empty after {limit:,} receipts; does a handler publish what "
                    "it handles?"
                )
            if taken:
                continue
            due = min((lane.due[0] for lane in lanes if lane.due), default=None)
            if due is None:
                return _drained(lanes, {one.consumer.service: _drained([one], {}) for one in lanes})
            clock.sleep(max(0.0, due - clock.monotonic()))
            for lane in lanes:
                lane.forget_past()
    finally:
        runner.close()
        for lane in lanes:
            lane.queue.close()


_NAMES = (
    (Ack, "acknowledged"),
    (Discard, "discarded"),
    (Retry, "retried"),
    (Reject, "dead_lettered"),
)


class _Lane:
    """One consumer, its queue, and the times at which its retries are due."""

    def __init__(
        self,
        broker: Broker,
        consumer: Consumer,
        clock: Clock,
        codec: Codec | None,
        middleware: Sequence[Middleware],
        runner: asyncio.Runner,
    ) -> None:
        self.consumer = consumer
        self.queue: QueueTransport = broker.queue(consumer.service)
        self.due: list[float] = []
        self._clock = clock
        self._runner = runner
        self._dispatch = Dispatcher(consumer, codec=codec, middleware=middleware, outages=False)
        self.counts: Counter[str] = Counter()
        """By the names of `Drained`."""
        self.reasons: list[str] = []
        self._ordered = is_ordered(self.queue.name)

    def _receive(self) -> list[Delivery]:
        """The messages of one receive; for handlers that take batches, as many as fill the
        largest."""
        wanted = largest_batch(self.consumer)
        deliveries = list(self.queue.receive(BATCH_ENTRIES, 0))
        while deliveries and len(deliveries) < wanted:
            more = self.queue.receive(BATCH_ENTRIES, 0)
            if not more:
                break
            deliveries += more
        return deliveries

    def turn(self) -> int:
        """Handle the available messages; returns how many."""
        deliveries = self._receive()
        groups = Groups()
        for together, unit in units(self.consumer, deliveries):
            self.counts["received"] += len(unit)
            fit = []
            for delivery in unit:
                if self._ordered and groups.stopped(delivery):
                    self.counts["released"] += 1
                    self._settle(delivery, groups.back(delivery))
                else:
                    fit.append(delivery)
            for delivery, outcome in zip(fit, self._handled(fit, together), strict=True):
                if outcome.origin == "worker":  # in a batch, behind a retried one
                    self.counts["released"] += 1
                    self._settle(delivery, outcome)
                    continue
                left = self._settle(delivery, outcome)
                groups.ended(delivery, left)
                self._count(left if isinstance(left, Retry) else outcome)
        return len(deliveries)

    def _count(self, outcome: Outcome) -> None:
        for kind, name in _NAMES:
            self.counts[name] += isinstance(outcome, kind)
        if isinstance(outcome, Reject):
            self.reasons.append(outcome.reason)

    def _handled(self, unit: list[Delivery], together: bool) -> list[Outcome]:
        if unit and together:
            return batch_settled(self._dispatch.batch(unit), self._runner)
        return [settled(self._dispatch(delivery), self._runner) for delivery in unit]

    def forget_past(self) -> None:
        while self.due and self.due[0] <= self._clock.monotonic():
            heapq.heappop(self.due)

    def _settle(self, delivery: Delivery, outcome: Outcome | None) -> Outcome | None:
        """Make the request that follows from an outcome; returns the final result."""
        action = action_of(outcome)
        if action is Action.DEAD_LETTER:
            letter = dead_letter(delivery, outcome, now=self._clock.now(), queue=self.queue.name)
            if refusals := self.queue.dead_letter([letter]):
                _must([one for one in refusals if one.retryable])
                return self._settle(
                    delivery, refused(self.consumer.retry.delay(delivery.receive_count))
                )
            outcome, action = Ack(), Action.DELETE
        if action is Action.DELETE:
            _must(self.queue.delete([delivery]))
            return outcome
        seconds = self.queue.visibility_timeout
        if action is Action.HIDE:
            seconds = seconds_of(outcome)
            _must(self.queue.change_visibility([delivery], [seconds]))
        heapq.heappush(self.due, self._clock.monotonic() + seconds)
        return outcome


def _must(failures: Sequence[Failure]) -> None:
    for failure in failures:
        raise TransportError(
            f"drain: {failure.code}: {failure.message}",
            code=failure.code,
            retryable=failure.retryable,
        )


def _drained(lanes: Sequence[_Lane], of: Mapping[str, Drained]) -> Drained:
    counts = sum((lane.counts for lane in lanes), Counter[str]())
    reasons = tuple(reason for lane in lanes for reason in lane.reasons)
    return Drained(**counts, reasons=reasons, of=of)
