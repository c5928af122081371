"""One connection to RabbitMQ, run by a thread of its own, and channels that are opened again.

The client's connections belong to one thread. Whoever wants something of a channel hands in a
function, which runs in that thread, and waits for a future.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as NotDone
from contextlib import suppress
from typing import Any, TypeAlias

import pika
from pika.adapters.select_connection import IOLoop
from pika.exceptions import ChannelClosedByBroker

from messaging.deadline import CURRENT
from messaging.errors import Throttled, TransportError
from messaging.logs import logger
from messaging.rabbitmq.errors import NOT_FOUND, translated
from messaging.rabbitmq.urls import place

__all__ = ["ANSWER_SECONDS", "Link", "Session"]

log = logger("messaging.rabbitmq.link")

ANSWER_SECONDS = 30.0
"""How long an answer may take where the caller has no deadline of its own."""

Answer: TypeAlias = "Future[Any]"
Work = Callable[[Any, Answer], None]
"""Runs in the connection's thread with an open channel; it sees to it that the future ends."""


class Link:
    """One connection, opened when it is first needed and again after it was lost.

    urls   the nodes of a cluster: the first that answers is taken.
    where  the same for people, without passwords.

    Nothing is tried again here: a caller whose request fails has pauses of its own, and its next
    request opens the connection. After a fork the child opens its own.
    """

    def __init__(self, urls: Sequence[Any], where: str) -> None:
        self._parameters = list(urls)
        self.where = where
        self._lock = threading.Lock()
        self._fresh()
        # The client writes a traceback for each attempt: callers are told by an exception.
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
        """Run `work` in the connection's thread, soon."""
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
            pika.SelectConnection.create_connection(self._parameters, self._done, self._loop)

    def unblocked(self, work: Callable[[], None]) -> None:
        """In the connection's thread: run `work` once, when the broker takes messages again."""
        if work not in self._when_unblocked:
            self._when_unblocked.append(work)

    def later(self, seconds: float, work: Callable[[], None]) -> object:
        """In the connection's thread: run `work` in it after `seconds`; `forget` takes it back."""
        return self._loop.call_later(seconds, work)

    def forget(self, timer: object) -> None:
        """In the connection's thread: what `later` gave is no longer wanted."""
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


