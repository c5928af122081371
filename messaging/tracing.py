"""Traces with OpenTelemetry: one from `publish` through SNS and the queue to the handler.

    Publisher(topic, source="/cadastro", tracing=Tracing())
    Worker(BI(), broker=broker, middleware=[Tracing()])      # the same for a Lambda function

Needs the extra `otel`; spans are recorded where the program has set up an SDK. Attributes are ids,
types and names: no field of an event, and no text of an exception.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, get_current
from opentelemetry.trace import (
    Link,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    TracerProvider,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from messaging.consuming.batch_dispatch import BatchCall
from messaging.consuming.dispatch import Call
from messaging.envelope import TraceContext
from messaging.event import Event
from messaging.log_context import adding
from messaging.outcome import Ack, Outcome, Reject

__all__ = ["SEMANTIC_CONVENTIONS", "Tracing"]

SEMANTIC_CONVENTIONS = "1.44.0"
"""The version of OpenTelemetry's conventions for messaging, of status "Development", that names
spans and attributes here. There was no other one before, so OTEL_SEMCONV_STABILITY_OPT_IN has
nothing to choose from."""

_PROPAGATOR = TraceContextTextMapPropagator()
_OFF: AbstractContextManager[None] = nullcontext()


class Tracing:
    """A `Publisher`'s tracing, and a middleware for consumers.

    tracer_provider  by default the process's; where none is set, nothing is traced, and it costs
                     nothing but to look.
    """

    def __init__(self, *, tracer_provider: TracerProvider | None = None) -> None:
        self._given = tracer_provider
        self._known: tuple[TracerProvider, Tracer] | None = None

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        """The middleware: a CONSUMER span around the handler, a child of the publisher's."""
        tracer = self._tracer()
        return _OFF if tracer is None else _processing(tracer, call)

    def around_batch(self, batch: BatchCall) -> AbstractContextManager[None]:
        """The middleware of a handler that takes a batch: one CONSUMER span, with a link to the
        publisher's span of each message."""
        tracer = self._tracer()
        return _OFF if tracer is None else _processing_batch(tracer, batch)

    def producing(
        self, topic: str, kind: type[Event], given: str | None, *, alone: bool
    ) -> AbstractContextManager[_Producing]:
        """A PRODUCER span: "publish alunos" around a `publish`, "create alunos" for each event
        that is published with others."""
        tracer = self._tracer()
        if tracer is None:
            return nullcontext(_Producing(given))
        return _producing(tracer, topic, kind, given, "publish" if alone else "create")

    def _tracer(self) -> Tracer | None:
        provider = self._given or trace.get_tracer_provider()
        known = self._known
        if known is None or known[0] is not provider:
            if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
                return None
            schema = f"https://opentelemetry.io/schemas/{SEMANTIC_CONVENTIONS}"
            known = self._known = provider, provider.get_tracer("messaging", schema_url=schema)
        return known[1]


class _Producing:
    """The span of an event that is being published, and what of it goes into the envelope."""

    __slots__ = ("_span", "context")

    def __init__(self, context: str | None, span: Span | None = None) -> None:
        self.context = context
        self._span = span

    def named(self, id: str) -> None:
        """The event's id is this."""
        if self._span is not None:
            self._span.set_attribute("cloudevents.event_id", id)


@contextmanager
def _producing(
    tracer: Tracer, topic: str, kind: type[Event], given: str | None, operation: str
) -> Iterator[_Producing]:
    with tracer.start_as_current_span(
        f"{operation} {topic}",
        context=None if given is None else _extracted(given, getattr(given, "tracestate", "")),
        kind=SpanKind.PRODUCER,
        attributes={
            "messaging.system": "aws.sns",
            "messaging.operation.name": operation,
            "messaging.operation.type": "send" if operation == "publish" else "create",
            "messaging.destination.name": topic,
            "cloudevents.event_type": getattr(kind, "event_type", ""),
        },
        record_exception=False,
        set_status_on_exception=False,
    ) as span:
        carrier: dict[str, str] = {}
        _PROPAGATOR.inject(carrier)
        context = given
        if "traceparent" in carrier:
            context = TraceContext(carrier["traceparent"], carrier.get("tracestate", ""))
        try:
            yield _Producing(context, span)
        except BaseException as error:
            _failed(span, type(error).__qualname__)
            raise


