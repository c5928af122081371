"""Surrounds an event that is published with a PRODUCER span."""

# Classes, because a generator as a context manager around another one costs half a span.

from __future__ import annotations

from contextvars import Token
from time import time_ns

from opentelemetry.context import Context, detach
from opentelemetry.trace import (
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Tracer,
)

from messaging.tracing.contexts import put, put_back, text_of, within
from messaging.tracing.ended import DirectSpans, failed

__all__ = ["DirectProducing", "SpanProducing"]


class SpanProducing:
    """Surrounds an event with a span, which is the current one until it ends here.

    context  the traceparent for the envelope.
    """

    __slots__ = ("_span", "_token", "context")

    def __init__(self, context: str, span: Span) -> None:
        self.context = context
        self._span = span
        self._token: Token[Context]

    def named(self, id: str) -> None:
        """Set the event's id."""
        self._span.set_attribute("cloudevents.event_id", id)

    def __enter__(self) -> SpanProducing:
        self._token = put(within(self._span))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: object
    ) -> None:
        detach(self._token)
        span = self._span
        if error is not None:
            failed(span, type(error).__qualname__)
        span.end()


class DirectProducing:
    """The same with a span that is created when it is over: while its messages are made, there is
    nothing but its context to look at.

    parent  its parent, which is recorded; None if it begins a trace with ids of `tracer`.
    """

    __slots__ = (
        *("_attributes", "_direct", "_name", "_own"),
        *("_parent", "_started", "_token", "context"),
    )

    def __init__(
        self,
        direct: DirectSpans,
        name: str,
        attributes: dict[str, str],
        parent: SpanContext | None,
        tracer: Tracer,
        baggage: str,
    ) -> None:
        self._direct = direct
        self._name = name
        self._attributes = attributes
        self._parent = parent
        self._own = own = direct.root(tracer) if parent is None else direct.child(parent)
        self.context = text_of(own, baggage)
        self._started = time_ns()
        self._token: Token[Context]

    def named(self, id: str) -> None:
        """Set the event's id."""
        self._attributes["cloudevents.event_id"] = id

    def __enter__(self) -> DirectProducing:
        self._token = put(within(NonRecordingSpan(self._own)))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, place: object
    ) -> None:
        put_back(self._token)
        span = self._direct.made(
            self._name,
            self._own,
            self._parent,
            SpanKind.PRODUCER,
            self._attributes,
            started=self._started,
            ended=time_ns(),
            error=None if error is None else type(error).__qualname__,
        )
        self._direct.end(span)
