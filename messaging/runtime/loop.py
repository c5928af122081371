"""The room of the event loop: one thread in which every async handler of a worker runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Protocol

from messaging.outcome import Outcome

__all__ = ["Done", "LoopRoom", "Runs", "caught"]

Done = Callable[[Outcome | BaseException], None]
"""Called in the loop's thread with a coroutine's outcome, or with what it raised."""


class Runs(Protocol):
    """Whatever runs the coroutines of async handlers."""

    def submit(self, coroutine: Coroutine[Any, Any, Outcome], done: Done) -> bool:
        """Run `coroutine`, then call `done`. False: it will not run."""
        ...

    def cancel_one(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        """Cancel this one, if it still runs; `done` hears of it as `CancelledError`."""
        ...


class LoopRoom:
    """One asyncio event loop. `run` is the body of its thread; the rest may be called from any."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Our own, so that threads of `asyncio.to_thread` can be ended without waiting for ever.
        self._helpers = ThreadPoolExecutor(thread_name_prefix="messaging-to-thread")
        self._loop.set_default_executor(self._helpers)
        self._tasks: dict[Coroutine[Any, Any, Outcome], asyncio.Task[Outcome | BaseException]] = {}
        self._lock = threading.Lock()
        self._coming: list[tuple[Coroutine[Any, Any, Outcome], Done]] = []
        self._open = True
        self._cancelling = False
        self._under_way = 0
        self._died_of: BaseException | None = None

    def run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            # With tasks left, one of them ignored its cancelling: nobody waits for its threads.
            self._helpers.shutdown(wait=not self._tasks, cancel_futures=True)
        if self._died_of is not None:
            raise self._died_of

    def submit(self, coroutine: Coroutine[Any, Any, Outcome], done: Done) -> bool:
        """Run `coroutine`, then call `done`. False: the loop has been stopped, it will not run."""
        with self._lock:
            if self._open:
                self._under_way += 1
                self._coming.append((coroutine, done))
                if len(self._coming) == 1:  # else it has been woken, and has not looked yet
                    self._loop.call_soon_threadsafe(self._begin_all)
                return True
        coroutine.close()
        return False

    @property
    def idle(self) -> bool:
        """True when every coroutine has ended, and `done` has heard of it."""
        return self._under_way == 0

    def cancel_one(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        """Cancel this one, if it still runs; `done` hears of it as `CancelledError`."""
        with self._lock:
            if self._open:
                self._loop.call_soon_threadsafe(self._cancel, coroutine)

    def cancel(self) -> None:
        """Cancel what runs and what still comes; `done` hears of each as `CancelledError`."""
        with self._lock:
            self._cancelling = True
            if self._open:
                self._loop.call_soon_threadsafe(self._cancel_all)

    def stop(self) -> None:
        """End the thread. What still runs is abandoned. May be called again."""
        with self._lock:
            if self._open:
                self._open = False
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _begin_all(self) -> None:
        with self._lock:
            coming, self._coming = self._coming, []
        for coroutine, done in coming:
            self._begin(coroutine, done)

    def _begin(self, coroutine: Coroutine[Any, Any, Outcome], done: Done) -> None:
        task = self._loop.create_task(caught(coroutine))
        self._tasks[coroutine] = task
        task.add_done_callback(partial(self._end, coroutine, done))
        if self._cancelling:
            task.cancel()

    def _end(
        self,
        coroutine: Coroutine[Any, Any, Outcome],
        done: Done,
        task: asyncio.Task[Outcome | BaseException],
    ) -> None:
        self._tasks.pop(coroutine, None)
        coroutine.close()  # if it was cancelled before its first step
        try:
            done(asyncio.CancelledError() if task.cancelled() else task.result())
        except BaseException as error:  # noqa: BLE001 - raised by `run`; asyncio would only log it
            self._died_of = error
            self._loop.stop()
        with self._lock:
            self._under_way -= 1

    def _cancel_all(self) -> None:
        for task in self._tasks.values():
            task.cancel()

    def _cancel(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        if task := self._tasks.get(coroutine):
            task.cancel()


async def caught(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome | BaseException:
    """The outcome, or what was raised."""
    # A task that ends in SystemExit or KeyboardInterrupt would take the whole loop with it.
    try:
        return await coroutine
    except BaseException as error:  # noqa: BLE001 - handed to `done`
        return error
