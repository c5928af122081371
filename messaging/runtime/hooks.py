"""Opens and closes consumers, whose `open` and `close` may be async, and may hang."""

from __future__ import annotations

import inspect
import queue as queues
from collections.abc import Callable, Sequence
from functools import partial

from messaging.clock import SYSTEM_CLOCK
from messaging.consuming.consumer import Consumer
from messaging.errors import ConsumerError
from messaging.logs import logger
from messaging.runtime.event_loop import EventLoop
from messaging.runtime.threads import Threads
from messaging.tracebacks import package_of, summary

__all__ = ["CLOSE_SECONDS", "close_all", "close_unstarted", "open_all"]

log = logger("messaging.runtime")

CLOSE_SECONDS = 2.0
"""Seconds that all consumers of a worker have in total for their `close`."""
CANCEL_SECONDS = 1.0
"""Seconds within which an `open` must end if the worker is asked to stop meanwhile."""
LOOK = 0.02
"""Seconds between two checks for a stop request while an `open` runs."""


def open_all(
    consumers: Sequence[Consumer], threads: Threads, loop: EventLoop, asked: Callable[[], bool]
) -> list[Consumer]:
    """Call `open` of each in turn, and return those that are open and must be closed later.

    A consumer without its own `open` counts as open. When `asked` reports a stop request, an async
    `open` is cancelled, and the following ones are not called.

    Raises `ConsumerError`, which names the service, the exception's type and its location, if one
    raises; consumers already open are closed first.
    """
    opened = [one for one in consumers if not _opens(one)]
    for consumer in filter(_opens, consumers):
        if asked():
            break
        ended: queues.SimpleQueue[BaseException | None] = queues.SimpleQueue()
        # In a thread of its own: an `open` that hangs must not block signals.
        threads.start(
            f"{consumer.service}-open", partial(_told, consumer.open, loop, None, asked, ended.put)
        )
        try:
            error = _wait(ended, asked)
        except queues.Empty:
            log.error("%s.open() has not ended: left", type(consumer).__qualname__)
            break
        if error is None:
            opened.append(consumer)
        elif asked():
            said = summary(error, package_of(type(consumer)))
            log.warning("%s.open() was left: %s", type(consumer).__qualname__, said)
        else:
            close_all(opened, threads, loop)
            raise ConsumerError(
                f"{consumer.service} cannot start: {type(consumer).__qualname__}.open() raised "
                f"{summary(error, package_of(type(consumer)))}"
            ) from error
    return opened


def close_all(consumers: Sequence[Consumer], threads: Threads, loop: EventLoop) -> bool:
    """Call `close` of all at the same time; False if one has not ended after `CLOSE_SECONDS`.

    Exceptions are logged, so that the others are closed too.
    """
    ended: queues.SimpleQueue[tuple[Consumer, BaseException | None]] = queues.SimpleQueue()
    for consumer in consumers:

        def tell(error: BaseException | None, one: Consumer = consumer) -> None:
            ended.put((one, error))

        # In threads of their own: one that hangs is abandoned with its thread. An async one is
        # cancelled a little earlier, so that it can end.
        threads.start(
            f"{consumer.service}-close",
            partial(_told, consumer.close, loop, CLOSE_SECONDS * 0.9, None, tell),
        )
    open_still = list(consumers)
    until = SYSTEM_CLOCK.monotonic() + CLOSE_SECONDS
    while open_still:
        try:
            one, error = ended.get(timeout=max(0.0, until - SYSTEM_CLOCK.monotonic()))
        except queues.Empty:
            for one in open_still:
                name = type(one).__qualname__
                log.error("%s.close() has not ended after %.0f s: left", name, CLOSE_SECONDS)
            return False
        open_still.remove(one)
        if error is not None:
            kind = type(one)
            log.error("%s.close() raised %s", kind.__qualname__, summary(error, package_of(kind)))
    return True


def close_unstarted(consumers: Sequence[Consumer]) -> None:
    """Close the consumers of a worker that could not start, if they have no `open` of their own."""
    loop, threads = EventLoop(), Threads(lambda error: None)
    threads.start("loop", loop.run)
    try:
        close_all([one for one in consumers if not _opens(one)], threads, loop)
    finally:
        loop.stop()
        threads.join(CANCEL_SECONDS)


def _opens(consumer: Consumer) -> bool:
    return getattr(consumer.open, "__func__", None) is not Consumer.open


def _told(
    hook: Callable[[], object],
    loop: EventLoop,
    timeout: float | None,
    asked: Callable[[], bool] | None,
    tell: Callable[[BaseException | None], None],
) -> None:
    """Call `hook`, await its result on the loop, and `tell` the exception, or None."""
    try:
        returned = hook()
        if inspect.isawaitable(returned):
            loop.call(returned, timeout, asked)
    except BaseException as error:  # noqa: BLE001 - told to whoever waits for the hook
        tell(error)
    else:
        tell(None)


def _wait(
    ended: queues.SimpleQueue[BaseException | None], asked: Callable[[], bool]
) -> BaseException | None:
    """Return how it ended. Raises `queue.Empty` if the worker was asked to stop and it did not
    end."""
    while not asked():
        try:
            return ended.get(timeout=LOOK)
        except queues.Empty:
            continue
    return ended.get(timeout=CANCEL_SECONDS)
