"""OpenTelemetry tracing: one trace from `publish` through SNS and the queue to the handler.

    Publisher(topic, source="/cadastro", tracing=Tracing())
    Worker(BI(), broker=broker, middleware=[Tracing()])      # the same for a Lambda function

Requires the extra `otel`; spans are recorded if the program has set up an SDK. Attributes are ids,
types and names: never fields of an event, nor the text of an exception.
"""

from __future__ import annotations

import contextvars
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace

from opentelemetry import trace
from opentelemetry.trace import (
    Link,
    NoOpTracerProvider,
    ProxyTracerProvider,
    Span,
    SpanContext,
    SpanKind,
    TracerProvider,
)

from messaging.consuming.batch_dispatch import BatchCall
from messaging.consuming.dispatch import Call
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.observed import Request
from messaging.outcome import Ack
from messaging.publishing.traced import Producing
from messaging.tracing.contexts import (
    EVEN,
    MessageContext,
    Unsampled,
    carried,
    current,
    extracted,
    linked,
    logged_in,
    packed,
    put,
    remote,
    text_of,
    unsampled,
)
from messaging.tracing.processing import LazyProcessing, Processing, judge
from messaging.tracing.producing import DirectProducing, SpanProducing
from messaging.tracing.provided import SEMANTIC_CONVENTIONS, Provided
from messaging.tracing.requests import Handled, TracedQueue
from messaging.tracing.surroundings import Surroundings
from messaging.transport import QueueTransport

__all__ = ["SEMANTIC_CONVENTIONS", "Tracing"]

_OFF: AbstractContextManager[None] = nullcontext()
_API = vars(trace)


