"""Spans of requests to a queue, for messages whose handler's span is recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any
from weakref import ReferenceType

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
)

from messaging.clock import SYSTEM_CLOCK
from messaging.observed import Name, ObservedQueue, Request, Tell
from messaging.tracing.contexts import within
from messaging.transport import Delivery, Failure, QueueTransport

__all__ = ["Handled", "SeenReceives", "TracedQueue"]

_HANDLED = "_handled_in"
"""Noted beside the fields of a delivery: the span in which it was handled. So it goes when the
delivery does."""
_KNOWN = 1_000
"""Receives that are remembered: ten thousand messages in hand."""


class _SeenReceive:
    """One receive, and its span once a message of it is handled in a span that is recorded."""

    __slots__ = ("count", "ended", "span", "started")

    def __init__(self, count: int, started: float, ended: float) -> None:
        self.count = count
        self.started = started
        self.ended = ended
        self.span: SpanContext | None = None


class SeenReceives:
    """The last receives, by when their messages came: nothing is noted with each message, since of
    a hundred perhaps one is asked for."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, float], _SeenReceive] = {}

    def came(self, to: str, deliveries: Sequence[Delivery], started: float) -> None:
        """Remember the receive that has brought these messages, just now."""
        if not deliveries:
            return
        one = _SeenReceive(len(deliveries), started, SYSTEM_CLOCK.now())
        at = deliveries[0].received_at
        self._known[to, at] = one
        if deliveries[-1].received_at != at:  # as a rule they all came at once
            for delivery in deliveries:
                self._known[to, delivery.received_at] = one
        if len(self._known) > _KNOWN:  # a dict keeps the order; the older half goes
            self._known = dict(list(self._known.items())[_KNOWN // 2 :])

    def span(
        self, tracer: Tracer, delivery: Delivery, parent: Context | None
    ) -> SpanContext | None:
        """The span of the receive that brought a message, which is made for the first message of
        it that is handled in a recorded span; and is a child of that one's publish."""
        seen = self._known.get((delivery.queue, delivery.received_at))
        if seen is None:
            return None
        if seen.span is None:
            began = max(seen.started, min(delivery.sent_at, seen.ended))
            span = tracer.start_span(
                f"receive {delivery.queue}",
                context=parent,
                kind=SpanKind.CLIENT,
                attributes=_attributes("receive", "receive", delivery, seen.count),
                start_time=_nanoseconds(began),  # a long poll begins before its message is there
            )
            span.end(_nanoseconds(seen.ended))
            seen.span = span.get_span_context()
        return seen.span


class _HandledIn:
    """The span in which a message was handled."""

    __slots__ = ("__weakref__", "span")

    def __init__(self, span: SpanContext) -> None:
        self.span = span


class Handled:
    """Messages that were handled in a recorded span, for what settles them."""

    def __init__(self) -> None:
        self._waiting: dict[int, ReferenceType[_HandledIn]] = {}
        self.any = self._waiting.__len__
        """0: none that is to be settled was handled in a recorded span, as nearly always."""

    def note(self, delivery: Delivery, span: SpanContext) -> None:
        """What settles it belongs to the trace of this span."""
        noted = _HandledIn(span)
        key, forget = id(noted), self._waiting.pop
        self._waiting[key] = ReferenceType(noted, lambda _: forget(key, None))
        vars(delivery)[_HANDLED] = noted

    def settled(self, tracer: Tracer, request: Request) -> None:
        """A CLIENT span for a request that settles messages, if one of them was handled in a
        recorded span: its child, with links to the others."""
        known = [getattr(one, _HANDLED, None) for one in request.deliveries]
        handled: list[SpanContext] = [one.span for one in known if one is not None]
        if not handled:
            return
        parent, *others = handled
        span = tracer.start_span(
            f"{request.name} {request.to}",
            context=within(NonRecordingSpan(parent)),
            kind=SpanKind.CLIENT,
            links=[Link(one) for one in others],
            attributes=_attributes(request.name, "settle", request.deliveries[0], request.count),
            start_time=_nanoseconds(request.started),
        )
        if request.error or request.failed:
            span.set_attribute("error.type", request.error or "_OTHER")
            span.set_status(Status(StatusCode.ERROR))
        span.end(_nanoseconds(request.ended))


class TracedQueue(ObservedQueue):
    """A queue's transport whose receives are remembered, and which tells of what settles messages
    that were handled in a recorded span."""

    # Of a hundred messages perhaps one is recorded: to tell of each request would be most of what
    # the others cost.
    def __init__(
        self, queue: QueueTransport, tell: Tell, receives: SeenReceives, handled: Handled
    ) -> None:
        super().__init__(queue, tell)
        self._came = receives.came
        self._any = handled.any

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        started = SYSTEM_CLOCK.now()
        deliveries = self._queue.receive(limit, wait)
        self._came(self._queue.name, deliveries, started)
        return deliveries

    def _begin_receive(self, limit: int, wait: float) -> Generator[Any, None, Any] | None:
        steps = self._queue.begin_receive(limit, wait)  # type: ignore[attr-defined]  # it has one
        return None if steps is None else self._receiving(steps)

    def _receiving(self, steps: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        started = SYSTEM_CLOCK.now()
        deliveries = yield from steps
        self._came(self._queue.name, deliveries, started)
        return deliveries

    def _begin_delete(self, deliveries: Sequence[Delivery]) -> Generator[Any, None, Any] | None:
        if self._any():
            return super()._begin_delete(deliveries)
        steps: Generator[Any, None, Any] | None
        steps = self._queue.begin_delete(deliveries)  # type: ignore[attr-defined]  # it has one
        return steps

    def _settle(
        self, name: Name, call: Callable[[], Sequence[Failure]], deliveries: Sequence[Delivery]
    ) -> Sequence[Failure]:
        return super()._settle(name, call, deliveries) if self._any() else call()


def _attributes(name: str, kind: str, of: Delivery, count: int) -> dict[str, Any]:
    return {
        "messaging.system": of.system,
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": of.queue,
        "messaging.batch.message_count": count,
    }


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1_000_000_000)