@contextmanager
def _processing(tracer: Tracer, call: Call) -> Iterator[None]:
    envelope, delivery = call.envelope, call.delivery
    parent, links = _parent(call)
    with (
        tracer.start_as_current_span(
            f"process {delivery.queue}",
            context=parent,
            kind=SpanKind.CONSUMER,
            links=links,
            attributes={
                "messaging.system": "aws_sqs",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": delivery.queue,
                "messaging.consumer.group.name": call.service,
                "messaging.message.id": delivery.message_id,
                "cloudevents.event_id": envelope.id,
                "cloudevents.event_source": envelope.source,
                "cloudevents.event_type": envelope.type,
                "code.function.name": f"{type(call.consumer).__qualname__}.{call.handler.name}",
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        _judged(span),
    ):
        yield


@contextmanager
def _processing_batch(tracer: Tracer, batch: BatchCall) -> Iterator[None]:
    calls = batch.calls
    delivery = calls[0].delivery
    parents = [parent for parent, _ in map(_parent, calls) if parent is not None]
    published = [trace.get_current_span(one).get_span_context() for one in parents]
    with (
        tracer.start_as_current_span(
            f"process {delivery.queue}",
            kind=SpanKind.CONSUMER,
            links=[Link(one) for one in published if one.is_valid],
            attributes={
                "messaging.system": "aws_sqs",
                "messaging.operation.name": "process",
                "messaging.operation.type": "process",
                "messaging.destination.name": delivery.queue,
                "messaging.consumer.group.name": batch.service,
                "messaging.batch.message_count": len(calls),
                "cloudevents.event_type": batch.handler.event.event_type,
                "code.function.name": f"{type(batch.consumer).__qualname__}.{batch.handler.name}",
            },
            record_exception=False,
            set_status_on_exception=False,
        ) as span,
        _judged(span),
    ):
        yield
        for call in calls:
            said = batch.outcome(call)
            if said is not None and not isinstance(said, Ack):
                message = {"messaging.message.id": call.delivery.message_id}
                span.add_event(type(said).__name__.lower(), message)


@contextmanager
def _judged(span: Span) -> Iterator[None]:
    """Log records carry the span's ids; how what is inside ends is how the span does."""
    own = span.get_span_context()
    ids = trace.format_trace_id(own.trace_id), trace.format_span_id(own.span_id)
    with adding(trace_id=ids[0], span_id=ids[1]):
        try:
            yield
        except BaseException as error:
            _judge(span, error)
            raise


def _judge(span: Span, error: BaseException) -> None:
    """A handler that says Retry or Discard has not failed; what it rejects, or breaks, has."""
    name = type(error).__qualname__
    if isinstance(error, Ack):
        return
    if isinstance(error, Outcome) and not isinstance(error, Reject):
        span.add_event(name.lower())
    else:
        _failed(span, name)


def _failed(span: Span, name: str) -> None:
    # Without a description: the text of an exception may quote personal data.
    span.set_attribute("error.type", name)
    span.set_status(Status(StatusCode.ERROR))


def _parent(call: Call) -> tuple[Context | None, list[Link]]:
    """The context in which the event was published; what is current here becomes a link."""
    traceparent = call.envelope.traceparent
    state: Any = call.envelope.extensions.get("tracestate")
    if traceparent is None:  # whoever sent it with boto3 and its instrumentation put it here
        traceparent = _text(call.delivery.attributes, "traceparent")
        state = _text(call.delivery.attributes, "tracestate")
    if traceparent is None:
        return None, []
    here = trace.get_current_span().get_span_context()
    return _extracted(traceparent, state), [Link(here)] if here.is_valid else []


def _extracted(traceparent: str, tracestate: object) -> Context:
    carrier = {"traceparent": str(traceparent)}
    if isinstance(tracestate, str) and tracestate:
        carrier["tracestate"] = tracestate
    return _PROPAGATOR.extract(carrier, get_current())


def _text(attributes: Mapping[str, Any], name: str) -> str | None:
    value = attributes[name].value if name in attributes else None
    return value if isinstance(value, str) else None
