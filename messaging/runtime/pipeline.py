"""The pipeline of one queue: its receiver, executor, settler and heartbeat, put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from messaging.clock import Clock
from messaging.consuming.dispatch import Dispatcher
from messaging.logs import logger
from messaging.runtime.backpressure import BackPressure, State
from messaging.runtime.batch_executor import executor_for
from messaging.runtime.breaker import Breaker
from messaging.runtime.event_loop import EventLoop
from messaging.runtime.executor import pause_before
from messaging.runtime.gathering import BatchReadyQueue, line_for, prefetch_of
from messaging.runtime.handled import HandledCache
from messaging.runtime.heartbeat import Heartbeat
from messaging.runtime.in_flight import (
    STOPPING,
    Disposition,
    InFlight,
    InFlightMessage,
    Stats,
)
from messaging.runtime.isolation import Isolation
from messaging.runtime.postponed import Postponed
from messaging.runtime.ready_queue import FifoReadyQueue
from messaging.runtime.receiver import Receiver, return_late
from messaging.runtime.run_to_completion import RunToCompletion
from messaging.runtime.settlement import Settlement
from messaging.runtime.settler import Settler
from messaging.runtime.shared_rate import SharedBucket, bucket_for
from messaging.runtime.threads import Threads
from messaging.runtime.wedge import Wedge
from messaging.stores import RateStore
from messaging.transport import BATCH_ENTRIES, Delivery, QueueTransport

__all__ = ["Pipeline"]

log = logger("messaging.runtime")
Put = Callable[[InFlightMessage], bool | None]


class Pipeline:
    """Everything for one consumer and its queue.

    The way of a message, in the order of the calls:

        receiver     long-polls, and passes messages to `_received`
        in_flight    enters each receipt once, and passes it on
        run_to_completion, or ready_queue and a thread of the executor
        executor     runs its handler through the dispatcher
        settler      collects finished messages until they make a batch
        settlement   deletes, releases or dead-letters the batch, and tells `in_flight`
        `_settled`   gets those that left, and starts what waited for them

    Meanwhile, the heartbeat renews the leases of messages in flight, and back-pressure decides when
    the receiver may ask for more.

    The constructor asks the queue for its visibility timeout, so a missing queue is noticed before
    a thread starts.

    inlet        a separate transport for receiving: closing it wakes a waiting receive, if the
                 broker allows that, while `queue` can still settle.
    concurrency  handlers that run at the same time, sync and async together.
    prefetch     messages that may wait in addition to those in a handler; None: see `BackPressure`.
    rates        the store of a shared rate limit.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        queue: QueueTransport,
        inlet: QueueTransport,
        *,
        concurrency: int,
        prefetch: int | None = None,
        wait: float,
        clock: Clock,
        wedged: Callable[[str, float], None] = lambda service, seconds: None,
        rates: RateStore | None = None,
    ) -> None:
        self.consumer = consumer = dispatcher.consumer
        self.queue = queue
        self._inlet = inlet
        self._clock = clock
        self._lease = max(1, queue.visibility_timeout)
        self._closing = self._abandoned = False
        prefetch = prefetch_of(consumer, concurrency, prefetch)
        self.completing: RunToCompletion | None = None
        """Runs handlers in the receiving thread while they are quick; set once, at the start."""

        self.in_flight = InFlight(self._settled)
        self.ready_queue = line = line_for(queue.name, concurrency, consumer, clock)
        self._batches = line if isinstance(line, BatchReadyQueue) else None
        self.handled_cache = HandledCache(clock=clock)
        self.postponed = Postponed(clock)
        service = consumer.service
        self.breaker = Breaker(consumer.circuit, self.postponed, service=service, clock=clock)
        self.isolation = Isolation(queue.name, self.in_flight, last_receive=consumer.max_receives)
        self.wedge = self._make_wedge(concurrency, wedged)
        self.rate = bucket_for(consumer.rate, rates, queue.name, clock)
        self.backpressure = self._make_backpressure(concurrency, prefetch)
        self.heartbeat = self._make_heartbeat()
        self._ordered = isinstance(self.ready_queue, FifoReadyQueue)
        self.settler = self._make_settler()
        self.executor = executor_for(
            dispatcher,
            line,
            self.settler,
            self.in_flight,
            handled_cache=self.handled_cache,
            breaker=self.breaker,
            backpressure=self.backpressure,
            concurrency=concurrency,
            clock=clock,
        )
        held = concurrency + (concurrency if prefetch is None else prefetch)
        self.receiver = self._make_receiver(wait, most=held // BATCH_ENTRIES - 1)

    def _make_wedge(self, concurrency: int, wedged: Callable[[str, float], None]) -> Wedge:
        return Wedge(
            self.in_flight,
            self.consumer,
            concurrency=concurrency,
            clock=self._clock,
            happened=self._give_back_waiting,
            goes_on=lambda seconds: wedged(self.consumer.service, seconds),
            over=lambda: self.backpressure.look_again(),
        )

    def _make_backpressure(self, concurrency: int, prefetch: int | None) -> BackPressure:
        return BackPressure(
            self.in_flight,
            self.breaker,
            self.isolation,
            concurrency=concurrency,
            prefetch=prefetch,
            lease=self._lease,
            wedged=lambda: self.wedge.wedged,
            rate=self.rate,
            behind=partial(getattr, self.ready_queue, "behind"),
        )

    def _make_heartbeat(self) -> Heartbeat:
        return Heartbeat(
            self.queue,
            self.in_flight,
            lease=self._lease,
            max_lease=self.consumer.max_lease,
            handler_timeout=self.consumer.handler_timeout,
            tell=lambda message, reason: self.executor.tell(message, reason),
            look=self.wedge.look,
            clock=self._clock,
        )

    def _make_receiver(self, wait: float, most: int) -> Receiver:
        return Receiver(
            self._inlet,
            self.backpressure,
            wait=wait,
            clock=self._clock,
            taken=self._received,
            # Of two concurrent receives from a FIFO queue, the second might be entered first.
            most=0 if self._ordered else most,
            settler=None if self._ordered else self.settler,
            quick=lambda: self.executor.quick,
        )

    def _make_settler(self) -> Settler:
        settlement = Settlement(
            self.queue,
            self.in_flight,
            handled_cache=self.handled_cache,
            postponed=self.postponed,
            comes_again=self.isolation.comes_again,
            lock=self.heartbeat.lock,
            backoff=partial(pause_before, self.consumer.retry),
            clock=self._clock,
        )
        return Settler(settlement, self.in_flight, clock=self._clock, eager=self._ordered)

    def start(self, threads: Threads, loop: EventLoop) -> None:
        name = self.consumer.service
        self.executor.start(threads, loop)
        self._settling = threads.start(f"{name}-settler", self.settler.run)
        self._leasing = threads.start(f"{name}-leases", self.heartbeat.run)
        if isinstance(self.rate, SharedBucket):
            threads.start(f"{name}-rate", self.rate.run)
        receive = partial(self.receiver.run, partial(threads.start, f"{name}-poller-helper"))
        if self._batches is not None:
            threads.start(f"{name}-batches", self._batches.run)
        else:
            self.completing = RunToCompletion(
                self.executor,
                self.ready_queue,
                self.settler,
                loop,
                replace=self.receiver.replace,
                more=self.receiver.more,
            )
            threads.start(f"{name}-watch", self.completing.watch)
            receive = partial(receive, onward=self.completing.work)
        threads.start(f"{name}-poller", receive)

    def _received(self, deliveries: Sequence[Delivery], since: float) -> None:
        """Enter the messages of a receive; their leases count from `since`."""
        if self._abandoned:
            return_late(self.queue, deliveries)
            return
        if self.postponed.hidden:
            self.postponed.received(deliveries)
        put = (self.completing and self.completing.open()) or self.ready_queue.put
        most = max([one.receive_count for one in deliveries])
        plain = most <= self.isolation.threshold and not self.isolation.active
        back = self.in_flight.receive(
            deliveries,
            since,
            self._lease,
            put if plain else partial(self._enter, put),
        )
        for message in back:
            self.settler.put(message)
        if not plain:
            self._isolate()

    def _enter(self, put: Put, message: InFlightMessage) -> bool | None:
        """Like `put`, while there are suspects. Returns False if it must be released."""
        suspect = self.isolation.suspects(message.delivery)
        if self.ready_queue.held_up(message):
            return False
        if self.isolation.blocks(message.delivery) or (suspect and self.ready_queue.busy(message)):
            # A suspect of its group comes first, and may fail: then this one must follow it again.
            self.ready_queue.sent_back([message])
            self.isolation.comes_again(message.delivery)
            return False
        if suspect:
            self.isolation.hold(message)
            return True
        return put(message)

    def _isolate(self) -> None:
        """Start a suspect, if nothing else is in flight."""
        self._hurry_batches()
        if (message := self.isolation.next()) is not None:
            verdict = self.isolation.verdict(message)
            if verdict is None:
                if not self.ready_queue.put(message):
                    self.executor.put_back(message)
                self._hurry_batches()
            else:
                message.outcome = verdict
                self.settler.put(message)
                self.settler.rouse()

    def _hurry_batches(self) -> None:
        """While a suspect waits, nothing more is received, so no batch will fill up."""
        if self._batches is not None and self.isolation.active:
            self._batches.flush()

    def _settled(self, messages: Sequence[InFlightMessage], account: Disposition) -> None:
        """These messages have left in this way: start what waited for them.

        If empty, a handler has ended whose message had been given up before.
        """
        if self._ordered or account is Disposition.EXPIRED:
            for message in messages:
                if message.gone and message.ending:
                    self.executor.gave_up(message)
                for one in self.ready_queue.left(message, account):
                    self.executor.put_back(one)
        if self.isolation.active:
            for message in messages:
                self.isolation.left(message)
            self._isolate()
        self.backpressure.look_again()

    @property
    def stats(self) -> Stats:
        return self.in_flight.stats()

    @property
    def state(self) -> State:
        return self.backpressure.state

    @property
    def polls(self) -> bool:
        """True while a receive waits, or its messages are being entered."""
        return self.backpressure.asked > 0

    def pause(self) -> None:
        """Receive nothing until `resume`, and release messages that wait for a handler."""
        self.backpressure.pause()
        self._give_back_waiting()

    def resume(self) -> None:
        self.backpressure.resume()

    def close_intake(self) -> int:
        """Stop receiving, and release messages that wait for a handler; returns how many."""
        self._closing = True
        self.in_flight.close()
        self.backpressure.close()
        self.receiver.stop()
        if self._inlet is not self.queue:
            self._inlet.close()
        self.settler.hurry()
        if self.completing is not None:
            self.completing.close()
        if self._batches is not None:
            self._batches.close()
        waiting = self._drain()
        for message in waiting:
            self.executor.put_back(message)
        self.executor.end()
        return len(waiting)

    def close_queues(self) -> None:
        """Close the transports. `close_intake` has closed the inlet, if the pipeline was
        started."""
        if self._inlet is not self.queue and not self._closing:
            self._inlet.close()
        self.queue.close()

    def running(self) -> int:
        """Number of handlers that have not ended."""
        return len(self.in_flight.unfinished())

    def watching(self) -> int:
        """Number of those that have checked whether they should end."""
        return sum(message.watched for message in self.in_flight.unfinished())

    def to_settle(self) -> int:
        """Number of messages that are still to be settled."""
        return len(self.in_flight.finished()) if self._settling.is_alive() else 0

    def cancelling(self) -> None:
        """End the handlers: cancel async ones, and release their messages."""
        for message in self.in_flight.unfinished():
            self.executor.tell(message, STOPPING)

    def abandon_unfinished(self) -> list[InFlightMessage]:
        """Count messages whose handler continues as expired: their leases are no longer renewed."""
        abandoned = self.in_flight.unfinished()
        self.in_flight.settle(abandoned, Disposition.EXPIRED)
        return abandoned

    def end_settling(self) -> None:
        """Let the settler and the heartbeat end when everything is settled.

        A receive still in flight is not waited for: if it returns messages while the process lives,
        they are released.
        """
        self._abandoned = True
        self.heartbeat.stop()
        self.settler.end()
        if isinstance(self.rate, SharedBucket):
            self.rate.stop(self.backpressure.asked)

    def settle_rest(self) -> int:
        """After the threads' end: expire messages left by a dead settler. Returns how many."""
        while not self._settling.is_alive():
            before = self.in_flight.count
            try:
                self.settler.run()
                break
            except Exception:  # noqa: BLE001 - it died of this before, and that was told
                log.debug("the settler of %s died again", self.queue.name)
            if self.in_flight.count == before:
                break
        return self.in_flight.settle(self.in_flight.finished(), Disposition.EXPIRED)

    def _give_back_waiting(self) -> None:
        """Accept nothing more, and release messages that wait for a handler."""
        self.in_flight.stats()  # takes its lock: everything accepted before has been entered by now
        for message in () if self._closing else self._drain():
            self.executor.put_back(message)
        self.settler.rouse()

    def _drain(self) -> list[InFlightMessage]:
        """Remove and return all messages that wait for a handler."""
        received = self.completing.drain() if self.completing is not None else []
        elsewhere = [*received, *self.isolation.drain()]
        self.ready_queue.sent_back(elsewhere)
        return [*self.ready_queue.drain(), *elsewhere]
