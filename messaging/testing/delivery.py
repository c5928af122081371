"""Delivers one event to one consumer, as its queue would, and returns the result."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pydantic import BaseModel

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consuming.batch_dispatch import BatchCall, BatchRun, acknowledged
from messaging.consuming.consumer import Consumer
from messaging.consuming.dispatch import Call, Dispatcher, Middleware
from messaging.envelope import Envelope, new_id
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry
from messaging.projection import EVERYONE
from messaging.publishing.encoder import Encoder
from messaging.settlement import give_back
from messaging.transport import Attribute, Delivery, Outgoing

__all__ = [
    "MAX_BYTES",
    "Result",
    "batch_settled",
    "deliver",
    "deliver_batch",
    "deliver_raw",
    "delivered",
    "received_of",
    "settled",
]

MAX_BYTES = 262_144
"""SNS's default maximum size."""


@dataclass(frozen=True, kw_only=True, repr=False)
class Result:
    """The result of one delivery; or that there was none, and `why`.

    Args:
        outcome: what the library would do with the message; None if the service's queue would not
            have received it.
        view: the handler's argument, validated; None if no handler ran.
        envelope: its envelope; None if no handler ran.
        delivery: the message as the queue would have it; None if there would be none.
        error: the exception of a handler (or a middleware), unless it was an `Outcome`.
        why: the outcome's reason, or why the queue would not have received the event.

    Example:
        ```python
        from messaging.testing import deliver

        result = deliver(Marketing(), ana)
        assert result.received and result.acknowledged
        assert result.view == AlunoParaMarketing(nome="Ana", email="ana@example.com")
        ```
    """

    outcome: Outcome | None
    view: BaseModel | None = None
    envelope: Envelope | None = None
    delivery: Delivery | None = None
    error: BaseException | None = None
    why: str = ""

    @property
    def received(self) -> bool:
        """The service's queue would have received a copy of the event."""
        return self.delivery is not None

    @property
    def acknowledged(self) -> bool:
        """Handled: the message is deleted."""
        return isinstance(self.outcome, Ack)

    @property
    def retried(self) -> bool:
        """The message is retried after `delay` seconds."""
        return isinstance(self.outcome, Retry)

    @property
    def rejected(self) -> bool:
        """The message goes to the dead-letter queue."""
        return isinstance(self.outcome, Reject)

    @property
    def discarded(self) -> bool:
        """The message is deleted without being handled."""
        return isinstance(self.outcome, Discard)

    @property
    def delay(self) -> float | None:
        """Seconds until the message is retried; None unless `retried`."""
        return self.outcome.delay if isinstance(self.outcome, Retry) else None

    def __repr__(self) -> str:  # shown by a failed assertion: names and reasons, no data
        if not self.received:
            return f"Result(not received: {self.why})"
        parts = [type(self.outcome).__name__]
        if self.why:
            parts.append(f"because {self.why!r}")
        if self.delay is not None:
            parts.append(f"again in {self.delay:.1f} s")
        if self.error is not None:
            parts.append(f"the handler raised {type(self.error).__qualname__}, see .error")
        return f"Result({', '.join(parts)})"


def deliver(
    consumer: Consumer,
    event: Event,
    *,
    id: str | None = None,
    source: str = "/tests",
    time: datetime | None = None,
    traceparent: str | None = None,
    receive_count: int = 1,
    codec: Codec | None = None,
    middleware: Sequence[Middleware] = (),
    clock: Clock = SYSTEM_CLOCK,
    runner: asyncio.Runner | None = None,
) -> Result:
    """Deliver `event` to `consumer` as its queue would: projected, encoded, decoded and validated.

        result = deliver(Marketing(mailing), AlunoCadastrado(...))
        assert result.acknowledged
        assert result.view.email == "ana@example.com"

    If a view declines the event, or the consumer does not handle it, the `Result` has `received`
    False and says why. A handler's exception is in `result.error`, and not raised.

    Args:
        consumer: the service.
        event: what happened.
        id: the event's id; by default a fresh one.
        source: the publisher's source.
        time: when it happened, with a time zone; by default now.
        traceparent: W3C trace context.
        receive_count: how often the message has been received, including this time.
        codec: reads and writes message bodies; `JsonCodec()` by default. Use the producer's codec.
        middleware: context managers around each handler, outermost first.
        clock: the source of time; a test may pass a `FakeClock`.
        runner: the event loop for async handlers; by default a new one.

    Raises:
        PublishError: if the event cannot be sent: `EventTooLarge`, `InvalidCharacters` or
            `RoundTripError`.
        ConfigurationError: if `consumer` is not an instance of a `Consumer`.

    Example:
        ```python
        from messaging.testing import deliver

        marketing = Marketing()
        result = deliver(marketing, ana)
        assert result.acknowledged
        assert marketing.welcomed == ["ana@example.com"]
        ```
    """
    _check_consumer(consumer)
    handler = consumer.handlers.get(type(event).event_type)
    encode = Encoder(source=source, max_bytes=MAX_BYTES, codec=codec, clock=clock)
    copies = encode(event, id=id, time=time, traceparent=traceparent)
    if handler is None:
        return Result(outcome=None, why=_unhandled(consumer, event))
    copy = received_of(consumer, copies)
    if copy is not None:
        delivery = delivered(consumer.service, copy, receive_count, clock)
        return _dispatch(consumer, delivery, codec, middleware, runner)
    return Result(
        outcome=None,
        why=f"{handler.view.__qualname__}.wanted() declined the event, so no copy of it is sent "
        f"to {consumer.service}",
    )


