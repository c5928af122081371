"""Creates spans for requests to a queue, for messages whose handler's span is recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any
from weakref import ReferenceType, WeakKeyDictionary

from opentelemetry.trace import SpanContext

from messaging.observed import Name, ObservedQueue, Request, Tell
from messaging.tracing.provided import Provided
from messaging.transport import Delivery, Failure, QueueTransport, Receive

__all__ = ["Handled", "TracedQueue"]

_HANDLED = "_handled_in"
"""An additional attribute of a delivery: the span in which it was handled. So it is released
together with the delivery."""


class _HandledIn:
    """Has the span in which a message was handled."""

    __slots__ = ("__weakref__", "span")

    def __init__(self, span: SpanContext) -> None:
        self.span = span


class Handled:
    """Messages that were handled in a recorded span: which of them are not settled yet, and the
    spans of the requests that returned them."""

    def __init__(self) -> None:
        self._received: WeakKeyDictionary[Receive, SpanContext] = WeakKeyDictionary()
        self._waiting: dict[int, ReferenceType[_HandledIn]] = {}
        self.any = self._waiting.__len__
        """0 if no unsettled message was handled in a recorded span, as is nearly always the
        case."""

    def note(self, delivery: Delivery, span: SpanContext) -> None:
        """Remember that the request that settles it belongs to the trace of this span."""
        noted = _HandledIn(span)
        key, forget = id(noted), self._waiting.pop
        self._waiting[key] = ReferenceType(noted, lambda _: forget(key, None))
        vars(delivery)[_HANDLED] = noted

    def received(
        self, provided: Provided, delivery: Delivery, parent: SpanContext | None
    ) -> SpanContext | None:
        """The span of the receive that returned a message, if its transport says which that was. It
        is created for the first of its messages that is handled in a recorded span, as a child of
        that message's publish span."""
        receive = delivery.receive
        if receive is None:
            return None
        made = self._received.get(receive)
        if made is None:

            def first(own: SpanContext) -> bool:
                # Another of its messages may be handled in another thread, at the same time.
                nonlocal made
                made = self._received.setdefault(receive, own)
                return made is own

            provided.ended(
                f"receive {delivery.queue}",
                parent,
                _attributes("receive", "receive", delivery, receive.count),
                # A long poll starts before its message is sent.
                started=max(receive.started, min(delivery.sent_at, receive.ended)),
                ended=receive.ended,
                wanted=first,
            )
        return made

    def settled(self, provided: Provided, request: Request) -> None:
        """Create a CLIENT span for a request that settles messages, if one of them was handled in a
        recorded span: as its child, with links to the others."""
        known = [vars(one) for one in request.deliveries]
        handled: list[SpanContext] = [one[_HANDLED].span for one in known if _HANDLED in one]
        if not handled:
            return
        provided.ended(
            f"{request.name} {request.to}",
            handled[0],
            _attributes(request.name, "settle", request.deliveries[0], request.count),
            started=request.started,
            ended=request.ended,
            links=handled[1:],
            error=(request.error or "_OTHER") if request.error or request.failed else None,
        )


class TracedQueue(ObservedQueue):
    """A queue transport that creates spans for requests that settle messages handled in a recorded
    span."""

    # Perhaps one message in a hundred is recorded: reporting every request would be most of the
    # cost of the others. Receives are found in their messages.
    def __init__(self, queue: QueueTransport, tell: Tell, handled: Handled) -> None:
        super().__init__(queue, tell)
        self._any = handled.any
        for name in ("receive", "begin_receive"):
            if (direct := getattr(queue, name, None)) is not None:
                setattr(self, name, direct)

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return super().delete(deliveries) if self._any() else self._queue.delete(deliveries)

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
