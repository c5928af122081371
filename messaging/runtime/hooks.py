"""Opens and closes consumers: their `open` and `close` may be async, and may hang."""

from __future__ import annotations

import inspect
import queue as queues
from collections.abc import Sequence

from messaging.clock import SYSTEM_CLOCK
from messaging.consumer import Consumer
from messaging.errors import ConsumerError
from messaging.logs import logger
from messaging.runtime.crew import Crew
from messaging.runtime.loop import LoopRoom
from messaging.tracebacks import causes_of, frames_of, package_of

__all__ = ["CLOSE_SECONDS", "close_all", "open_all"]

log = logger("messaging.runtime")

CLOSE_SECONDS = 2.0
"""Seconds that all consumers of a worker have together for their `close`."""


def open_all(consumers: Sequence[Consumer], crew: Crew, loop: LoopRoom) -> None:
    """Call `open` of each in turn. If one raises, those that are open are closed.

    Raises `ConsumerError`, which names the service, the exception's type and its place.
    """
    for number, consumer in enumerate(consumers):
        try:
            opening = consumer.open()
            if inspect.isawaitable(opening):
                loop.call(opening)
        except Exception as error:
            close_all(consumers[:number], crew, loop)
            raise ConsumerError(
                f"{consumer.service} cannot start: {type(consumer).__qualname__}.open() raised "
                f"{_told(consumer, error)}"
            ) from error


def close_all(consumers: Sequence[Consumer], crew: Crew, loop: LoopRoom) -> None:
    """Call `close` of each, all at once; returns when they have ended, or after `CLOSE_SECONDS`.

    What they raise is logged: the others are to be closed, too.
    """
    ended: queues.SimpleQueue[Consumer] = queues.SimpleQueue()
    for consumer in consumers:

        def work(one: Consumer = consumer) -> None:
            try:
                _close(one, loop)
            finally:
                ended.put(one)

        # In threads of their own: one that hangs is left behind with its thread.
        crew.start(f"{consumer.service}-close", work)
    open_still = list(consumers)
    until = SYSTEM_CLOCK.monotonic() + CLOSE_SECONDS
    while open_still:
        try:
            open_still.remove(ended.get(timeout=max(0.0, until - SYSTEM_CLOCK.monotonic())))
        except queues.Empty:
            for one in open_still:
                name = type(one).__qualname__
                log.error("%s.close() has not ended after %.0f s: left", name, CLOSE_SECONDS)
            return


def _close(consumer: Consumer, loop: LoopRoom) -> None:
    try:
        closing = consumer.close()
        if inspect.isawaitable(closing):
            loop.call(closing, CLOSE_SECONDS)
    except Exception as error:  # noqa: BLE001 - the others are to be closed, too
        name = type(consumer).__qualname__
        log.error("%s.close() raised %s", name, _told(consumer, error))


def _told(consumer: Consumer, error: BaseException) -> str:
    frames = frames_of(error, package_of(type(consumer)))
    place = f" at {frames[-1]}" if frames else ""
    return " from ".join(causes_of(error)) + place
