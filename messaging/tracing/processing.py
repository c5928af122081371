"""Surrounds the handler of one message with a CONSUMER span, as a child of the publisher's."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractContextManager
from contextvars import Token
from time import time_ns

from opentelemetry.context import Context, detach
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
)

from messaging.consuming.dispatch import Call
from messaging.log_context import adding
from messaging.outcome import Ack, Outcome, Reject
from messaging.tracing.contexts import (
    Carried,
    LazyContext,
    current,
    extracted,
    linked,
    logged_in,
    put,
    put_back,
    within,
)
from messaging.tracing.ended import DirectSpans, failed
from messaging.tracing.provided import Provided
from messaging.tracing.requests import Handled

__all__ = ["LazyProcessing", "Processing", "judge"]


class Processing:
    """Surrounds a handler with its span, which is the current one inside.

    said      what came with the message (`carried`).
    names     the baggage entries that are taken from it.
    """

    __slots__ = (
        *("_call", "_handled", "_logged", "_names"),
        *("_provided", "_said", "_span", "_token"),
    )

    def __init__(
        self,
        provided: Provided,
        call: Call,
        said: Carried,
        names: Collection[str],
        handled: Handled,
    ) -> None:
        self._provided = provided
        self._call = call
        self._said = said
        self._names = names
        self._handled = handled
        self._span: Span
        self._token: Token[Context]
        self._logged: AbstractContextManager[None]

    def __enter__(self) -> None:
        traceparent, state, baggage = self._said
        names = self._names
        parent = None if traceparent is None else extracted(traceparent, state, baggage, names)
        here = linked(None) if parent is not None and current() else None
        call, provided = self._call, self._provided
        self._span = span = _started(provided, call, parent, here)
        _link(self._handled, provided, span, call, None if parent is None else linked(parent))
        self._token = put(within(span, parent if names and baggage else None))
        self._logged = logged_in(span)
        self._logged.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: object
    ) -> None:
        span = self._span
        self._logged.__exit__(None, None, None)
        detach(self._token)
        judge(span, error)
        if span.is_recording():
            self._handled.note(self._call.delivery, span.get_span_context())
        span.end()


class LazyProcessing:
    """The same, but the span is only started if the handler looks at its trace, or fails. If not,
    as nearly always, a span that is over is created after it.

    parent  the publisher's span, which is recorded. Nothing else is in the current context.
    """

    __slots__ = (
        *("_call", "_direct", "_handled", "_lock", "_logged", "_parent"),
        *("_provided", "_span", "_started", "_token"),
    )

    def __init__(
        self,
        provided: Provided,
        direct: DirectSpans,
        call: Call,
        parent: SpanContext,
        handled: Handled,
    ) -> None:
        self._provided = provided
        self._direct = direct
        self._call = call
        self._parent = parent
        self._handled = handled
        self._span: Span | None = None
        self._lock = threading.RLock()
        self._started = 0
        self._token: Token[Context]
        self._logged: AbstractContextManager[None]

    def __enter__(self) -> None:
        self._started = time_ns()
        made = _ProcessContext()
        made.span_of = self.span
        self._token = put(made)
        self._logged = adding(trace_id=f"{self._parent.trace_id:032x}", span_id=_SpanId(self.span))
        self._logged.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: object
    ) -> None:
        self._logged.__exit__(None, None, None)
        put_back(self._token)
        # Both lead back to here, and the message is to be released without the garbage collector.
        del self._logged, self._token
        call, direct, parent = self._call, self._direct, self._parent
        if error is not None:
            self.span()
        with self._lock:
            started = self._span
            # If it was not, who still has the context is to find one with the same context.
            span = self._span = started or NonRecordingSpan(direct.child(parent))
            # Who has that must not keep the message, which is personal data.
            del self._call
        own = span.get_span_context()
        self._handled.note(call.delivery, own)
        if started is not None:
            judge(started, error)
            started.end()
            return
        received = self._handled.received(self._provided, call.delivery, parent)
        ended = direct.made(
            f"process {call.delivery.queue}",
            own,
            parent,
            SpanKind.CONSUMER,
            _attributes(call),
            started=self._started,
            ended=time_ns(),
            links=() if received is None else (received,),
        )
        direct.end(ended)

    def span(self) -> Span:
        """The span, which is started now if it has not been."""
        with self._lock:
            if self._span is not None:
                return self._span
            call = self._call
            parent = within(NonRecordingSpan(self._parent), Context())
            self._span = span = _started(self._provided, call, parent, None, self._started)
        # Only now, because an exporter may look at the current span, log, and take its time.
        _link(self._handled, self._provided, span, call, self._parent)
        return span


class _ProcessContext(LazyContext):
    """The context of a handler whose span may not be started."""

    __slots__ = ("span_of",)

    span_of: Callable[[], Span]

    def span(self) -> Span:
        return self.span_of()


class _SpanId:
    """A text that is only made if something is logged."""

    __slots__ = ("_span",)

    def __init__(self, span: Callable[[], Span]) -> None:
        self._span = span

    def __str__(self) -> str:
        return f"{self._span().get_span_context().span_id:016x}"


def _started(
    provided: Provided,
    call: Call,
    parent: Context | None,
    here: SpanContext | None,
    at: int | None = None,
) -> Span:
    return provided.tracer.start_span(
        f"process {call.delivery.queue}",
        context=parent,
        kind=SpanKind.CONSUMER,
        links=() if here is None else (Link(here),),
        attributes=_attributes(call),
        start_time=at,
    )


def _link(
    handled: Handled,
    provided: Provided,
    span: Span,
    call: Call,
    published: SpanContext | None,
) -> None:
    """Link a span to the receive that returned its message."""
    if span.is_recording():
        received = handled.received(provided, call.delivery, published)
        if received is not None:
            span.add_link(received)


def _attributes(call: Call) -> Mapping[str, str]:
    envelope, delivery = call.envelope, call.delivery
    return {
        "messaging.system": delivery.system,
        "messaging.operation.name": "process",
        "messaging.operation.type": "process",
        "messaging.destination.name": delivery.queue,
        "messaging.consumer.group.name": call.service,
        "messaging.message.id": delivery.message_id,
        "cloudevents.event_id": envelope.id,
        "cloudevents.event_source": envelope.source,
        "cloudevents.event_type": envelope.type,
        "code.function.name": f"{type(call.consumer).__qualname__}.{call.handler.name}",
    }


def judge(span: Span, error: BaseException | None) -> None:
    """Add to a span how its handler ended. One that asks for Retry or Discard has not failed; one
    that rejects or raises has."""
    if error is None or isinstance(error, Ack):
        return
    name = type(error).__qualname__
    if isinstance(error, Outcome) and not isinstance(error, Reject):
        span.add_event(name.lower())
    else:
        failed(span, name)
