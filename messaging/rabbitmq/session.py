"""A link's channel, opened when it is needed, and again after it was lost.

Callers submit a function, which runs in the connection's thread, and wait for a future.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from concurrent.futures import TimeoutError as NotDone
from contextlib import suppress
from typing import Any, TypeAlias

from pika.exceptions import ChannelClosedByBroker

from messaging.deadline import CURRENT
from messaging.errors import Throttled, TransportError
from messaging.logs import logger
from messaging.rabbitmq.errors import NOT_FOUND, translated
from messaging.rabbitmq.link import ANSWER_SECONDS, Link

__all__ = ["Answer", "Session", "Work"]

log = logger("messaging.rabbitmq.link")

Answer: TypeAlias = "Future[Any]"
Work = Callable[[Any, Answer], None]
"""Runs in the connection's thread with an open channel; it must complete the future."""


class Session:
    """One channel of a link, opened when it is needed and prepared by `_prepare` each time.

    subject  for error messages: "queue alunos-marketing".
    """

    def __init__(self, link: Link, subject: str) -> None:
        self.link = link
        self._subject = subject
        self._fresh()

    def _fresh(self) -> None:
        self._channel: Any = None
        self._ready = False
        self._opening = False
        self._queue: list[tuple[Work, Answer]] = []
        self._pending: set[Answer] = set()
        self._owner = os.getpid()
        self.ended_by: Exception | None = None
        """Why the channel was lost the last time, for `_lost`."""

    def _prepare(self, channel: Any, ready: Callable[[], None]) -> None:
        """Make a new channel ready for work; then call `ready`. In the connection's thread."""
        ready()

    def _lost(self) -> None:
        """The channel is gone, with all that was under way on it. In the connection's thread."""

    def ask(self, work: Work) -> Answer:
        """Schedule `work` with the channel; it sets the future's result."""
        if not self._ours():
            self._fresh()
            self.link.post(self._lost)
        answer: Answer = Future()
        self.link.post(lambda: self._run(work, answer))
        return answer

    def say(self, work: Callable[[Any], None]) -> None:
        """Schedule `work` with the channel if it is open, without waiting for a result."""

        def run() -> None:
            if self._ready and self._channel.is_open:
                work(self._channel)

        if self._ours():
            self.link.post(run)

    def wait(self, answer: Answer, seconds: float = ANSWER_SECONDS) -> Any:
        """The future's result, within `seconds` or the caller's own deadline."""
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
        """`ask`, then `wait`."""
        return self.wait(self.ask(work), seconds)

    def close(self) -> None:
        """Close the channel: unsettled messages that were received on it are redelivered."""

        def run() -> None:
            if self._channel is not None and self._channel.is_open:
                self._channel.close()

        with suppress(TransportError):  # the connection is closed, and the channel with it
            if self._ours():
                self.link.post(run)

    def _ours(self) -> bool:
        """False in a forked child: the channel and its socket belong to the parent."""
        return self._owner == os.getpid()

    def _run(self, work: Work, answer: Answer) -> None:
        self._pending.add(answer)
        answer.add_done_callback(self._pending.discard)
        if self._ready and self._channel.is_open:
            self._do(work, answer)
            return
        if self._ready:  # we are closing it, and its end will come too late for what follows
            self._pending.discard(answer)
            self._fail(TransportError(f"{self._subject}: the channel was closed", code="Closed"))
            self._pending.add(answer)
        self._queue.append((work, answer))
        if not self._opening:
            self._opening = True
            self.link.connected(self._open, self._fail)

    def _open(self, connection: Any) -> None:
        try:
            # Registered right away: the connection may be lost before the channel is open.
            self._channel = connection.channel(on_open_callback=self._opened)
            self._channel.add_on_close_callback(self._gone)
        except Exception as error:  # noqa: BLE001 - any error must reach the callers
            self._fail(translated(error, self._subject))

    def _opened(self, channel: Any) -> None:
        self._prepare(channel, self._prepared)

    def _prepared(self) -> None:
        self._opening, self._ready = False, True
        self._do_all()

    def _do_all(self) -> None:
        if self._ready:
            waiting, self._queue = self._queue, []
            for work, answer in waiting:
                self._do(work, answer)

    def _do(self, work: Work, answer: Answer) -> None:
        if self.link.blocked:  # it waits until its caller times out
            self._queue.append((work, answer))
            self.link.unblocked(self._do_all)
            return
        if not answer.set_running_or_notify_cancel():
            return  # its caller has given up: it is not sent
        try:
            work(self._channel, answer)
        except Exception as error:  # noqa: BLE001 - keep the thread running, and tell the caller
            if not answer.done():
                answer.set_exception(translated(error, self._subject))

    def _gone(self, channel: Any, reason: Exception) -> None:
        if channel is not self._channel:
            return
        code = reason.reply_code if isinstance(reason, ChannelClosedByBroker) else NOT_FOUND
        if code != NOT_FOUND:  # that is a normal response to a check whether a queue exists
            log.warning("%s: RabbitMQ closed the channel: %s", self._subject, reason)
        self._fail(translated(reason, self._subject))

    def _fail(self, error: Exception) -> None:
        self._channel, self._ready, self._opening = None, False, False
        self._queue = []
        self.ended_by = error
        self._lost()
        for answer in list(self._pending):
            with suppress(InvalidStateError):  # it is done, or its caller has given up
                answer.set_exception(error)
