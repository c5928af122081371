"""The executor: threads that take ready messages, run their handlers, and pass on the outcomes."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Protocol

from messaging.clock import Clock
from messaging.consuming.dispatch import Dispatcher
from messaging.errors import HandlerTimeout
from messaging.logs import logger
from messaging.outcome import Ack, Discard, Outcome, Retry, RetryPolicy
from messaging.runtime.backpressure import SLOWLY, BackPressure
from messaging.runtime.breaker import Breaker
from messaging.runtime.event_loop import Runs
from messaging.runtime.handled import HandledCache
from messaging.runtime.in_flight import InFlightMessage, give_back
from messaging.runtime.ready_queue import ReadyQueue
from messaging.runtime.settler import Settler
from messaging.runtime.threads import Threads
from messaging.tracebacks import package_of, summary
from messaging.transport import Delivery

__all__ = ["Executor", "Put", "timeout_of"]

log = logger("messaging.runtime")

MOST_THREADS_FOR_ASYNC = 32
"""Number of threads for a service whose handlers are all async: they only decode and pass on."""
QUICK, SLOW = 0.000_25, 0.01
"""Average seconds for which a quick message occupies its thread: decoding, and a sync handler."""
BRIEF = 0.001
"""Average seconds that a brief handler takes from start to end."""
BROKEN_POLICY_DELAY = 60.0
"""Seconds after which a message is retried if its retry policy raised instead of deciding."""


Put = Callable[[InFlightMessage], None]
"""Takes a message that has its outcome."""


class Chunk(Protocol):
    """What one thread has received and handles itself."""

    rest: deque[InFlightMessage]
    busy: object
    """The one whose handler runs."""


class Executor:
    """Runs the handlers of one consumer, `concurrency` at a time, sync and async together.

    Threads are started as work arrives: each thread that takes a message makes sure that another
    one waits for the next. If all handlers are async, there are only a few threads.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        ready_queue: ReadyQueue,
        settler: Settler,
        *,
        handled_cache: HandledCache,
        breaker: Breaker,
        backpressure: BackPressure,
        concurrency: int,
        clock: Clock,
    ) -> None:
        self._dispatch = dispatcher
        self._consumer = dispatcher.consumer
        self._ready_queue = ready_queue
        self._settler = settler
        self._handled_cache = handled_cache
        self._breaker = breaker
        self._backpressure = backpressure
        self._concurrency = concurrency
        all_async = all(one.is_async for one in dispatcher.consumer.handlers.values())
        self._most = min(concurrency, MOST_THREADS_FOR_ASYNC) if all_async else concurrency
        self._now = clock.monotonic
        self._lock = threading.Lock()
        self._threads = 0
        self._idle = 0
        self._enough = False
        self._pace = SLOW
        self.quick = False
        """True if messages have recently occupied their threads for less than `QUICK` seconds on
        average."""

    def start(self, threads: Threads, loop: Runs) -> None:
        """Start the first thread."""
        self._follow(threads, loop)

    def end(self) -> None:
        """End waiting threads now, and those in a handler after it."""
        self._enough = True
        self._ready_queue.wake(self._concurrency)

    @property
    def brief(self) -> bool:
        """True if handlers, including async ones, have recently ended within `BRIEF` on average."""
        return (self._backpressure.mean or SLOW) < BRIEF

    def quicken(self) -> None:
        """Assume that handlers are quick until one is not: for a simulation, where no time
        passes."""
        self._pace, self.quick = 0.0, True

    def slow_down(self) -> None:
        """Note that a message has occupied its thread for long, and has not ended."""
        self._pace, self.quick = max(self._pace, SLOW), False

    def handle(self, chunk: Chunk, loop: Runs, put: Put) -> int:
        """Run the handlers of `chunk` one after the other, in one slot, while they are quick.

        Returns how many are async, and go on in `loop`. What is left in `chunk` is for others.
        """
        began, slot = 0, False
        ready_queue, rest = self._ready_queue, chunk.rest
        while rest:
            try:
                message = rest.popleft()
            except IndexError:  # the watch has just handed it over
                break
            if not slot:
                slot = ready_queue.take_slot()
            if not slot:
                ready_queue.put(message, has_turn=True)
                break
            chunk.busy = message
            if self.step(message, loop, put):
                slot = False  # it goes along with the coroutine
                began += 1
            if not self.quick:
                break
        if slot:
            ready_queue.free()
        return began

    def step(self, message: InFlightMessage, loop: Runs, put: Put) -> bool:
        """Run the handler of one receipt, and hand it to `put` when that has ended.

        True: it is async, and goes on in `loop`.
        """
        if message.lost or message.told:
            self._ended(message, give_back(), put)
            return False
        if not self._handled_cache.empty:
            known = self._handled_cache.recall(message)
            if known is not None:
                self._ended(message, known, put)
                return False
        message.started = began = self._now()
        try:
            outcome = self._dispatch(message.delivery)
        except BaseException as error:  # noqa: BLE001 - a handler may raise whatever there is
            outcome = self._unexpected(message, error)
        goes_on = False
        if type(outcome) is Ack and self._breaker.calm:  # as nearly always
            message.spent = spent = self._now() - began
            # Like `took`, without the call: nearly every message comes through here.
            backpressure = self._backpressure
            mean = backpressure.mean
            backpressure.mean = spent if mean is None else mean + SLOWLY * (spent - mean)
            message.outcome = outcome
            put(message)
        else:
            if isinstance(outcome, Outcome):
                self._ended(message, outcome, put)
            else:
                goes_on = True
                message.cancel = partial(loop.cancel_one, outcome)
                loop.submit(outcome, partial(self._coroutine_ended, message))
            spent = self._now() - began
        # Not how long the handler takes, which `took` gets, but for how long it occupies its
        # thread: an async one returns it at once.
        self._pace = pace = self._pace + SLOWLY * (spent - self._pace)
        self.quick = pace < QUICK
        return goes_on

    def tell(self, message: InFlightMessage, reason: str) -> None:
        """Tell its handler to end; an async one is cancelled.

        In a FIFO queue, the messages behind it are released.
        """
        message.tell(reason)
        cancel = message.cancel
        if cancel is not None:
            cancel()
        for one in self._ready_queue.failed(message):
            self.put_back(one)

    def put_back(self, message: InFlightMessage) -> None:
        """Release the message without handling it."""
        message.outcome = give_back()
        self._settler.put(message)

    def gave_up(self, message: InFlightMessage) -> None:
        """Record that its handler exceeded a limit and was given up, which counts as a failure."""
        self._judge(message, self._policy(message, timeout_of(message)))

    def _run(self, threads: Threads, loop: Runs) -> None:
        """The body of a thread: handle a message, then those that follow it."""
        ready_queue, put = self._ready_queue, self._settler.put
        while (message := ready_queue.get()) is not None:
            with self._lock:
                self._idle -= 1
                alone = not self._idle and self._threads < self._most
            if alone:
                self._follow(threads, loop)
            while message is not None:
                # A coroutine keeps its slot, which is free again when it has ended.
                message = None if self.step(message, loop, put) else ready_queue.next()
            with self._lock:
                self._idle += 1

    def _follow(self, threads: Threads, loop: Runs) -> None:
        with self._lock:
            if self._idle or self._enough or self._threads >= self._most:
                return
            self._idle += 1
            self._threads += 1
            name = f"{self._consumer.service}-handler-{self._threads}"
        try:
            threads.start(name, partial(self._run, threads, loop))
        except RuntimeError:  # the system has no more threads: continue with those we have
            if self._threads == 1:
                raise
            self._enough = True
            with self._lock:
                self._idle -= 1
                self._threads -= 1
            log.error("%s: no more than %d threads can be started", name, self._threads)

    def _coroutine_ended(self, message: InFlightMessage, result: Outcome | BaseException) -> None:
        if isinstance(result, Outcome):
            outcome = result
        elif not isinstance(result, asyncio.CancelledError) or not message.told:
            outcome = self._unexpected(message, result)
        elif message.ending:
            outcome = self._policy(message, timeout_of(message))
        else:
            outcome = give_back()
        self._ended(message, outcome, self._settler.put)
        self._ready_queue.free()

    def _ended(self, message: InFlightMessage, outcome: Outcome, put: Put) -> None:
        if message.started is not None:
            message.spent = spent = self._now() - message.started
            self._backpressure.took(spent)
        self._settle(message, outcome, put)

    def _settle(self, message: InFlightMessage, outcome: Outcome, put: Put) -> None:
        if type(outcome) is Ack and self._breaker.calm:  # as nearly always
            message.outcome = outcome
            put(message)
            return
        if not (message.remembered or message.lost):
            outcome = self._judge(message, outcome)
        if isinstance(outcome, Discard) and not message.remembered:
            log.info(
                "%s discarded message %s: %s",
                self._consumer.service,
                message.delivery.message_id,
                outcome.reason,
            )
        behind = self._ready_queue.failed(message) if isinstance(outcome, Retry) else ()
        message.outcome = outcome
        put(message)
        for one in behind:
            one.outcome = give_back()
            put(one)

    def _judge(self, message: InFlightMessage, outcome: Outcome) -> Outcome:
        if self._breaker.judge(message.delivery, outcome):
            self._settler.call_back()
        return outcome

    def _unexpected(self, message: InFlightMessage, error: BaseException) -> Outcome:
        """The outcome of an error that the dispatcher lets through: KeyboardInterrupt,
        CancelledError, a bug."""
        log.warning(
            "%s raised %s on message %s, receive %d",
            self._consumer.service,
            summary(error, package_of(type(self._consumer))),
            message.delivery.message_id,
            message.delivery.receive_count,
        )
        return self._policy(message, error)

    def _policy(self, message: InFlightMessage, error: BaseException) -> Outcome:
        try:
            return self._dispatch.attempts.decide(error, message.delivery)
        except Exception as broken:  # noqa: BLE001 - a wait strategy is the user's code
            log.error(
                "the retry policy of %s raised %s: message %s is retried in %.0f s",
                self._consumer.service,
                type(broken).__qualname__,
                message.delivery.message_id,
                BROKEN_POLICY_DELAY,
            )
            outcome = Retry(BROKEN_POLICY_DELAY)
            outcome.origin = "error"
            return outcome


def timeout_of(message: InFlightMessage) -> HandlerTimeout:
    """The error of a handler that was ended by a time limit."""
    return HandlerTimeout(f"ended by its {message.ending}")


def pause_before(policy: RetryPolicy, delivery: Delivery) -> float:
    """Seconds until a failed message is retried; a minute if the policy itself fails."""
    try:
        return policy.delay(delivery.receive_count)
    except Exception:  # noqa: BLE001 - a wait strategy is the user's code
        return BROKEN_POLICY_DELAY