class Session:
    """One channel of a link, opened when it is needed and prepared by `setup` each time.

    setup    called with the new channel, and with what to call when it is ready.
    lost     called when the channel is gone, with all that was under way on it.
    subject  what it is about, for errors: "queue alunos-marketing".
    """

    def __init__(
        self,
        link: Link,
        subject: str,
        *,
        setup: Callable[[Any, Callable[[], None]], None] | None = None,
        lost: Callable[[], None] | None = None,
    ) -> None:
        self.link = link
        self._subject = subject
        self._setup = setup
        self._on_lost = lost
        self._channel: Any = None
        self._ready = False
        self._opening = False
        self._queue: list[tuple[Work, Answer]] = []
        self._pending: set[Answer] = set()
        self._owner = os.getpid()
        self.ended_by: Exception | None = None
        """Why the channel was lost the last time, for `lost`."""

    def ask(self, work: Work) -> Answer:
        """Run `work` with the channel, soon; the future is what it says."""
        if self._owner != os.getpid():  # the parent's channel is not ours
            self.__init__(  # type: ignore[misc]  # the same object for whoever holds it
                self.link, self._subject, setup=self._setup, lost=self._on_lost
            )
        answer: Answer = Future()
        self.link.post(lambda: self._run(work, answer))
        return answer

    def say(self, work: Callable[[Any], None]) -> None:
        """Run `work` with the channel, soon, if it is the one that is open; nobody waits."""

        def run() -> None:
            if self._ready and self._channel.is_open:
                work(self._channel)

        self.link.post(run)

    def wait(self, answer: Answer, seconds: float = ANSWER_SECONDS) -> Any:
        """What the future says, within `seconds` or the caller's own deadline."""
        deadline = CURRENT.get()
        patience = seconds if deadline is None else min(seconds, deadline.left())
        try:
            return answer.result(patience)
        except NotDone:
            sent = not answer.cancel()
        told = f"{self._subject}: RabbitMQ at {self.link.where}"
        error: TransportError
        if self.link.blocked:
            said = f"{told} took no messages for {patience:g} s: it is short of memory or disk"
            error = Throttled(said, code="ConnectionBlocked")
        else:
            error = TransportError(f"{told} did not answer in {patience:g} s", code="Timeout")
        error.unknown = sent
        raise error

    def call(self, work: Work, seconds: float = ANSWER_SECONDS) -> Any:
        """`ask` and `wait`."""
        return self.wait(self.ask(work), seconds)

    def close(self) -> None:
        """Give the channel back: what was received on it and not settled comes again."""

        def run() -> None:
            if self._channel is not None and self._channel.is_open:
                self._channel.close()

        try:
            self.link.post(run)
        except TransportError:
            return  # the connection is closed, and the channel with it

    def renew(self, unless: Callable[[], object]) -> None:
        """Take another channel for what is asked from now on, `unless` says that it is used."""

        def run() -> None:
            if self._ready and self._channel.is_open and not unless():
                channel, self._channel, self._ready = self._channel, None, False
                if self._on_lost is not None:
                    self._on_lost()
                channel.close()

        self.link.post(run)

    def _run(self, work: Work, answer: Answer) -> None:
        self._pending.add(answer)
        answer.add_done_callback(self._pending.discard)
        if self._ready and self._channel.is_open:
            self._do(work, answer)
            return
        self._queue.append((work, answer))
        if not self._opening:
            self._opening = True
            self.link.connected(self._open, self._fail)

    def _open(self, connection: Any) -> None:
        try:
            # Told of its end from now on: the connection may be lost before the channel is open.
            self._channel = connection.channel(on_open_callback=self._opened)
            self._channel.add_on_close_callback(self._gone)
        except Exception as error:  # noqa: BLE001 - whatever it is, callers must hear of it
            self._fail(translated(error, self._subject))

    def _opened(self, channel: Any) -> None:
        if self._setup is None:
            self._prepared()
        else:
            self._setup(channel, self._prepared)

    def _prepared(self) -> None:
        self._opening, self._ready = False, True
        self._do_all()

    def _do_all(self) -> None:
        if self._ready:
            waiting, self._queue = self._queue, []
            for work, answer in waiting:
                self._do(work, answer)

    def _do(self, work: Work, answer: Answer) -> None:
        if self.link.blocked:  # it waits as long as whoever asked has patience
            self._queue.append((work, answer))
            self.link.unblocked(self._do_all)
            return
        if not answer.set_running_or_notify_cancel():
            return  # nobody waits for it any more: it is not sent
        try:
            work(self._channel, answer)
        except Exception as error:  # noqa: BLE001 - the thread must go on, and the caller hear of it
            if not answer.done():
                answer.set_exception(translated(error, self._subject))

    def _gone(self, channel: Any, reason: Exception) -> None:
        if channel is not self._channel:
            return
        code = reason.reply_code if isinstance(reason, ChannelClosedByBroker) else NOT_FOUND
        if code != NOT_FOUND:  # that is the answer of whoever asks whether a queue exists
            log.warning("%s: RabbitMQ closed the channel: %s", self._subject, reason)
        self._fail(translated(reason, self._subject))

    def _fail(self, error: Exception) -> None:
        self._channel, self._ready, self._opening = None, False, False
        self._queue = []
        self.ended_by = error
        if self._on_lost is not None:
            self._on_lost()
        for answer in list(self._pending):
            with suppress(InvalidStateError):  # it is done, or nobody waits for it any more
                answer.set_exception(error)
