"""The executor of a consumer that takes batches: one handler call, an outcome for each message."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

from messaging.consuming.batch_dispatch import BatchRun, acknowledged
from messaging.consuming.dispatch import Dispatcher
from messaging.outcome import Outcome
from messaging.runtime.event_loop import Runs
from messaging.runtime.executor import Executor, Put, timeout_of
from messaging.runtime.gathering import BatchReadyQueue
from messaging.runtime.in_flight import LOST, InFlight, InFlightMessage, give_back
from messaging.runtime.ready_queue import ReadyQueue
from messaging.runtime.settler import Settler
from messaging.settlement import Groups, is_ordered

__all__ = ["BatchExecutor", "executor_for"]


class BatchExecutor(Executor):
    """Runs single messages as `Executor` does, and batches in one call each."""

    def __init__(
        self,
        dispatcher: Dispatcher,
        ready_queue: ReadyQueue,
        settler: Settler,
        *,
        in_flight: InFlight,
        **parts: Any,
    ) -> None:
        super().__init__(dispatcher, ready_queue, settler, **parts)
        self._in_flight = in_flight

    def step(self, message: InFlightMessage, loop: Runs, put: Put) -> bool:
        line = self._ready_queue
        batch = line.batch(message) if isinstance(line, BatchReadyQueue) else None
        if batch is None:
            return super().step(message, loop, put)
        fit = self._fit(batch)
        if not fit:
            return False
        began = self._now()
        for one in fit:
            one.started = began
        self._in_flight.companions.update(fit[1:])
        self._backpressure.look_again()  # they count as one now: the next batch may come
        run = self._dispatch.batch([one.delivery for one in fit])
        try:
            coroutine = run.start()
        except BaseException as error:  # noqa: BLE001 - a handler may raise whatever there is
            self._batch_ended(fit, run, error)
            return False
        if coroutine is None:
            self._batch_ended(fit, run, None)
            return False
        counted = acknowledged(coroutine)
        for one in fit:
            one.cancel = partial(self._cancel, fit, one, partial(loop.cancel_one, counted))
        loop.submit(counted, partial(self._batch_coroutine_ended, fit, run))
        return True

    def _fit(self, batch: Sequence[InFlightMessage]) -> list[InFlightMessage]:
        """The messages that are still to be handled."""
        fit, groups = [], Groups()
        ordered = is_ordered(batch[0].delivery.queue)
        for one in batch:
            outcome: Outcome | None = None
            if one.lost or one.told or (ordered and groups.stopped(one.delivery)):
                outcome = give_back()
            elif not self._handled_cache.empty:
                outcome = self._handled_cache.recall(one)
            if outcome is None:
                fit.append(one)
                continue
            groups.ended(one.delivery, outcome)
            self._ended(one, outcome, self._settler.put)
        return fit

    def _cancel(
        self, batch: Sequence[InFlightMessage], message: InFlightMessage, cancel: partial[None]
    ) -> None:
        """One message's handler should end. A single lost lease is no reason to end the whole
        batch."""
        if message.told != LOST or all(one.told or one.lost for one in batch):
            cancel()

    def _batch_coroutine_ended(
        self, batch: Sequence[InFlightMessage], run: BatchRun, result: Outcome | BaseException
    ) -> None:
        self._batch_ended(batch, run, None if isinstance(result, Outcome) else result)
        self._ready_queue.free()

    def _batch_ended(
        self, batch: Sequence[InFlightMessage], run: BatchRun, error: BaseException | None
    ) -> None:
        if batch[0].started is not None:
            spent = self._now() - batch[0].started
            for one in batch:
                one.spent = spent
            # The time per message, because `took` decides how many messages may wait.
            self._backpressure.took(spent / len(batch))
        self._in_flight.companions.difference_update(batch)
        cancelled = isinstance(error, asyncio.CancelledError) and any(one.told for one in batch)
        groups, ordered = Groups(), is_ordered(batch[0].delivery.queue)
        for one, decided in zip(batch, run.outcomes, strict=True):
            if ordered and groups.stopped(one.delivery):
                outcome: Outcome = give_back()
            elif decided is not None:
                outcome = decided
            elif error is None or cancelled:
                outcome = self._policy(one, timeout_of(one)) if one.ending else give_back()
            else:
                outcome = self._unexpected(one, error)
            # A message that was given up or whose lease was lost is redelivered, whatever its
            # outcome.
            groups.ended(one.delivery, give_back() if one.lost else outcome)
            self._settle(one, outcome, self._settler.put)


def executor_for(
    dispatcher: Dispatcher,
    ready_queue: ReadyQueue,
    settler: Settler,
    in_flight: InFlight,
    **parts: Any,
) -> Executor:
    """The executor of a pipeline with this ready queue."""
    if isinstance(ready_queue, BatchReadyQueue):
        return BatchExecutor(dispatcher, ready_queue, settler, in_flight=in_flight, **parts)
    return Executor(dispatcher, ready_queue, settler, **parts)
