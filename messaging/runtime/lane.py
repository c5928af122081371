"""The room of one queue: its poller, its handlers, its settler and its leases, put together."""

from __future__ import annotations

import asyncio
import logging
import queue as queues
from collections.abc import Sequence
from functools import partial

from messaging.clock import Clock
from messaging.dispatch import Dispatcher
from messaging.outcome import Discard, Outcome, Retry
from messaging.runtime.crew import Crew
from messaging.runtime.heartbeat import Heartbeat
from messaging.runtime.ledger import Account, Held, Ledger, Stats
from messaging.runtime.loop import Runs
from messaging.runtime.poller import Poller
from messaging.runtime.settlement import Settlement
from messaging.runtime.settler import Settler
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport

__all__ = ["Lane"]

log = logging.getLogger("messaging.runtime")

BROKEN_POLICY_DELAY = 60.0
"""Seconds before a message comes again whose retry policy raised instead of deciding."""


class Lane:
    """Everything for one consumer and its queue.

    Making it asks the queue for its visibility timeout: a queue that does not exist is found
    here, before a thread starts.

    inlet        a transport of its own to receive by: closing it wakes a receive that waits, where
                 that can be done, while `queue` can still settle.
    concurrency  handlers that run at once, sync and async together.
    prefetch     receipts that may wait beside those in a handler.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        queue: QueueTransport,
        inlet: QueueTransport,
        *,
        concurrency: int,
        prefetch: int,
        wait: float,
        clock: Clock,
    ) -> None:
        self.consumer = dispatcher.consumer
        self.queue = queue
        self._inlet = inlet
        self._dispatch = dispatcher
        self._concurrency = concurrency
        self._clock = clock
        self._lease = max(1, queue.visibility_timeout)
        self.ledger = Ledger(concurrency + prefetch)
        self.buffer: queues.SimpleQueue[Held | None] = queues.SimpleQueue()
        # One slot for each handler that may run; None wakes a thread that shall end. SimpleQueues
        # are in C: a semaphore of `threading` would cost as much as the rest of the way.
        self._slots: queues.SimpleQueue[bool | None] = queues.SimpleQueue()
        self._cancelled = False
        self.heartbeat = Heartbeat(queue, self.ledger, lease=self._lease, clock=clock)
        settlement = Settlement(
            queue,
            self.ledger,
            lock=self.heartbeat.lock,
            backoff=lambda delivery: self.consumer.retry.delay(delivery.receive_count),
            clock=clock,
        )
        self.settler = Settler(settlement, self.ledger, clock=clock)
        self.poller = Poller(
            inlet,
            self.ledger,
            room=max(1, min(BATCH_ENTRIES, prefetch // 2)),
            wait=wait,
            taken=self._taken,
        )

    def start(self, crew: Crew, loop: Runs) -> None:
        name = self.consumer.service
        for number in range(1, self._concurrency + 1):
            self._slots.put(True)
            crew.start(f"{name}-handler-{number}", partial(self._handle, loop))
        self._settling = crew.start(f"{name}-settler", self.settler.run)
        self._leasing = crew.start(f"{name}-leases", self.heartbeat.run)
        self._polling = crew.start(f"{name}-poller", self.poller.run)

    @property
    def stats(self) -> Stats:
        return self.ledger.stats()

    @property
    def polls(self) -> bool:
        """True while a receive waits, or what it brought is being entered."""
        return self._polling.is_alive()

    def close_intake(self) -> int:
        """Ask for no more, and give back what waits for a handler; returns how many those were."""
        self.ledger.close()
        self.poller.stop()
        if self._inlet is not self.queue:
            self._inlet.close()
        self.settler.hurry()
        given_back = 0
        while True:
            try:
                held = self.buffer.get_nowait()
            except queues.Empty:
                break
            if held is not None:
                given_back += 1
                self.settler.put(held, Retry(0))
        for _ in range(self._concurrency):
            self.buffer.put(None)
            self._slots.put(None)
        return given_back

    def running(self) -> int:
        """Handlers that have not ended."""
        return len(self.ledger.unfinished())

    def to_settle(self) -> int:
        """Receipts that the settler still has to settle."""
        return len(self.ledger.finished()) if self._settling.is_alive() else 0

    def cancelling(self) -> None:
        """Async handlers are about to be cancelled: what they had in hand is given back."""
        self._cancelled = True

    def abandon_unfinished(self) -> list[Held]:
        """Count receipts whose handler goes on as expired: nobody renews their leases any more."""
        abandoned = self.ledger.unfinished()
        self.ledger.settle(abandoned, Account.EXPIRED)
        return abandoned

    def end_settling(self) -> None:
        """Let settler and leases end when everything is settled."""
        self.heartbeat.stop()
        self.settler.end()

    def settle_rest(self) -> int:
        """After the threads' end: what a settler that died left. Returns how many have expired."""
        while not self._settling.is_alive():
            before = self.ledger.in_hand
            try:
                self.settler.run()
                break
            except Exception:  # noqa: BLE001 - it died of this before, and that was told
                log.debug("the settler of %s died again", self.queue.name)
            if self.ledger.in_hand == before:
                break
        return self.ledger.settle(self.ledger.finished(), Account.EXPIRED)

    def _taken(self, deliveries: Sequence[Delivery]) -> None:
        now = self._clock.monotonic()
        for late in self.ledger.receive(deliveries, now, self._lease, self.buffer.put):
            self.settler.put(late, late.outcome or Retry(0))

    def _handle(self, loop: Runs) -> None:
        """The body of a handler thread: a slot, a receipt, and on it goes."""
        slots, buffer, step = self._slots, self.buffer, self.handle
        while slots.get() is not None:
            held = buffer.get()
            if held is None:
                return
            step(held, loop)

    def handle(self, held: Held, loop: Runs) -> None:
        """Run the handler of one receipt; an async one is handed to `loop` and goes on there."""
        if held.lost:
            self._ended(held, Retry(0))
            return
        try:
            outcome = self._dispatch(held.delivery)
        except BaseException as error:  # noqa: BLE001 - a handler may raise whatever there is
            self._ended(held, self._unexpected(held, error))
            return
        if isinstance(outcome, Outcome):
            self._ended(held, outcome)
        else:
            # The slot goes along: it is free again when the coroutine has ended.
            loop.submit(outcome, partial(self._coroutine_ended, held))

    def _coroutine_ended(self, held: Held, result: Outcome | BaseException) -> None:
        if isinstance(result, Outcome):
            self._ended(held, result)
        elif self._cancelled and isinstance(result, asyncio.CancelledError):
            self._ended(held, Retry(0))
        else:
            self._ended(held, self._unexpected(held, result))

    def _ended(self, held: Held, outcome: Outcome) -> None:
        self._slots.put(True)
        if isinstance(outcome, Discard):
            log.info(
                "%s discarded message %s: %s",
                self.consumer.service,
                held.delivery.message_id,
                outcome.reason,
            )
        self.settler.put(held, outcome)

    def _unexpected(self, held: Held, error: BaseException) -> Outcome:
        """For what the dispatcher lets through: KeyboardInterrupt, CancelledError, a defect."""
        log.warning(
            "%s raised %s on message %s, receive %d",
            self.consumer.service,
            type(error).__qualname__,
            held.delivery.message_id,
            held.delivery.receive_count,
        )
        try:
            return self.consumer.retry.decide(error, held.delivery.receive_count)
        except Exception as broken:  # noqa: BLE001 - a wait strategy is the user's code
            log.error(
                "the retry policy of %s raised %s: message %s comes again in %.0f s",
                self.consumer.service,
                type(broken).__qualname__,
                held.delivery.message_id,
                BROKEN_POLICY_DELAY,
            )
            return Retry(BROKEN_POLICY_DELAY)
