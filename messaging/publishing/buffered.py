"""Publishes single events together: they wait briefly, so that one request carries ten."""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Self

from messaging.batching import Packer
from messaging.clock import Clock
from messaging.deadline import within
from messaging.errors import (
    BufferFull,
    ConfigurationError,
    MessagingError,
    PublishError,
    TransportError,
)
from messaging.event import Event
from messaging.logs import logger
from messaging.publishing.encoder import Encoder
from messaging.publishing.pending import (
    Item,
    Pending,
    failed_item,
    in_event_loop,
    log_failure,
    not_published,
)
from messaging.publishing.results import Entry, NotPublished, Published, Tally
from messaging.publishing.sender import Sender
from messaging.publishing.senders import Senders
from messaging.transport import BATCH_ENTRIES, Outgoing

__all__ = ["BufferedPublisher", "Pending"]

log = logger("messaging.publishing.publisher")


class BufferedPublisher:
    """Publishes events that arrive one at a time, many per request: for web handlers.

        pending = buffered.publish(event)       # a concurrent.futures.Future, and an awaitable
        pending.result(timeout=5)               # or, in asyncio: await pending

    An event waits at most `linger` seconds for others. The future is done when the topic has the
    event; a handler that does not wait for it has no guarantee yet, and learns about failures only
    through `on_failure` (by default, an ERROR log line with the event's type and id).

    `close()`, leaving the `with` block, and the interpreter's exit send the waiting events; if the
    topic no longer answers, they give up after the current request. A child process of
    `multiprocessing` ends without the interpreter's exit hooks: close it there. In an event loop,
    use `async with`; `flush` and `close` would block the loop, and refuse to.

    Forks: a child process starts with an empty buffer and its own threads; the parent sends the
    events that were waiting at the fork, once. So the buffer may be created before a pre-forking
    server forks. A process that is killed loses waiting events: if that must not happen, wait for
    the future, or use an outbox.

    Args:
        encode: turns an event into messages.
        sender: sends batches.
        max_bytes: maximum size of a request to the topic.
        clock: the source of time; a test may pass a `FakeClock`.
        linger: seconds (0 to 10) that an event waits for others to share its request.
        max_pending: events that may be waiting or in flight; beyond that, `publish` blocks, so that
            an unreachable topic slows the producer down instead of filling memory. In an event
            loop, where nothing may block, it raises `BufferFull` instead, and `await room()` waits.
        senders: maximum number of concurrent requests; one on a FIFO topic (`ordered`). There are
            two, and more while answers are slow and full requests wait to be sent.
        ordered: whether the topic is FIFO.
        on_failure: called with each event that was not accepted.

    Raises:
        ConfigurationError: if `linger`, `max_pending` or `senders` is out of range.

    Example:
        ```python
        with publisher.buffered(linger=0.01) as buffer:  # one for the process
            pending = [buffer.publish(ana) for _ in range(20)]
        assert sum(one.result().copies for one in pending) == 20
        ```
    """

    def __init__(
        self,
        encode: Encoder,
        sender: Sender,
        *,
        max_bytes: int,
        clock: Clock,
        linger: float = 0.02,
        max_pending: int = 10_000,
        senders: int = 2,
        ordered: bool = False,
        on_failure: Callable[[NotPublished], None] | None = None,
    ) -> None:
        if not 0 <= linger <= 10 or max_pending < 1 or senders < 1:
            raise ConfigurationError(
                f"buffered(linger={linger}, max_pending={max_pending}, senders={senders}): linger "
                "is 0 to 10 seconds, the others start at 1"
            )
        self._encode = encode
        self._sender = sender
        self._max_bytes = max_bytes
        self._clock = clock
        self._linger = linger
        self._max_pending = max_pending
        # Within a FIFO topic's group, a later request must not overtake an earlier one.
        self._senders = 1 if ordered else senders
        self._ordered = ordered
        self._on_failure = on_failure or log_failure
        self._closed = False
        self._begin()
        # Weak, so that neither keeps an unreferenced publisher alive.
        self._at_exit = _weakly(weakref.WeakMethod(self.close))
        atexit.register(self._at_exit)
        os.register_at_fork(after_in_child=_weakly(weakref.WeakMethod(self._begin)))

    def _begin(self) -> None:
        # An empty buffer without threads: at the start, and again in a forked child, whose locks
        # may have been held by threads that it does not have.
        self._lock = threading.Lock()
        # Separate conditions, so that an event wakes one sending thread, and no thread that waits
        # for room.
        self._changed = threading.Condition(self._lock)
        """Notified when there is more room, or fewer events are pending."""
        self._work = threading.Condition(self._lock)
        """Notified when there is something to send, or after closing."""
        self._waiting: deque[Item] = deque()
        self._pending = 0
        self._flushing = 0
        self._broken: TransportError | None = None
        self._threads = Senders(self._run, self._senders)
        self._awaiting: list[Future[None]] = []  # of those in `room`

    def publish(
        self,
        event: Event,
        *,
        id: str | None = None,
        traceparent: str | None = None,
        timeout: float | None = None,
    ) -> Pending:
        """Put `event` into the buffer. An event that cannot be sent raises here, immediately.

        Waits while the buffer is full, for at most `timeout` seconds (None: as long as it takes),
        then raises `PublishError`; nothing was sent then. In an event loop, and in a callback of
        this buffer, it does not wait, but raises `BufferFull`.

        A codec that may store large data (`ClaimCheck`) would block the loop as well: in that case
        the sending thread encodes the event, and if it cannot be sent, its future fails.

        Args:
            event: what happened.
            id: the event's id; by default a fresh one.
            traceparent: W3C trace context to pass through.
            timeout: seconds to wait for room in the buffer; None: as long as it takes.

        Raises:
            EventTooLarge: immediately, if a copy is larger than the topic accepts.
            InvalidCharacters: immediately, if SNS would refuse a character.
            BufferFull: if there is no room, in an event loop or in a callback of this buffer.
            PublishError: if there was no room for `timeout` seconds, or the publisher was closed;
                nothing was sent then.
        """
        encode = functools.partial(self._encoded, event, id, traceparent)
        messages = None if self._encode.may_wait and in_event_loop() else encode()
        future = Pending()
        future.set_running_or_notify_cancel()  # cancelling the wait does not recall the event
        if messages is not None and not messages:
            future.set_result(Published(id or "", 0))
            return future
        with self._lock:
            if not self._has_room():
                self._await_room(timeout)
            if self._closed:
                raise PublishError("this publisher is closed; nothing was sent")
            self._pending += 1
            due = self._clock.monotonic() + self._linger
            self._waiting.append(Item(event, id, encode, messages, future, due))
            waiting = len(self._waiting)
            self._threads.enough(waiting)
            # One thread must know when the first event is due, and one when a request is full.
            if waiting == 1 or waiting % BATCH_ENTRIES == 0:
                self._work.notify()
        return future

    def _await_room(self, timeout: float | None) -> None:
        if why := self._may_not_wait():
            raise BufferFull(
                f"{self._pending} events are waiting, and publish() would block {why}; nothing "
                "was sent: `await buffered.room()` before, turn your caller away, or raise "
                "max_pending"
            )
        if not self._changed.wait_for(self._has_room, timeout):
            raise PublishError(
                f"{self._pending} events are waiting and the topic takes none; nothing was "
                "sent: let your caller try again"
            )

    async def room(self) -> None:
        """Wait until the buffer has room for an event, without blocking the event loop.

            await buffered.room()
            pending = buffered.publish(event)       # at once: another task would take the room

        Raises:
            PublishError: if the buffer is closed.
        """
        import asyncio

        while True:
            with self._changed:
                if self._closed:
                    raise PublishError("this publisher is closed; nothing was sent")
                if self._has_room():
                    return
                waiter = Future[None]()
                self._awaiting.append(waiter)
            try:
                await asyncio.wrap_future(waiter)
            finally:
                with self._changed:
                    if waiter in self._awaiting:
                        self._awaiting.remove(waiter)

    def flush(self, timeout: float | None = None) -> bool:
        """Send the waiting events now; returns False if that took longer than `timeout` seconds.

        In an event loop: `await asyncio.to_thread(buffered.flush)`.

        Args:
            timeout: seconds; None: as long as it takes.
        """
        self._check_may_wait("flush")
        with self._changed:
            self._flushing += 1
            self._work.notify_all()
            try:
                return self._changed.wait_for(lambda: self._pending == 0, timeout)
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """Send the waiting events, then end the threads. May be called twice.

        In an event loop: `async with`, or `await asyncio.to_thread(buffered.close)`.
        """
        self._check_may_wait("close")
        atexit.unregister(self._at_exit)
        with self._changed:
            self._closed, self._broken = True, None
            self._work.notify_all()
            self._wake()
            threads = list(self._threads.threads)
        for thread in threads:
            thread.join()

    def __enter__(self) -> Self:
        if in_event_loop():
            raise ConfigurationError(
                "`with` would block the event loop at its end: `async with publisher.buffered()`"
            )
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def _may_not_wait(self) -> str:
        """What would be blocked if the calling thread waited; empty if only itself."""
        if in_event_loop():
            return "the event loop"
        mine = threading.current_thread() in self._threads.threads
        return "the thread that sends (this is a callback of its)" if mine else ""

    def _check_may_wait(self, what: str) -> None:
        if why := self._may_not_wait():
            raise ConfigurationError(
                f"{what}() would block {why}: in asyncio, `async with`, or `await "
                f"asyncio.to_thread(buffered.{what})`; what is waiting is still sent"
            )

    def _wake(self) -> None:
        self._changed.notify_all()
        awaiting, self._awaiting = self._awaiting, []
        for waiter in awaiting:
            if waiter.set_running_or_notify_cancel():
                waiter.set_result(None)

    def _has_room(self) -> bool:
        return self._closed or self._pending < self._max_pending

    def _run(self) -> None:
        while items := self._next():
            began = self._clock.monotonic()
            outcomes = self._outcomes(items)
            self._threads.way = self._clock.monotonic() - began
            for item, one in zip(items, outcomes, strict=True):
                self._tell(item.future, one)
            # After the futures, so that a caller of `flush` finds them done.
            with self._changed:
                self._pending -= len(items)
                self._wake()
                if not self._closed:  # `close` joins the existing threads
                    self._threads.enough(len(self._waiting))

    def _tell(self, future: Pending, outcome: Published | Exception) -> None:
        try:
            if isinstance(outcome, Published):
                future.set_result(outcome)
            else:
                future.set_exception(outcome)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a callback, by way of example
            log.error(
                "a callback of a future raised %s: the event's outcome is set, later callbacks "
                "are not called, and the buffer continues",
                type(error).__qualname__,
            )

    def _next(self) -> list[Item]:
        """Wait for the next full or due request's worth of events; none when closed, or when the
        calling thread is no longer needed."""
        with self._lock:
            self._threads.idle += 1
            try:
                return self._awaited()
            finally:
                self._threads.idle -= 1

    def _awaited(self) -> list[Item]:
        told = True
        while True:
            if self._waiting:
                hurry = self._closed or self._flushing
                left = self._waiting[0].due - self._clock.monotonic()
                if hurry or left <= 0 or len(self._waiting) >= BATCH_ENTRIES:
                    many = min(BATCH_ENTRIES, len(self._waiting))
                    return [self._waiting.popleft() for _ in range(many)]
                self._work.wait(left)
            elif self._closed:
                return []
            elif told or self._threads.longest_wait() is None:
                told = self._work.wait(self._threads.longest_wait())
            else:
                self._threads.leave()
                return []

    def _outcomes(self, items: list[Item]) -> Sequence[Published | Exception]:
        """The result of each of `items`. Never raises."""
        try:
            return self._send(items)
        except BaseException as error:  # noqa: BLE001 - a thread that ended would lose what waits
            name = type(error).__qualname__
            log.error("sending raised %s; the buffer continues", name)
            lost = [
                failed_item(item, name, "raised while it was sent", unknown=True) for item in items
            ]
            return [self._report(one, None) for one in lost]

    def _send(self, items: list[Item]) -> list[Published | Exception]:
        outcome: list[Published | Exception] = []
        tally = Tally()
        packer: Packer[Entry] = Packer(self._max_bytes, ordered=self._ordered)
        entries: list[Entry] = []
        for item in items:
            try:
                messages = item.encode() if item.messages is None else item.messages
            except Exception as error:  # noqa: BLE001 - what `publish` would have raised at once
                known = str(error) if isinstance(error, MessagingError) else "cannot be encoded"
                self._report(failed_item(item, type(error).__qualname__, known), None)
                outcome.append(error)
                tally.take(item.event, "", 0)
                continue
            id = messages[0].id if messages else item.id or ""
            outcome.append(Published(id, len(messages)))
            owner = tally.take(item.event, id, len(messages))
            entries += [(message, owner) for message in messages]
        # `close` waits for an unavailable topic once, not once for each request.
        tally.broken = self._broken if self._closed else None
        self._sender.settle(packer.all(entries), tally)
        self._broken = tally.broken
        for failed in tally.failed:  # whose places are those in `items`, which nobody knows
            outcome[failed.index] = self._report(replace(failed, index=0), tally.broken)
        return outcome

    def _report(self, failed: NotPublished, broken: TransportError | None) -> PublishError:
        try:
            self._on_failure(failed)
        except BaseException as error:  # noqa: BLE001 - the user's; it must not end the thread
            log.error("on_failure raised %s", type(error).__qualname__)
        return not_published(failed, broken)

    def _encoded(self, event: Event, id: str | None, traceparent: str | None) -> list[Outgoing]:
        if not self._encode.may_wait:
            return self._encode(event, id=id, traceparent=traceparent)
        return within(self._sender.deadline(), self._encode, event, id=id, traceparent=traceparent)


def _weakly(method: weakref.WeakMethod[Any]) -> Callable[[], None]:
    def call() -> None:
        if (bound := method()) is not None:
            bound()

    return call
