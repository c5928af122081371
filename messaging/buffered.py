"""The room of lingering: single events gathered for a moment, so that a request carries ten."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from messaging.clock import Clock
from messaging.copies import Encoder
from messaging.errors import ConfigurationError, PublishError, TransportError
from messaging.event import Event
from messaging.logs import logger
from messaging.printable import printable
from messaging.results import NotPublished, Published, PublishResult, Tally
from messaging.sending import Packer, Sender
from messaging.transport import BATCH_ENTRIES, Outgoing

__all__ = ["BufferedPublisher"]

log = logger("messaging.publisher")


@dataclass(slots=True)
class _Item:
    event: Event
    messages: list[Outgoing]
    future: Future[Published]
    due: float


class BufferedPublisher:
    """Publishes events that come one at a time, many to a request: for web handlers.

        published = buffered.publish(event)     # a concurrent.futures.Future[Published]
        published.result(timeout=5)             # or: await asyncio.wrap_future(published)

    An event waits at most `linger` seconds for others. The future is done when the topic has the
    event; a handler that does not wait for it has no promise yet, and learns of a failure only
    through `on_failure` (by default an ERROR line with the event's type and id).

    linger       seconds (0 to 10) that an event waits for more to share its request.
    max_pending  events that may be waiting or under way; beyond them `publish` blocks, so that a
                 topic that is down is felt and not hidden in memory.
    senders      requests under way at once; on a FIFO topic (`ordered`) one.

    `close()`, leaving the `with` block, and the interpreter's exit send what is waiting; from a
    topic that no longer answers they turn away after the request under way. A child process of
    `multiprocessing` ends without the interpreter's exit: close it there.

    Forks: a child process starts with an empty buffer and threads of its own; what was waiting at
    the fork is sent by the parent, once. So it may be made before a pre-forking server forks.
    A process that is killed loses what was waiting: wait for the future, or use an outbox, where
    that must not be.
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
        # In a FIFO topic's group a later request must not overtake an earlier one.
        self._senders = 1 if ordered else senders
        self._ordered = ordered
        self._on_failure = on_failure or _log_failure
        self._closed = False
        self._begin()
        # Weak, so that neither keeps a publisher alive that nobody holds any more.
        self._at_exit = _weakly(weakref.WeakMethod(self.close))
        atexit.register(self._at_exit)
        os.register_at_fork(after_in_child=_weakly(weakref.WeakMethod(self._begin)))

    def _begin(self) -> None:
        # An empty buffer without threads: at the start, and again in a forked child, whose locks
        # may have been held by threads that it does not have.
        self._changed = threading.Condition()
        self._waiting: deque[_Item] = deque()
        self._pending = 0
        self._flushing = 0
        self._broken: TransportError | None = None
        self._threads: list[threading.Thread] = []

    def publish(
        self,
        event: Event,
        *,
        id: str | None = None,
        traceparent: str | None = None,
        timeout: float | None = None,
    ) -> Future[Published]:
        """Put `event` into the buffer. An event that cannot be sent raises here, at once.

        Waits while the buffer is full, for `timeout` seconds at most (None: as long as it takes),
        then raises `PublishError`; nothing was sent then.
        """
        messages = self._encode(event, id=id, traceparent=traceparent)
        future: Future[Published] = Future()
        future.set_running_or_notify_cancel()  # who stops waiting does not call the event back
        if not messages:
            future.set_result(Published(id or "", 0))
            return future
        with self._changed:
            if not self._changed.wait_for(self._has_room, timeout):
                raise PublishError(
                    f"{self._pending} events are waiting and the topic takes none; nothing was "
                    "sent: let your caller try again"
                )
            if self._closed:
                raise PublishError("this publisher is closed; nothing was sent")
            self._pending += 1
            due = self._clock.monotonic() + self._linger
            self._waiting.append(_Item(event, messages, future, due))
            if not self._threads:
                self._start()
            if len(self._waiting) == 1 or len(self._waiting) >= BATCH_ENTRIES:
                self._changed.notify_all()
        return future

    def flush(self, timeout: float | None = None) -> bool:
        """Send what is waiting now; False if it took longer than `timeout` seconds."""
        with self._changed:
            self._flushing += 1
            self._changed.notify_all()
            try:
                return self._changed.wait_for(lambda: self._pending == 0, timeout)
            finally:
                self._flushing -= 1

    def close(self) -> None:
        """Send what is waiting, then let go of the threads. May be called twice."""
        atexit.unregister(self._at_exit)
        with self._changed:
            self._closed, self._broken = True, None
            self._changed.notify_all()
            threads, self._threads = self._threads, []
        for thread in threads:
            thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _has_room(self) -> bool:
        return self._closed or self._pending < self._max_pending

    def _start(self) -> None:
        # Daemons: atexit joins them after sending, where a thread that is none would be joined
        # before atexit runs and would wait for a close() that never comes.
        for number in range(self._senders):
            thread = threading.Thread(
                target=self._run, name=f"messaging-linger-{number}", daemon=True
            )
            self._threads.append(thread)
            thread.start()

    def _run(self) -> None:
        while items := self._next():
            outcome = self._send(items)
            for item, one in zip(items, outcome, strict=True):
                if isinstance(one, Published):
                    item.future.set_result(one)
                else:
                    item.future.set_exception(one)
            # After the futures, so that whoever flushed finds them done.
            with self._changed:
                self._pending -= len(items)
                self._changed.notify_all()

    def _next(self) -> list[_Item]:
        """The next request's worth of events, when it is full or due; none when closed."""
        with self._changed:
            while True:
                if self._waiting:
                    hurry = self._closed or self._flushing
                    left = self._waiting[0].due - self._clock.monotonic()
                    if hurry or left <= 0 or len(self._waiting) >= BATCH_ENTRIES:
                        many = min(BATCH_ENTRIES, len(self._waiting))
                        return [self._waiting.popleft() for _ in range(many)]
                    self._changed.wait(left)
                elif self._closed:
                    return []
                else:
                    self._changed.wait()

    def _send(self, items: list[_Item]) -> list[Published | PublishError]:
        tally, packer = Tally(), Packer(self._max_bytes, ordered=self._ordered)
        owners = [tally.take(one.event, one.messages[0].id, len(one.messages)) for one in items]
        entries = [
            (message, owner)
            for item, owner in zip(items, owners, strict=True)
            for message in item.messages
        ]
        # Whoever closes waits for a topic that is down once, not once for each request.
        tally.broken = self._broken if self._closed else None
        self._sender.settle(packer.all(entries), tally)
        self._broken = tally.broken
        outcome: list[Published | PublishError] = [
            Published(item.messages[0].id, len(item.messages)) for item in items
        ]
        for failed in tally.failed:
            outcome[failed.index] = _error(failed, tally.broken)
            try:
                self._on_failure(failed)
            except Exception as error:  # noqa: BLE001 - the user's; it must not end the thread
                log.error("on_failure raised %s", type(error).__qualname__)
        return outcome


def _error(failed: NotPublished, broken: TransportError | None) -> PublishError:
    error = PublishError(
        f"{type(failed.event).__qualname__} (id {failed.id}) was not accepted: "
        f"{printable(f'{failed.code}: {failed.reason}')}",
        result=PublishResult(consumed=1, accepted=0, declined=0, copies=0, failed=(failed,)),
    )
    error.__cause__ = broken
    return error


def _log_failure(failed: NotPublished) -> None:
    log.error(
        "%s (id %s) was not accepted: %s: %s",
        type(failed.event).__qualname__,
        failed.id,
        failed.code,
        failed.reason,
    )


def _weakly(method: weakref.WeakMethod[Any]) -> Callable[[], None]:
    def call() -> None:
        if (bound := method()) is not None:
            bound()

    return call
