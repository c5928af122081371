"""The event loop: the thread in which all async handlers of a worker run."""

from __future__ import annotations

import asyncio
import inspect
import math
import queue as queues
import sys
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, Protocol

from messaging.clock import SYSTEM_CLOCK
from messaging.outcome import Ack, Outcome

__all__ = ["Done", "EventLoop", "Runs", "caught"]

Done = Callable[[Outcome | BaseException], None]
"""Called in the loop's thread with a coroutine's result, or with its exception."""


LOOK = 0.02
"""Seconds between two checks in `call` whether its result is still wanted."""

GRACE = 0.2
"""Seconds that a coroutine cancelled in `call` has to end before the loop may be stopped."""

_AT_ONCE: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}
"""With an eager task, a handler that awaits nothing ends without another iteration of the loop."""


class Runs(Protocol):
    """Runs the coroutines of async handlers."""

    def submit(
        self, coroutine: Coroutine[Any, Any, Outcome], done: Done, *, wake: bool = True
    ) -> bool:
        """Run `coroutine`, then call `done`. Returns False if it will not run.

        wake  False: it may wait for `wake`.
        """
        ...

    def cancel_one(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        """Cancel this one, if it still runs; `done` gets `CancelledError`."""
        ...

    def wake(self) -> None:
        """Run the submitted coroutines."""
        ...


class EventLoop:
    """One asyncio event loop. `run` is the body of its thread; the other methods are
    thread-safe."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        # Our own executor, so that threads of `asyncio.to_thread` can be ended without waiting for
        # ever.
        self._helpers = ThreadPoolExecutor(thread_name_prefix="messaging-to-thread")
        self._loop.set_default_executor(self._helpers)
        self._tasks: dict[Coroutine[Any, Any, Outcome], tuple[asyncio.Task[None], Done]] = {}
        self._lock = threading.Lock()
        self._coming: list[tuple[Coroutine[Any, Any, Outcome], Done]] = []
        self._woken = False
        self._open = True
        self._cancelling = False
        # Each is written by one side only: by submitters, under the lock, or by the loop.
        self._submitted = self._ended = 0
        self._died_of: BaseException | None = None

    def run(self) -> None:
        try:
            self._loop.run_forever()
        finally:
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
            # If tasks are left, one of them ignored its cancellation: its threads are not waited
            # for.
            self._helpers.shutdown(wait=not self._tasks, cancel_futures=True)
        if self._died_of is not None:
            raise self._died_of

    def submit(
        self, coroutine: Coroutine[Any, Any, Outcome], done: Done, *, wake: bool = True
    ) -> bool:
        """Run `coroutine`, then call `done`. Returns False if the loop has been stopped.

        wake  False: it runs when the loop is woken, which the caller does with `wake` once it has
              submitted everything. Otherwise the two threads would alternate for each coroutine.
        """
        with self._lock:
            if self._open:
                self._submitted += 1
                self._coming.append((coroutine, done))
                if wake:
                    self._wake()
                return True
        coroutine.close()
        return False

    def call(
        self,
        awaitable: Awaitable[object],
        timeout: float | None = None,
        asked: Callable[[], bool] | None = None,
    ) -> None:
        """Await something in the loop's thread, and block the calling thread until it ends.

        Raises its exception, or `TimeoutError` if it has not ended after `timeout` seconds, if
        `asked` says that it is no longer wanted, or if the loop has been stopped; it is then
        cancelled.
        """

        async def awaited() -> Outcome:
            await awaitable
            return Ack()

        ended: queues.SimpleQueue[Outcome | BaseException] = queues.SimpleQueue()
        coroutine = awaited()
        if not self.submit(coroutine, ended.put):
            if inspect.iscoroutine(awaitable):
                awaitable.close()
            raise TimeoutError("the event loop has been stopped")
        until = math.inf if timeout is None else SYSTEM_CLOCK.monotonic() + timeout
        while True:
            left = until - SYSTEM_CLOCK.monotonic()
            try:
                result = ended.get(timeout=max(0.0, min(left, LOOK)))
                break
            except queues.Empty:
                if left <= 0 or (asked is not None and asked()):
                    self.cancel_one(coroutine)
                    with suppress(queues.Empty):
                        ended.get(timeout=GRACE)
                    raise TimeoutError from None
        if not isinstance(result, Outcome):
            raise result

    def wake(self) -> None:
        """Start the submitted coroutines."""
        with self._lock:
            if self._open:
                self._wake()

    def _wake(self) -> None:
        if self._coming and not self._woken:  # otherwise it has not checked yet
            self._woken = True
            self._loop.call_soon_threadsafe(self._begin_all)

    @property
    def idle(self) -> bool:
        """True when every coroutine has ended and `done` has been called for it."""
        return self._submitted == self._ended

    def cancel_one(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        """Cancel this one, if it still runs; `done` gets `CancelledError`."""
        with self._lock:
            if self._open:
                self._wake()  # it may not have started
                self._loop.call_soon_threadsafe(self._cancel, coroutine)

    def cancel(self) -> None:
        """Cancel running and future coroutines; `done` gets `CancelledError` for each."""
        with self._lock:
            self._cancelling = True
            if self._open:
                self._wake()
                self._loop.call_soon_threadsafe(self._cancel_all)

    def stop(self) -> None:
        """End the thread, abandoning what still runs. May be called again."""
        with self._lock:
            if self._open:
                self._wake()
                self._open = False
                self._loop.call_soon_threadsafe(self._loop.stop)

    def _begin_all(self) -> None:
        with self._lock:
            coming, self._coming = self._coming, []
            self._woken = False
        for coroutine, done in coming:
            self._begin(coroutine, done)

    def _begin(self, coroutine: Coroutine[Any, Any, Outcome], done: Done) -> None:
        if self._cancelling:
            self._end(coroutine, done, asyncio.CancelledError())
            return
        task = asyncio.Task(self._live(coroutine, done), loop=self._loop, **_AT_ONCE)
        if not task.done():
            self._tasks[coroutine] = task, done

    async def _live(self, coroutine: Coroutine[Any, Any, Outcome], done: Done) -> None:
        # `done` is called from here: a callback of the task would need another iteration of the
        # loop. `GeneratorExit`, thrown in when this coroutine is discarded unfinished, is not an
        # end.
        self._end(coroutine, done, await caught(coroutine))

    def _end(
        self, coroutine: Coroutine[Any, Any, Outcome], done: Done, result: Outcome | BaseException
    ) -> None:
        self._tasks.pop(coroutine, None)
        coroutine.close()  # if it was cancelled before its first step
        try:
            done(result)
        except BaseException as error:  # noqa: BLE001 - raised by `run`; asyncio would only log it
            self._died_of = error
            self._loop.stop()
        self._ended += 1

    def _cancel_all(self) -> None:
        for coroutine in tuple(self._tasks):
            self._cancel(coroutine)

    def _cancel(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        if coroutine in self._tasks:
            task, _ = self._tasks[coroutine]
            task.add_done_callback(lambda _: self._never_began(coroutine))
            task.cancel()

    def _never_began(self, coroutine: Coroutine[Any, Any, Outcome]) -> None:
        """Report a task that was cancelled before its first step."""
        if coroutine in self._tasks:
            _, done = self._tasks[coroutine]
            self._end(coroutine, done, asyncio.CancelledError())


async def caught(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome | BaseException:
    """Return the coroutine's result, or its exception."""
    # A task that ends in SystemExit or KeyboardInterrupt would end the whole loop.
    try:
        return await coroutine
    except BaseException as error:  # noqa: BLE001 - handed to `done`
        return error