def deliver_batch(
    consumer: Consumer,
    events: Sequence[Event],
    *,
    source: str = "/tests",
    receive_count: int = 1,
    codec: Codec | None = None,
    middleware: Sequence[Middleware] = (),
    clock: Clock = SYSTEM_CLOCK,
    runner: asyncio.Runner | None = None,
) -> list[Result]:
    """Deliver `events` to `consumer` in one batch, and return the results in order.

        results = deliver_batch(BI(database), [ana, bia, caio])
        assert all(one.acknowledged for one in results)

    One handler must take a `Batch` of all of them; events that its view declines have a `Result`
    with `received` False. If the handler then raises for a single message, the exception is in the
    `error` of that result. The arguments are those of `deliver`.

    Args:
        consumer: the service.
        events: the events.
        source: the publisher's source.
        receive_count: how often each message has been received, including this time.
        codec: reads and writes message bodies; `JsonCodec()` by default. Use the producer's codec.
        middleware: context managers around each handler, outermost first.
        clock: the source of time; a test may pass a `FakeClock`.
        runner: the event loop for async handlers; by default a new one.

    Raises:
        ConfigurationError: if `consumer` is not an instance of a `Consumer`, or the events do not
            have one type that one of its handlers takes in a `Batch`.

    Example:
        ```python
        from messaging import Batch
        from messaging.testing import deliver_batch


        class Mailing(Consumer):
            service = "marketing"

            @handles(batch=100)
            def welcome(self, alunos: Batch[AlunoParaMarketing]) -> None: ...


        assert all(result.acknowledged for result in deliver_batch(Mailing(), [ana, ana]))
        ```
    """
    _check_consumer(consumer)
    names = {type(event).event_type for event in events}
    handlers = [consumer.handlers.get(name) for name in names]
    if len(handlers) != 1 or handlers[0] is None or handlers[0].batch is None:
        raise ConfigurationError(
            f"deliver_batch({type(consumer).__qualname__}, ...) takes events of one type that its "
            f"handler takes in a Batch; these are of {', '.join(sorted(names)) or 'no type'}"
        )
    encode = Encoder(source=source, max_bytes=MAX_BYTES, codec=codec, clock=clock)
    copies = [received_of(consumer, encode(event)) for event in events]
    mine = [
        None if one is None else delivered(consumer.service, one, receive_count, clock)
        for one in copies
    ]
    seen = _Seen()
    dispatch = Dispatcher(consumer, codec=codec, middleware=(seen, *middleware), outages=False)
    received = [one for one in mine if one is not None]
    outcomes = iter(batch_settled(dispatch.batch(received), runner) if received else [])
    why = f"{handlers[0].view.__qualname__}.wanted() declined the event"
    return [
        Result(outcome=None, why=why) if one is None else _result(seen, one, next(outcomes))
        for one in mine
    ]


def received_of(consumer: Consumer | type[Consumer], copies: Sequence[Outgoing]) -> Outgoing | None:
    """The copy of an event that the queue of `consumer` receives; None if its view declined."""
    wanted = {EVERYONE, consumer.service}
    mine = (one for one in copies if wanted & set(one.attributes["audience"].strings))
    return next(mine, None)


