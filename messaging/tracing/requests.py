"""Spans of requests to a queue, for messages whose handler's span is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, Tracer

from messaging.observed import Request
from messaging.transport import Delivery

__all__ = ["note_handled", "received_with", "settled", "came"]

_RECEIVED, _HANDLED = "_received_by", "_handled_in"
"""What is noted beside the fields of a delivery: the receive that brought it, and the span in which
it was handled. So it goes when the delivery does."""


@dataclass(slots=True)
class _ReceiveSpan:
    """One receive, and its span once a message of it is handled in a span that is recorded."""

    request: Request
    span: SpanContext | None = None


def came(request: Request) -> None:
    """Note with its messages which receive brought them."""
    if request.deliveries:
        shared = _ReceiveSpan(request)
        for one in request.deliveries:
            vars(one)[_RECEIVED] = shared


def received_with(tracer: Tracer, delivery: Delivery, parent: Context | None) -> list[Link]:
    """A link to the span of the receive that brought a message, which is made for the first
    message of it that is handled in a recorded span; and is a child of that one's publish."""
    shared = vars(delivery).get(_RECEIVED)
    if shared is None:
        return []
    if shared.span is None:
        request = shared.request
        began = max(request.started, min(delivery.sent_at, request.ended))
        span = tracer.start_span(
            f"receive {request.to}",
            context=parent,
            kind=SpanKind.CLIENT,
            attributes=_attributes(request, "receive"),
            start_time=_nanoseconds(began),  # a long poll begins before its message is there
        )
        span.end(_nanoseconds(request.ended))
        shared.span = span.get_span_context()
    return [Link(shared.span)]


def note_handled(delivery: Delivery, span: SpanContext) -> None:
    """What settles it belongs to the trace of this span."""
    vars(delivery)[_HANDLED] = span


def settled(tracer: Tracer, request: Request) -> None:
    """A CLIENT span for a request that settles messages, if one of them was handled in a recorded
    span: its child, with links to the others."""
    known = [vars(one).get(_HANDLED) for one in request.deliveries]
    handled: list[SpanContext] = [one for one in known if one is not None]
    if not handled:
        return
    parent, *others = handled
    span = tracer.start_span(
        f"{request.name} {request.to}",
        context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
        kind=SpanKind.CLIENT,
        links=[Link(one) for one in others],
        attributes=_attributes(request, "settle"),
        start_time=_nanoseconds(request.started),
    )
    if request.error or request.failed:
        span.set_attribute("error.type", request.error or "_OTHER")
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(request.ended))


def _attributes(request: Request, kind: str) -> dict[str, Any]:
    return {
        "messaging.system": request.deliveries[0].system,
        "messaging.operation.name": request.name,
        "messaging.operation.type": kind,
        "messaging.destination.name": request.to,
        "messaging.batch.message_count": request.count,
    }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
