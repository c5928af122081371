"""Runs one pipeline of a worker step by step, in one thread, with your own clock.

For a simulation that chooses what happens next. The steps are those of the threads (`Receiver`,
`Executor.step`, `Settler`, `Heartbeat`), without the waiting between them: for room, for work, or
for the end of a pause.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Self

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.consuming.dispatch import Dispatcher
from messaging.outcome import Outcome
from messaging.runtime.backpressure import State
from messaging.runtime.event_loop import Done, caught
from messaging.runtime.in_flight import Disposition, Stats
from messaging.runtime.pipeline import Pipeline
from messaging.runtime.run_to_completion import RunToCompletion
from messaging.transport import Broker

__all__ = ["Steps"]

_NOBODY = 0
"""The thread that takes all steps but `complete`."""
LOOKS = 2
"""After so many checks of the watchdog in one handler, its thread counts as blocked."""


class Steps:
    """One consumer's worker, step by step. No thread is started and nothing sleeps.

        steps = Steps.of(Dispatcher(consumer), broker, clock=clock)
        steps.poll()            # one receive, which does not wait
        steps.handle()          # one message through its handler, an async one to its end
        steps.complete()        # a receive whose messages run to completion, as with quick handlers
        steps.settle()          # one check of the settler: everything that is due
        steps.renew()           # one check of the leases

    To do something while a handler runs, call it from the handler: every step is possible there
    (except `handle` in an async handler). After `crash`, every step does nothing, so a handler that
    calls it dies there as with `kill -9`: its result is ignored.

    All times are from `clock`. Pauses are drawn from the module `random`: seed it to get the same
    run again. The pause after a failed receive is left to the caller.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._loop = _InlineLoop()
        self.crashed = False
        self._completing: RunToCompletion | None = None
        self._thread = _NOBODY
        self._threads = itertools.count(_NOBODY + 1)

    @classmethod
    def of(
        cls,
        dispatcher: Dispatcher,
        broker: Broker,
        *,
        concurrency: int = 10,
        prefetch: int = 10,
        clock: Clock = SYSTEM_CLOCK,
    ) -> Self:
        """Create the steps of a new pipeline. Raises `TransportError` if the queue does not
        answer."""
        service = dispatcher.consumer.service
        return cls(
            Pipeline(
                dispatcher,
                broker.queue(service),
                broker.queue(service),
                concurrency=concurrency,
                prefetch=prefetch,
                wait=0.0,
                clock=clock,
            )
        )

    @property
    def stats(self) -> Stats:
        return self._pipeline.stats

    @property
    def in_flight(self) -> tuple[str, ...]:
        """The ids of messages in flight: waiting, in a handler, or to be settled."""
        return tuple(
            message.delivery.message_id
            for message in (
                *self._pipeline.in_flight.unfinished(),
                *self._pipeline.in_flight.finished(),
            )
        )

    @property
    def waiting(self) -> int:
        """The number of messages that wait for a handler."""
        return len(self._pipeline.ready_queue)

    @property
    def state(self) -> State:
        return self._pipeline.state

    def poll(self, wait: float = 0.0) -> int | None:
        """Make one receive, if there is room: returns how many messages came; None if it failed, or
        there was no room.

        If the transport's `receive` raises, the step returns None, where the thread would pause.
        """
        with self._as_thread(_NOBODY):
            return self._receive(wait)

    def complete(self) -> int | None:
        """`poll`, then run its messages to completion, through handlers and settler.

        As in a worker whose handlers are quick. If another step is taken in a handler, that counts
        as a long time, and the remaining messages wait for other threads.
        """
        pipeline = self._pipeline
        if self._completing is None:
            self._completing = pipeline.completing = RunToCompletion(
                pipeline.executor,
                pipeline.ready_queue,
                pipeline.settler,
                self._loop,
                replace=lambda thread: None,
                more=pipeline.receiver.more,
                ident=lambda: self._thread,
            )
        with self._as_thread(next(self._threads)):
            pipeline.executor.quicken()
            brought = self._receive(0.0)
            self._completing.work(near=True)
            return brought

    def handle(self) -> bool:
        """Run the handler of the message that has waited longest; returns False if none waits."""
        with self._as_thread(_NOBODY):
            return self._handle()

    def _handle(self) -> bool:
        message = None if self.crashed else self._pipeline.ready_queue.get_nowait()
        if message is None:
            return False
        # The slot of an async one is free when it has ended.
        pipeline = self._pipeline
        if not pipeline.executor.step(message, self._loop, pipeline.settler.put):
            pipeline.ready_queue.free()
        return True

    def settle(self) -> int:
        """Settle finished messages, and retry refused settlements whose pause is over."""
        with self._as_thread(_NOBODY):
            return 0 if self.crashed else self._pipeline.settler.step(aged=True)

    def renew(self) -> None:
        """Check the leases once."""
        with self._as_thread(_NOBODY):
            if not self.crashed:
                self._pipeline.heartbeat.step()

    def close_intake(self) -> int:
        """Stop, as on SIGTERM: stop receiving, and release waiting messages; returns how many.

        Then `settle` until `in_flight` is empty, and `expire_rest` if that takes too long.
        """
        with self._as_thread(_NOBODY):
            return 0 if self.crashed else self._pipeline.close_intake()

    def expire_rest(self) -> int:
        """The end of a stop: messages still in flight are left to their leases, and counted as
        expired."""
        if self.crashed:
            return 0
        in_flight = self._pipeline.in_flight
        return in_flight.settle(
            [*in_flight.unfinished(), *in_flight.finished()], Disposition.EXPIRED
        )

    def crash(self) -> None:
        """Crash, as with `kill -9`: all messages in flight are forgotten, without a request to the
        queue."""
        self.crashed = True
        if self._completing is not None:
            self._completing.drain()

    def _receive(self, wait: float) -> int | None:
        free = 0 if self.crashed else self._pipeline.backpressure.take(1)
        return self._pipeline.receiver.step(free, wait) if free else None

    @contextmanager
    def _as_thread(self, thread: int) -> Iterator[None]:
        """Everything inside runs in this thread. Threads in a handler count as blocked."""
        if self._completing is not None:
            for _ in range(LOOKS):
                self._completing.look()
        before, self._thread = self._thread, thread
        try:
            yield
        finally:
            self._thread = before


class _InlineLoop:
    """Runs a coroutine to its end immediately, in the submitting thread."""

    def __init__(self) -> None:
        self._running: dict[Coroutine[Any, Any, Outcome], asyncio.Task[Any]] = {}

    def submit(
        self, coroutine: Coroutine[Any, Any, Outcome], done: Done, *, wake: bool = True
    ) -> bool:
        ended: list[Outcome | BaseException] = []

        async def run() -> None:
            task = asyncio.current_task()
            if task is not None:
                self._running[coroutine] = task
            ended.append(await caught(coroutine))

        try:
            # If cancelled within its last step, the task counts as cancelled, but the coroutine has
            # ended.
            with asyncio.Runner() as runner, suppress(asyncio.CancelledError):
                runner.run(run())
        finally:
            self._running.pop(coroutine, None)
        done(ended[0] if ended else asyncio.CancelledError())
        return True

    def wake(self) -> None:
        """Nothing waits."""

    def cancel_one(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        if task := self._running.get(coroutine):
            task.cancel()