def deliver_raw(
    consumer: Consumer,
    body: str,
    *,
    attributes: Mapping[str, Attribute] | None = None,
    receive_count: int = 1,
    codec: Codec | None = None,
    middleware: Sequence[Middleware] = (),
    clock: Clock = SYSTEM_CLOCK,
    runner: asyncio.Runner | None = None,
) -> Result:
    """Deliver a message `body` to `consumer` as it is: foreign, broken, or of another version.

    Args:
        consumer: the service.
        body: the text of the message.
        attributes: the message attributes.
        receive_count: how often the message has been received, including this time.
        codec: reads and writes message bodies; `JsonCodec()` by default. Use the producer's codec.
        middleware: context managers around each handler, outermost first.
        clock: the source of time; a test may pass a `FakeClock`.
        runner: the event loop for async handlers; by default a new one.

    Example:
        ```python
        from messaging.testing import deliver_raw

        result = deliver_raw(Marketing(), "this is no JSON")
        assert result.rejected
        ```
    """
    _check_consumer(consumer)
    copy = Outgoing(id=new_id(), body=body, attributes=attributes or {}, size=0)
    delivery = delivered(consumer.service, copy, receive_count, clock)
    return _dispatch(consumer, delivery, codec, middleware, runner)


def _check_consumer(consumer: object) -> None:
    if isinstance(consumer, type) and issubclass(consumer, Consumer):
        raise ConfigurationError(
            f"deliver({consumer.__qualname__}, ...): an instance is needed, "
            f"deliver({consumer.__qualname__}(...), ...)"
        )
    if not isinstance(consumer, Consumer):
        raise ConfigurationError(f"deliver({type(consumer).__qualname__}, ...): not a Consumer")


def _unhandled(consumer: Consumer, event: Event) -> str:
    handled = ", ".join(sorted(consumer.handlers)) or "nothing"
    return (
        f"{type(consumer).__qualname__} does not handle {type(event).event_type}, so the filter "
        f"policy keeps it from the queue; it handles {handled}"
    )


def delivered(queue: str, copy: Outgoing, receive_count: int, clock: Clock) -> Delivery:
    """A copy as `queue` would deliver it."""
    message_id = new_id()
    return Delivery(
        queue=queue,
        message_id=message_id,
        receipt=f"receipt-{message_id}",
        body=copy.body,
        attributes=copy.attributes,
        receive_count=receive_count,
        sent_at=clock.now(),
        received_at=clock.now(),
        group=copy.group,
    )


@dataclass
class _Seen:
    """The outermost middleware: records the call and its result."""

    calls: list[Call] = field(default_factory=list)
    errors: dict[str, BaseException] = field(default_factory=dict)
    """By message id: the exception of its last call."""

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        return self._watching([call])

    def around_batch(self, batch: BatchCall) -> AbstractContextManager[None]:
        return self._watching(batch.calls)

    @contextmanager
    def _watching(self, calls: Sequence[Call]) -> Iterator[None]:
        self.calls.extend(calls)
        for call in calls:
            self.errors.pop(call.delivery.message_id, None)
        try:
            yield
        except Outcome:
            raise
        except BaseException as error:
            for call in calls:
                self.errors[call.delivery.message_id] = error
            raise


def _dispatch(
    consumer: Consumer,
    delivery: Delivery,
    codec: Codec | None,
    middleware: Sequence[Middleware],
    runner: asyncio.Runner | None,
) -> Result:
    seen = _Seen()
    dispatch = Dispatcher(consumer, codec=codec, middleware=(seen, *middleware), outages=False)
    outcome = settled(dispatch(delivery), runner)
    return _result(seen, delivery, outcome)


def _result(seen: _Seen, delivery: Delivery, outcome: Outcome) -> Result:
    call = next((one for one in seen.calls if one.delivery is delivery), None)
    return Result(
        outcome=outcome,
        view=call.view if call else None,
        envelope=call.envelope if call else None,
        delivery=delivery,
        error=seen.errors.get(delivery.message_id),
        why=outcome.reason,
    )


def batch_settled(run: BatchRun, runner: asyncio.Runner | None = None) -> list[Outcome]:
    """The outcomes of a batch, one for each of its deliveries."""
    rest = run.start()
    if rest is not None:
        settled(acknowledged(rest), runner)
    return [one or give_back() for one in run.outcomes]


def settled(
    outcome: Outcome | Coroutine[Any, Any, Outcome], runner: asyncio.Runner | None = None
) -> Outcome:
    """The outcome itself, also for an async handler, wherever the test runs."""
    if isinstance(outcome, Outcome):
        return outcome
    if asyncio._get_running_loop() is not None:
        # An async test: its own loop waits for us, so the handler gets another one.
        return _beside(outcome)
    if runner is None:
        return asyncio.run(outcome)
    # By default, a runner runs everything in one context.
    return runner.run(outcome, context=copy_context())


def _beside(coroutine: Coroutine[Any, Any, Outcome]) -> Outcome:
    ended: list[Outcome] = []
    thread = threading.Thread(
        target=lambda: ended.append(asyncio.run(coroutine)), name="messaging-testing"
    )
    thread.start()
    thread.join()
    if not ended:
        raise RuntimeError("the async handler was interrupted; see the traceback above")
    return ended[0]
