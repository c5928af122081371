"""Spans of requests to a queue, for messages whose handler's span is recorded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, Tracer

from messaging.observed import Request
from messaging.transport import Delivery

__all__ = ["SeenReceives", "note_handled", "settled"]

_HANDLED = "_handled_in"
"""Noted beside the fields of a delivery: the span in which it was handled. So it goes when the
delivery does."""
_KNOWN = 1_000
"""SeenReceives that are remembered: ten thousand messages in hand."""


@dataclass(slots=True)
class _SeenReceive:
    """One receive, and its span once a message of it is handled in a span that is recorded."""

    to: str
    count: int
    system: str
    started: float
    ended: float
    span: SpanContext | None = None


class SeenReceives:
    """The last receives, by when their messages came: nothing is noted with each message, since of
    a hundred perhaps one is asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, float], _SeenReceive] = {}

    def came(self, request: Request) -> None:
        """Remember which receive brought its messages."""
        deliveries, to = request.deliveries, request.to
        if not deliveries:
            return
        one = _SeenReceive(to, request.count, deliveries[0].system, request.started, request.ended)
        at = deliveries[0].received_at
        self._known[to, at] = one
        if deliveries[-1].received_at != at:  # as a rule they all came at once
            for delivery in deliveries:
                self._known[to, delivery.received_at] = one
        if len(self._known) > _KNOWN:  # a dict keeps the order; the older half goes
            self._known = dict(list(self._known.items())[_KNOWN // 2 :])

    def link(self, tracer: Tracer, delivery: Delivery, parent: Context | None) -> list[Link]:
        """A link to the span of the receive that brought a message, which is made for the first
        message of it that is handled in a recorded span; and is a child of that one's publish."""
        shared = self._known.get((delivery.queue, delivery.received_at))
        if shared is None:
            return []
        if shared.span is None:
            began = max(shared.started, min(delivery.sent_at, shared.ended))
            span = tracer.start_span(
                f"receive {shared.to}",
                context=parent,
                kind=SpanKind.CLIENT,
                attributes=_attributes("receive", "receive", shared),
                start_time=_nanoseconds(began),  # a long poll begins before its message is there
            )
            span.end(_nanoseconds(shared.ended))
            shared.span = span.get_span_context()
        return [Link(shared.span)]


def note_handled(delivery: Delivery, span: SpanContext) -> None:
    """What settles it belongs to the trace of this span."""
    vars(delivery)[_HANDLED] = span


def settled(tracer: Tracer, request: Request) -> None:
    """A CLIENT span for a request that settles messages, if one of them was handled in a recorded
    span: its child, with links to the others."""
    known = [getattr(one, _HANDLED, None) for one in request.deliveries]
    handled: list[SpanContext] = [one for one in known if one is not None]
    if not handled:
        return
    parent, *others = handled
    span = tracer.start_span(
        f"{request.name} {request.to}",
        context=trace.set_span_in_context(trace.NonRecordingSpan(parent)),
        kind=SpanKind.CLIENT,
        links=[Link(one) for one in others],
        attributes=_attributes(
            request.name,
            "settle",
            _SeenReceive(request.to, request.count, request.deliveries[0].system, 0, 0),
        ),
        start_time=_nanoseconds(request.started),
    )
    if request.error or request.failed:
        span.set_attribute("error.type", request.error or "_OTHER")
        span.set_status(Status(StatusCode.ERROR))
    span.end(_nanoseconds(request.ended))


def _attributes(name: str, kind: str, of: _SeenReceive) -> dict[str, Any]:
    return {
        "messaging.system": of.system,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": of.to,
        "messaging.batch.message_count": of.count,
    }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
