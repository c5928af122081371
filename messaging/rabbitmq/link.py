"""One connection to RabbitMQ, run by its own thread.

The client's connections belong to one thread. Other threads submit a function, which runs in that
thread.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from pika.adapters.select_connection import IOLoop

from messaging.errors import TransportError
from messaging.logs import logger
from messaging.rabbitmq.errors import translated
from messaging.rabbitmq.frames import QuickConnection
from messaging.rabbitmq.urls import place, read_urls
from messaging.settings import Settings

__all__ = ["ANSWER_SECONDS", "Link", "Timers"]

log = logger("messaging.rabbitmq.link")

ANSWER_SECONDS = 30.0
"""Seconds that a response may take if the caller has no deadline."""
GOODBYE_SECONDS, BLOCKED_SECONDS = 5.0, 0.5
"""Seconds to wait for the broker's close response; one that is short of memory reads nothing."""


class Link:
    """One connection, opened when it is first needed, and again after it was lost.

    settings  `broker_url` names the nodes of a cluster: the first that answers is taken.

    Nothing is retried here: a caller whose request fails has its own backoff, and its next request
    opens the connection. After a fork, the child opens its own.
    """

    def __init__(self, settings: Settings) -> None:
        self._parameters = read_urls(settings.broker_url or "")
        self.where = ", ".join(map(place, self._parameters))
        """The nodes for people, without passwords."""
        self._lock = threading.Lock()
        self._fresh()
        # The client logs a traceback for each attempt; callers get an exception instead.
        logging.getLogger("pika").setLevel(logging.CRITICAL)

    def _fresh(self) -> None:
        self._pid = os.getpid()
        self._loop: Any = None
        self._thread: threading.Thread | None = None
        self.connection: Any = None
        self._connecting = False
        self._wanted: list[tuple[Callable[[Any], None], Callable[[Exception], None]]] = []
        self.blocked = False
        self._when_unblocked: list[Callable[[], None]] = []
        self._closed = False

    def post(self, work: Callable[[], None]) -> None:
        """Schedule `work` to run in the connection's thread."""
        with self._lock:
            died = self._thread is not None and not self._thread.is_alive()
            if self._pid != os.getpid() or died:
                self._fresh()
            if self._thread is None:
                if self._closed:
                    raise TransportError(
                        f"the connection to {self.where} was closed", code="Closed", retryable=False
                    )
                self._loop = IOLoop()
                self._thread = threading.Thread(
                    target=self._loop.start, name="messaging-rabbitmq", daemon=True
                )
                self._thread.start()
        self._loop.add_callback_threadsafe(work)

    def connected(
        self, then: Callable[[Any], None], otherwise: Callable[[Exception], None]
    ) -> None:
        """In the connection's thread: call `then` with the open connection, or `otherwise`."""
        if self.connection is not None and self.connection.is_open:
            then(self.connection)
            return
        self._wanted.append((then, otherwise))
        if not self._connecting:
            self._connecting = True
            QuickConnection.create_connection(self._parameters, self._done, self._loop)

    def unblocked(self, work: Callable[[], None]) -> None:
        """In the connection's thread: run `work` once, when the broker accepts messages again."""
        if work not in self._when_unblocked:
            self._when_unblocked.append(work)

    def later(self, seconds: float, work: Callable[[], None]) -> object:
        """In the connection's thread: run `work` there after `seconds`; `forget` cancels it."""
        return self._loop.call_later(seconds, work)

    def forget(self, timer: object) -> None:
        """In the connection's thread: cancel the timer that `later` returned."""
        self._loop.remove_timeout(timer)

    def close(self) -> None:
        """Close the connection, and end its thread."""
        with self._lock:
            self._closed = True
            thread, self._thread = self._thread, None
            if thread is None or self._pid != os.getpid():
                return
        self._loop.add_callback_threadsafe(self._end)
        thread.join(ANSWER_SECONDS)
        if not thread.is_alive():
            self._loop.close()

    def _end(self) -> None:
        if self.connection is not None and self.connection.is_open:
            self.connection.close()
            seconds = BLOCKED_SECONDS if self.blocked else GOODBYE_SECONDS
            self._loop.call_later(seconds, self.connection._adapter_disconnect_stream)
        else:
            self._loop.stop()

    def _done(self, result: Any) -> None:
        self._connecting = False
        wanted, self._wanted = self._wanted, []
        if isinstance(result, BaseException):
            error = translated(result, f"connect to {self.where}")
            if isinstance(error, TransportError):
                error.unknown = False  # nothing was sent
            for _, otherwise in wanted:
                otherwise(error)
            return
        self.connection = result
        self.blocked = False
        log.info("connected to RabbitMQ at %s", place(result.params))
        result.add_on_close_callback(self._lost)
        result.add_on_connection_blocked_callback(lambda *_: self._set_blocked(True))
        result.add_on_connection_unblocked_callback(lambda *_: self._set_blocked(False))
        for then, _ in wanted:
            then(result)

    def _set_blocked(self, blocked: bool) -> None:
        self.blocked = blocked
        state = "takes no messages: it is short of memory or disk" if blocked else "goes on"
        log.warning("RabbitMQ at %s %s", self.where, state)
        if not blocked:
            waiting, self._when_unblocked = self._when_unblocked, []
            for work in waiting:
                work()

    def _lost(self, connection: Any, reason: Exception) -> None:
        self.connection = None
        if self._closed:
            self._loop.stop()
        else:
            where, why = place(connection.params), type(reason).__name__
            log.warning("the connection to RabbitMQ at %s is lost: %s", where, why)


class Timers:
    """Timers by name. In the link's thread; any thread may ask whether one runs."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._running: dict[object, object] = {}

    def __contains__(self, name: object) -> bool:
        return name in self._running

    def start(self, name: object, seconds: float, work: Callable[[], None]) -> None:
        """Run `work` once after `seconds`, and not what was to run by this name."""

        def run() -> None:
            del self._running[name]
            work()

        self.stop(name)
        self._running[name] = self._link.later(seconds, run)

    def stop(self, name: object) -> None:
        """This one, if it has not run, does not run."""
        found = self._running.pop(name, None)
        if found is not None:
            self._link.forget(found)

    def stop_all(self) -> None:
        """None of them runs."""
        for name in list(self._running):
            self.stop(name)
