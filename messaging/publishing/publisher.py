"""Publishes events in batches, and resends only what was refused."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import TYPE_CHECKING

from messaging.batching import Packer
from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.closing import Closing
from messaging.codec import Codec
from messaging.deadline import Deadline, within
from messaging.errors import (
    ConfigurationError,
    MessagingError,
    PublishError,
)
from messaging.event import Event
from messaging.histogram import DURATIONS, Histogram
from messaging.publishing.buffered import BufferedPublisher
from messaging.publishing.many import PublishRun
from messaging.publishing.results import (
    Entry,
    NotPublished,
    Published,
    PublishProgress,
    PublishResult,
    Tally,
)
from messaging.publishing.sender import Sender
from messaging.publishing.traced import Given, ProducerTracing, encoder_for, traced
from messaging.publishing.under_way import RequestsUnderWay
from messaging.transport import BATCH_ENTRIES, Outgoing, TopicTransport, name_of
from messaging.window import MOST, RequestWindow

if TYPE_CHECKING:
    from messaging.contract.check import Finding
    from messaging.contract.needs import Needs

__all__ = ["Publisher"]

TIMEOUT = 60.0
"""The default time limit of a publish, in seconds."""

MOST_THREADS = 16
"""Default maximum of concurrent requests if each needs a thread."""


class Publisher(Closing):
    """Publishes events to one topic. Thread-safe; the constructor opens no connection.

    Args:
        topic: the destination: `connect().topic()`, `MemoryBroker(...).topic()`, or an outbox.
        source: the publisher's CloudEvents source, such as "/cadastro".
        codec: writes envelopes as text; `JsonCodec()` by default.
        in_flight: maximum number of concurrent requests of `publish_many`, and of a buffer of this
            publisher. By default it is chosen automatically: more while answers take longer than
            preparing a request, up to 128, or 16 if each needs a thread because the topic cannot
            send without waiting. On a FIFO topic it is 1, and no request contains two events of one
            group, to keep the order.
        max_attempts: how often an entry is sent before it is given up (with full jitter between
            attempts, at most 5 s). These are the only retries: the AWS transport turns off
            botocore's own, so that the two do not multiply.
        timeout: seconds that one `publish`, or one request of `publish_many` or of a buffer, may
            take: all attempts, the waits between them, and any look-up before. The default comes
            from the topic's settings (MESSAGING_PUBLISH_TIMEOUT), or is 60; `math.inf` waits as
            long as `max_attempts` takes. An outbox writes in your transaction, whose own time
            limits apply.
        tracing: `messaging.tracing.Tracing()`: creates spans, and puts their context in each
            envelope.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        ConfigurationError: if a number is out of range.

    Example:
        ```python
        published = publisher.publish(ana)
        assert published.copies == 1

        result = publisher.publish_many([ana, ana])
        assert (result.accepted, result.failed) == (2, ())
        ```
    """

    def __init__(
        self,
        topic: TopicTransport,
        *,
        source: str,
        codec: Codec | None = None,
        in_flight: int | None = None,
        max_attempts: int = 5,
        timeout: float | None = None,
        tracing: ProducerTracing | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        if (in_flight is not None and in_flight < 1) or max_attempts < 1:
            raise ConfigurationError("Publisher: in_flight and max_attempts start at 1")
        if timeout is None:
            timeout = float(getattr(topic, "publish_timeout", TIMEOUT))
        _check_timeout(timeout)
        self._topic = topic
        self._tracing = tracing
        self._encode = encoder_for(topic, tracing, source=source, codec=codec, clock=clock)
        self._sender = Sender(topic, max_attempts=max_attempts, clock=clock, timeout=timeout)
        self._clock = clock
        # An outbox writes in its caller's transaction, which no other thread may use.
        self._in_callers_thread = bool(getattr(topic, "in_callers_thread", False))
        self._ordered = bool(getattr(topic, "fifo", False))
        self._in_flight = 1 if self._ordered else MOST if in_flight is None else in_flight
        self._most_threads = MOST_THREADS if in_flight is None else in_flight
        self._lock = threading.Lock()
        self._pool: tuple[int, ThreadPoolExecutor] | None = None

    def publish(
        self,
        event: Event,
        *,
        id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
        timeout: float | None = None,
    ) -> Published:
        """Publish `event`, and return when the topic has accepted every copy.

        Args:
            event: what happened.
            id: the event's id; by default a fresh one. Pass your own if the same fact may be
                published twice, so that consumers can recognize it.
            time: when it happened, with a time zone; by default now.
            traceparent: W3C trace context to pass through.
            timeout: seconds; by default the publisher's.

        Raises:
            EventTooLarge: before any network call, if a copy is larger than the topic accepts.
            InvalidCharacters: before any network call, if SNS would refuse a character.
            PublishError: if the topic did not accept every copy. Some may have been accepted, and
                publishing again with the same id is safe.

        Example:
            ```python
            published = publisher.publish(ana, id="matricula-2026-0042")
            assert published.id == "matricula-2026-0042"
            ```
        """
        given = event, id, time, traceparent, timeout
        if self._tracing is None:
            return self._publish(given)
        return traced(self._tracing, self._topic, self._publish, given)

    def _publish(self, given: Given) -> Published:
        event, id, time, traceparent, timeout = given
        if timeout is not None:
            _check_timeout(timeout)
        deadline: Deadline | None = None  # it usually starts with the request
        if timeout is None and not self._encode.may_wait:
            messages = self._encode(event, id=id, time=time, traceparent=traceparent)
        else:
            deadline = self._sender.deadline(timeout)
            messages = within(
                deadline, self._encode, event, id=id, time=time, traceparent=traceparent
            )
        if not messages:
            return Published(id or "", 0)
        answer = None
        if len(messages) == 1 or _one_request(messages, self._topic.max_bytes):  # nearly always
            answer = self._sender.send([(message, event) for message in messages], deadline)
            if not answer.failures:
                return Published(messages[0].id, len(messages))
        tally = Tally()
        owner = tally.take(event, messages[0].id, len(messages))
        entries = [(message, owner) for message in messages]
        if answer is None:
            deadline = self._sender.deadline() if deadline is None else deadline
            requests = Packer[Entry](self._topic.max_bytes).all(entries)
            self._sender.settle(requests, tally, deadline)
        else:
            tally.settle(*answer, batch=entries)
        if tally.failed:
            tally.close()
        return Published(owner.id, len(messages))

    def publish_many(
        self,
        events: Iterable[Event],
        *,
        id: Callable[[Event], str | None] | None = None,
        on_progress: Callable[[PublishProgress], None] | None = None,
        timeout: float | None = None,
    ) -> PublishResult:
        """Publish all of `events`, consuming them one by one as requests go out.

        Returns a `PublishResult` if every event was accepted. Otherwise it raises `PublishError`,
        whose `.result` names each event that was not, and why. An event that cannot be sent (too
        large, refused for good) does not hold up the others; a topic that no longer answers, or an
        exception from `events` itself, ends the run. The example continues where it ended.

        Args:
            events: any iterable; only events in flight are held in memory. Answers are processed
                when another request goes out, or at the end.
            id: returns an event's id; by default a fresh one each.
            on_progress: called in this thread as answers arrive; if it raises, the run ends.
            timeout: seconds for the whole run, including the time that `events` takes; after that,
                it ends as if the topic no longer answered. By default a run may take as long as it
                needs, and each of its requests the publisher's `timeout`.

        Raises:
            PublishError: if an event was not accepted, or the run ended early; its `.result` names
                each event, and why.

        Example:
            ```python
            from itertools import islice

            from messaging import PublishError


            def publish_all(events: list[Event]) -> None:
                try:
                    publisher.publish_many(events)
                except PublishError as error:
                    publisher.publish_again(error.result)  # those that were refused
                    publisher.publish_many(islice(events, error.result.consumed, None))  # the rest


            publish_all([ana, ana])
            ```
        """
        deadline = None
        if timeout is not None:
            _check_timeout(timeout)
            deadline = self._sender.deadline(timeout)
        run = PublishRun(
            encode=self._encode,
            sender=self._sender,
            packer=Packer(self._topic.max_bytes, ordered=self._ordered),
            window=RequestsUnderWay(RequestWindow(self._in_flight)),
            threads=self._threads,
            in_callers_thread=self._in_callers_thread,
            most_threads=self._most_threads,
            on_progress=on_progress,
            deadline=deadline,
        )
        try:
            run.take(events, id)
            run.finish()
        except Exception as error:
            run.finish(quietly=True)
            raise PublishError(
                f"stopped after {run.tally.consumed} events: "
                f"{error if isinstance(error, MessagingError) else type(error).__name__}",
                result=run.tally.result(),
            ) from error
        finally:
            run.abandon()
        return run.tally.close()

    def publish_again(self, result: PublishResult) -> PublishResult:
        """Publish the events that `result` lists as not accepted again, with the same ids.

        Args:
            result: from `publish_many`, or from a `PublishError`.

        Raises:
            PublishError: as `publish_many` does.
        """
        ids = iter([failed.id for failed in result.failed])
        return self.publish_many(
            [failed.event for failed in result.failed],
            id=lambda _event: next(ids) or None,
        )

    async def publish_async(
        self,
        event: Event,
        *,
        id: str | None = None,
        time: datetime | None = None,
        traceparent: str | None = None,
        timeout: float | None = None,
    ) -> Published:
        """Like `publish`, without blocking the event loop (the request runs in a thread).

        If the task is cancelled, the event may still be published.

        See `Publisher.publish`.

        Raises:
            PublishError: as `publish` does.

        Example:
            ```python
            import asyncio

            published = asyncio.run(publisher.publish_async(ana))
            assert published.copies == 1
            ```
        """
        import asyncio  # only loaded if used

        call = functools.partial(
            self.publish, event, id=id, time=time, traceparent=traceparent, timeout=timeout
        )
        if self._in_callers_thread:
            return call()
        return await asyncio.to_thread(call)

    def buffered(
        self,
        *,
        linger: float = 0.02,
        max_pending: int = 10_000,
        on_failure: Callable[[NotPublished], None] | None = None,
    ) -> BufferedPublisher:
        """Create a publisher for code that publishes one event at a time: see `BufferedPublisher`.

        Args:
            linger: seconds (0 to 10) that an event waits for others to share its request.
            max_pending: events that may be waiting or in flight; beyond that, `publish` blocks.
            on_failure: called with each event that was not accepted; by default it is logged.

        Raises:
            ConfigurationError: on an outbox, which is written in the caller's transaction.

        Example:
            ```python
            with publisher.buffered(linger=0.01) as buffer:
                pending = buffer.publish(ana)  # does not wait for the topic
            assert pending.result().copies == 1
            ```
        """
        if self._in_callers_thread:
            raise ConfigurationError(
                "an outbox is written in your transaction, and a buffered publisher writes later: "
                "call publish(), which costs no request there"
            )
        return BufferedPublisher(
            self._encode,
            self._sender,
            max_bytes=self._topic.max_bytes,
            clock=self._clock,
            linger=linger,
            max_pending=max_pending,
            senders=min(MOST_THREADS, self._most_threads),
            ordered=self._ordered,
            on_failure=on_failure,
        )

    def check(self, *events: type[Event], needs: Iterable[Needs] = ()) -> list[Finding]:
        """Compare the views of `events` with the topic's subscriptions; returns the findings.

        Meant for the start of an application: it lists the topic's subscriptions, which takes a
        request for each, and on AWS needs sns:ListSubscriptionsByTopic and
        sns:GetSubscriptionAttributes. A finding whose `breaks` is True is a service that would
        receive nothing, or too much.

        Args:
            *events: the published event classes.
            needs: the declared needs of services (`messaging.contract.needs`), compared as well.

        Raises:
            ConfigurationError: if the topic cannot list its subscriptions.

        Example:
            ```python
            # Each service receives what it needs, and nothing more.
            assert publisher.check(AlunoCadastrado) == []
            ```
        """
        from messaging.contract.catalogue import catalogue_of
        from messaging.contract.subscribers import check_subscribers

        listed = getattr(self._topic, "subscribers", None)
        if listed is None:
            raise ConfigurationError(
                f"{type(self._topic).__qualname__} does not know the subscribers: check with a "
                "publisher on the topic itself, connect().topic()"
            )
        catalogue = catalogue_of(events, topic=str(getattr(self._topic, "name", "")))
        return check_subscribers(catalogue, listed(), needs)

    @property
    def counts(self) -> tuple[str, int, int]:
        """The topic's name, the messages (copies of events) accepted so far, and those finally
        refused."""
        return name_of(self._topic), self._sender.accepted, self._sender.refused

    @property
    def durations(self) -> Histogram | None:
        """Durations of requests in seconds, including all attempts, since `measure`; None before
        it."""
        return self._sender.durations

    def measure(self) -> None:
        """Measure how long requests take from now on, for `messaging.metrics`."""
        if self._sender.durations is None:
            self._sender.durations = Histogram(DURATIONS)

    def close(self) -> None:
        """End the threads after finishing pending requests. The topic is closed by its owner."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and pool[0] == os.getpid():
            pool[1].shutdown(wait=True)

    def _threads(self) -> ThreadPoolExecutor:
        # Threads do not survive a fork: a publishing child process starts its own.
        with self._lock:
            if self._pool is None or self._pool[0] != os.getpid():
                pool = ThreadPoolExecutor(
                    self._most_threads, thread_name_prefix="messaging-publish"
                )
                self._pool = (os.getpid(), pool)
            return self._pool[1]


def _one_request(messages: Sequence[Outgoing], max_bytes: int) -> bool:
    size = sum([message.size for message in messages])
    return len(messages) <= BATCH_ENTRIES and size <= max_bytes


def _check_timeout(timeout: float) -> None:
    if not timeout > 0:  # also NaN
        raise ConfigurationError(f"timeout={timeout}: more than 0 seconds; math.inf for no limit")