class Tracing:
    """Tracing for a `Publisher`, and a middleware for consumers.

    Args:
        tracer_provider: by default the process's; if none is set, nothing is traced, and only the
            check for one costs anything.
        baggage: names of the W3C Baggage entries that travel with events; others do not. Every
            service sees their values, so they must not contain personal data.

    Raises:
        ConfigurationError: if `baggage` is a single text.

    Example:
        ```python
        from messaging.tracing import Tracing

        tracing = Tracing()
        publisher = Publisher(broker.topic(), source="/cadastro", tracing=tracing)
        # Worker(..., middleware=[tracing])
        ```
    """

    def __init__(
        self, *, tracer_provider: TracerProvider | None = None, baggage: Collection[str] = ()
    ) -> None:
        if isinstance(baggage, str):
            raise ConfigurationError(f'baggage={baggage!r}: give names, as in ("{baggage}",)')
        self._given = tracer_provider
        self._baggage = tuple(baggage)
        self._known: Provided | None = None
        self._heeds = False
        self._looked = False
        self._handled = Handled()
        self._around: Surroundings | None = None

    def __call__(self, call: Call) -> AbstractContextManager[None]:
        """The middleware: a CONSUMER span around the handler, as a child of the publisher's."""
        provided = self._provided()
        if provided is None:
            return _OFF
        said = carried(call)
        traceparent, state, baggage = said
        if provided.heeds and unsampled(traceparent) and not (self._baggage and baggage):
            return Unsampled(str(traceparent), state if isinstance(state, str) else "")
        if provided.roots is not None and traceparent is None and linked(None) is None:
            drawn = provided.roots.next()
            if drawn is not None:
                return Unsampled(drawn)
            provided = replace(provided, tracer=provided.roots.tracer)
        if traceparent is not None and not (current() or (self._baggage and baggage)):
            direct, parent = provided.direct, remote(traceparent, state)
            if direct is not None and parent.trace_flags.sampled:
                return LazyProcessing(provided, direct, call, parent, self._handled)
        return Processing(provided, call, said, self._baggage, self._handled)

    def lets_pass(self, traceparent: str, context: contextvars.Context) -> bool:
        """Return True if a message's trace is not recorded, so that the handler only needs the
        trace as its current one.

        Args:
            traceparent: the traceparent of a message in this library's own form, or "".
            context: the context in which the handler will run.
        """
        if not self._heeds:
            return self._provided() is None
        if not traceparent or traceparent[54] not in EVEN or context.run(current):
            return False
        made = MessageContext()
        made.traceparent = traceparent
        context.run(put, made)
        return True

    def around_batch(self, batch: BatchCall) -> AbstractContextManager[None]:
        """The middleware for a handler that takes a batch: one CONSUMER span, with a link to each
        message's publisher span.

        Args:
            batch: the call for the batch.
        """
        provided = self._provided()
        if provided is None:
            return _OFF
        if provided.roots is not None and linked(None) is None:  # it begins a trace
            drawn = provided.roots.next()
            if drawn is not None:
                return Unsampled(drawn)
            provided = replace(provided, tracer=provided.roots.tracer)
        return _processing_batch(provided, batch, self._handled)

    def around_queue(self, queue: QueueTransport) -> QueueTransport:
        """Wrap the queue of a worker: requests that settle a message whose handler's span is
        recorded get CLIENT spans.

        Args:
            queue: the worker's queue.
        """
        return TracedQueue(queue, self._settled, self._handled)

    def _settled(self, request: Request) -> None:
        provided = self._provided()
        if provided is not None:
            self._handled.settled(provided, request)

    @property
    def well_formed(self) -> bool:
        """True because the traceparents that `producing` returns have W3C's form, unless a subclass
        returns its own."""
        return type(self).producing is Tracing.producing

    def producing(
        self,
        topic: str,
        kind: type[Event],
        given: str | None,
        *,
        alone: bool,
        system: str = "aws.sns",
    ) -> AbstractContextManager[Producing] | str | None:
        """A PRODUCER span: "publish alunos" around a `publish`, "create alunos" for each event that
        is published with others. If no span is needed, the traceparent that the event carries, or
        None.

        Args:
            topic: the topic's name.
            kind: the event type.
            given: the context that the caller passed, if any.
            alone: whether the event is published on its own.
            system: the topic's messaging system, in OpenTelemetry's terms.
        """
        provider = self._given or _API.get("_TRACER_PROVIDER")
        if given is None:
            around = self._around
            if around is None or around.context is not current() or around.provider is not provider:
                provided = self._provided()
                if provided is None:
                    return None
                around = self._around = Surroundings.of_now(provided, self._baggage)
            try:
                drawn = around.ready()
            except IndexError:
                drawn = around.drawn()
            if drawn is not None:
                return drawn
            provided, baggage, parent = around.provided, around.baggage, around.parent
            begins = around.begins
        else:
            provided = self._provided()
            if provided is None:
                return given
            baggage = packed(self._baggage) if self._baggage else ""
            if provided.heeds and not baggage and unsampled(given):
                return given
            parent, begins = remote(given, getattr(given, "tracestate", "")), False
            baggage = baggage or getattr(given, "baggage", "")
        operation = "publish" if alone else "create"
        name, said = f"{operation} {topic}", _attributes(system, topic, kind, operation)
        direct = None if alone else provided.direct
        if direct is not None and (begins or (parent is not None and parent.trace_flags.sampled)):
            return DirectProducing(direct, name, said, parent, provided.tracer, baggage)
        span = provided.tracer.start_span(
            name,
            context=None if given is None else extracted(given, getattr(given, "tracestate", "")),
            kind=SpanKind.PRODUCER,
            attributes=said,
        )
        return SpanProducing(text_of(span.get_span_context(), baggage), span)

    def _provided(self) -> Provided | None:
        provider = self._given
        if provider is None:
            # While none is set, the API's own function reads the environment each time, which would
            # be most of the cost of tracing without an SDK. After its first call, its variable says
            # the same; if that variable disappears one day, the function is called.
            if self._looked and _API.get("_TRACER_PROVIDER", trace) is None:
                return None
            provider, self._looked = trace.get_tracer_provider(), True
        known = self._known
        if known is None or known.provider is not provider:
            if isinstance(provider, ProxyTracerProvider | NoOpTracerProvider):
                return None
            known = self._known = Provided.of(provider)
            self._heeds = known.heeds
        return known


def _attributes(system: str, topic: str, kind: type[Event], operation: str) -> dict[str, str]:
    return {
        "messaging.system": system,
        "messaging.operation.name": operation,
        "messaging.operation.type": "send" if operation == "publish" else "create",
        "messaging.destination.name": topic,
        "cloudevents.event_type": getattr(kind, "event_type", ""),
    }


@contextmanager
def _processing_batch(provided: Provided, batch: BatchCall, handled: Handled) -> Iterator[None]:
    calls = batch.calls
    delivery = calls[0].delivery
    published: list[SpanContext] = []
    for call in calls:
        traceparent, state, _ = carried(call)
        one = None if traceparent is None else linked(extracted(traceparent, state))
        if one is not None:
            published.append(one)
    with (
        provided.tracer.start_as_current_span(
            f"process {delivery.queue}",
            kind=SpanKind.CONSUMER,
            links=[Link(one) for one in published],
            attributes={
                "messaging.system": delivery.system,
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
        try:
            yield
        finally:
            if span.is_recording():
                for call in calls:
                    handled.note(call.delivery, span.get_span_context())
        for call in calls:
            said = batch.outcome(call)
            if said is not None and not isinstance(said, Ack):
                message = {"messaging.message.id": call.delivery.message_id}
                span.add_event(type(said).__name__.lower(), message)


@contextmanager
def _judged(span: Span) -> Iterator[None]:
    """Adds the span's ids to log records, and ends the span with the outcome of the block."""
    with logged_in(span):
        try:
            yield
        except BaseException as error:
            judge(span, error)
            raise
