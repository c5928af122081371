"""One queue: its poller, its handlers, its settler and its leases, put together."""

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

        receiver     long-polls, and hands what came to `_received`
        in_flight    enters each receipt, once, and hands it on
        run_to_completion, or ready_queue and a thread of the executor
        executor     runs its handler through the dispatcher
        settler      gathers what handlers are done with, until it makes a batch
        settlement   deletes, releases or dead-letters the batch, and tells `in_flight`
        `_settled`   is told of those that left, and lets go on what waited for them

    Beside it the heartbeat renews the leases of what is in flight, and back-pressure says when
    the receiver may ask for more.

    Making it asks the queue for its visibility timeout: a queue that does not exist is found
    here, before a thread starts.

    inlet        a transport of its own to receive by: closing it wakes a receive that waits, where
                 that can be done, while `queue` can still settle.
    concurrency  handlers that run at once, sync and async together.
    prefetch     receipts that may wait beside those in a handler; None: see `BackPressure`.
    rates        where a rate that is shared is kept.
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
        """Whoever receives goes all the way, while handlers are quick; set once, at the start."""

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
            # Of two receives of a FIFO queue the second might be entered first.
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
        """A receive brought these; their leases count from `since`."""
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
        """`put` where suspects are about. False: it is to be given back."""
        suspect = self.isolation.suspects(message.delivery)
        if self.ready_queue.held_up(message):
            return False
        if self.isolation.blocks(message.delivery) or (suspect and self.ready_queue.busy(message)):
            # One of its group comes first, and may fail: then this one must come after it again.
            self.ready_queue.sent_back([message])
            self.isolation.comes_again(message.delivery)
            return False
        if suspect:
            self.isolation.hold(message)
            return True
        return put(message)

    def _isolate(self) -> None:
        """Let a suspect go, if nothing else is in hand."""
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
        """While a suspect waits nothing more is received, so no batch gets any fuller."""
        if self._batches is not None and self.isolation.active:
            self._batches.flush()

    def _settled(self, messages: Sequence[InFlightMessage], account: Disposition) -> None:
        """These have ended so, and are in flight no more: what they kept waiting may go on.

        Without any, a handler has ended whose message had been given up before.
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
        """True while a receive waits, or what it brought is being entered."""
        return self.backpressure.asked > 0

    def pause(self) -> None:
        """Receive nothing until `resume`, and give back what waits for a handler."""
        self.backpressure.pause()
        self._give_back_waiting()

    def resume(self) -> None:
        self.backpressure.resume()

    def close_intake(self) -> int:
        """Ask for no more, and give back what waits for a handler; returns how many those were."""
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
        """Close the transports. `close_intake` has closed the inlet, if the lane was started."""
        if self._inlet is not self.queue and not self._closing:
            self._inlet.close()
        self.queue.close()

    def running(self) -> int:
        """Handlers that have not ended."""
        return len(self.in_flight.unfinished())

    def watching(self) -> int:
        """Of those, the ones that have asked whether they are to end."""
        return sum(message.watched for message in self.in_flight.unfinished())

    def to_settle(self) -> int:
        """Receipts that the settler still has to settle."""
        return len(self.in_flight.finished()) if self._settling.is_alive() else 0

    def cancelling(self) -> None:
        """The time of handlers is over: async ones are cancelled, and what they had given back."""
        for message in self.in_flight.unfinished():
            self.executor.tell(message, STOPPING)

    def abandon_unfinished(self) -> list[InFlightMessage]:
        """Count receipts whose handler goes on as expired: nobody renews their leases any more."""
        abandoned = self.in_flight.unfinished()
        self.in_flight.settle(abandoned, Disposition.EXPIRED)
        return abandoned

    def end_settling(self) -> None:
        """Let settler and leases end when everything is settled.

        A receive that is still out is not waited for: what it brings while the process lives is
        given back.
        """
        self._abandoned = True
        self.heartbeat.stop()
        self.settler.end()
        if isinstance(self.rate, SharedBucket):
            self.rate.stop(self.backpressure.asked)

    def settle_rest(self) -> int:
        """After the threads' end: what a settler that died left. Returns how many have expired."""
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
        """Nothing is wanted any more: what waits for a handler is given back."""
        self.in_flight.stats()  # takes its lock: what was wanted before has been entered by now
        for message in () if self._closing else self._drain():
            self.executor.put_back(message)
        self.settler.rouse()

    def _drain(self) -> list[InFlightMessage]:
        """Take out all that wait for a handler."""
        received = self.completing.drain() if self.completing is not None else []
        elsewhere = [*received, *self.isolation.drain()]
        self.ready_queue.sent_back(elsewhere)
        return [*self.ready_queue.drain(), *elsewhere]
