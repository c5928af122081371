"""Opens and closes consumers: their `open` and `close` may be async, and may hang."""

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
"""Seconds that all consumers of a worker have together for their `close`."""
CANCEL_SECONDS = 1.0
"""Seconds in which an `open` must have ended when the worker is asked to stop meanwhile."""
LOOK = 0.02
"""Seconds between two looks whether the worker is asked to stop, while an `open` runs."""


def open_all(
    consumers: Sequence[Consumer], threads: Threads, loop: EventLoop, asked: Callable[[], bool]
) -> list[Consumer]:
    """Call `open` of each in turn, and return those that are open and are to be closed.

    A consumer without an `open` of its own is open from the start. When `asked` says that the
    worker is to stop, an async `open` is cancelled, and those that follow are not called.

    Raises `ConsumerError`, which names the service, the exception's type and its place, if one
    raises; those that are open are closed before.
    """
    opened = [one for one in consumers if not _opens(one)]
    for consumer in filter(_opens, consumers):
        if asked():
            break
        ended: queues.SimpleQueue[BaseException | None] = queues.SimpleQueue()
        # In a thread of its own: one that hangs must not keep a signal from being heard.
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
    """Call `close` of each, all at once; False: one has not ended after `CLOSE_SECONDS`.

    What they raise is logged: the others are to be closed, too.
    """
    ended: queues.SimpleQueue[tuple[Consumer, BaseException | None]] = queues.SimpleQueue()
    for consumer in consumers:

        def tell(error: BaseException | None, one: Consumer = consumer) -> None:
            ended.put((one, error))

        # In threads of their own: one that hangs is left behind with its thread. One that is async
        # is cancelled a little earlier, so that it can end.
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
    """Close the consumers of a worker that could not start: those that did not wait for `open`."""
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
    """Call `hook`, await what it returns on the loop, and `tell` what was raised, or None."""
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
    """How it ended; `queue.Empty`: the worker is asked to stop, and it did not end for that."""
    while not asked():
        try:
            return ended.get(timeout=LOOK)
        except queues.Empty:
            continue
    return ended.get(timeout=CANCEL_SECONDS)
