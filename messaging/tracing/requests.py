"""Creates spans for requests to a queue, for messages whose handler's span is recorded."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any
from weakref import ReferenceType

from opentelemetry.trace import SpanContext

from messaging.clock import SYSTEM_CLOCK
from messaging.observed import Name, ObservedQueue, Request, Tell
from messaging.tracing.provided import Provided
from messaging.transport import Delivery, Failure, QueueTransport

__all__ = ["Handled", "SeenReceives", "TracedQueue"]

_HANDLED = "_handled_in"
"""An additional attribute of a delivery: the span in which it was handled. So it is released
together with the delivery."""
_KNOWN = 1_000
"""Number of receives that are remembered: enough for ten thousand messages in flight."""
_Seen = tuple[float, int]
"""A receive: when it started, in seconds since the epoch, and its number of messages."""


class SeenReceives:
    """The most recent receives of one queue, by the time at which their messages arrived. Nothing
    is stored per message, because perhaps one in a hundred is looked up."""

    def __init__(self) -> None:
        self._known: dict[float, _Seen] = {}
        self._spans: dict[_Seen, SpanContext] = {}

    def came(self, deliveries: Sequence[Delivery], started: float) -> None:
        """Remember the receive that has just returned these messages."""
        if not deliveries:
            return
        known, at = self._known, deliveries[0].received_at
        known[at] = seen = started, len(deliveries)
        if deliveries[-1].received_at != at:  # usually all have the same time
            known.update((one.received_at, seen) for one in deliveries)
        if len(known) > _KNOWN:  # a dict keeps its order: drop the older half
            self._known = dict(list(known.items())[_KNOWN // 2 :])
            # Copies, because the threads of handlers add spans meanwhile.
            left, spans = set(self._known.copy().values()), list(self._spans.items())
            self._spans = {seen: span for seen, span in spans if seen in left}

    def span(
        self, provided: Provided, delivery: Delivery, parent: SpanContext | None
    ) -> SpanContext | None:
        """The span of the receive that returned a message. It is created for the first of its
        messages that is handled in a recorded span, as a child of that message's publish span."""
        ended = delivery.received_at
        seen = self._known.get(ended)
        if seen is None:
            return None
        made = self._spans.get(seen)
        if made is None:
            started, count = seen
            made = self._spans[seen] = provided.ended(
                f"receive {delivery.queue}",
                parent,
                _attributes("receive", "receive", delivery, count),
                # A long poll starts before its message is sent.
                started=max(started, min(delivery.sent_at, ended)),
                ended=ended,
            )
        return made


class _HandledIn:
    """Has the span in which a message was handled."""

    __slots__ = ("__weakref__", "span")

    def __init__(self, span: SpanContext) -> None:
        self.span = span


class Handled:
    """Messages that were handled in a recorded span and are not settled yet."""

    def __init__(self) -> None:
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

    def settled(self, provided: Provided, request: Request) -> None:
        """Create a CLIENT span for a request that settles messages, if one of them was handled in a
        recorded span: as its child, with links to the others."""
        known = [vars(one).get(_HANDLED) for one in request.deliveries]
        handled: list[SpanContext] = [one.span for one in known if one is not None]
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
    """A queue transport that remembers its receives, and creates spans for requests that settle
    messages handled in a recorded span."""

    # Perhaps one message in a hundred is recorded: reporting every request would be most of the
    # cost of the others.
    def __init__(
        self, queue: QueueTransport, tell: Tell, receives: SeenReceives, handled: Handled
    ) -> None:
        super().__init__(queue, tell)
        self._came = receives.came
        self._any = handled.any

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        started = SYSTEM_CLOCK.now()
        deliveries = self._queue.receive(limit, wait)
        self._came(deliveries, started)
        return deliveries

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        return super().delete(deliveries) if self._any() else self._queue.delete(deliveries)

    def _begin_receive(self, limit: int, wait: float) -> Generator[Any, None, Any] | None:
        steps = self._queue.begin_receive(limit, wait)  # type: ignore[attr-defined]  # it has one
        return None if steps is None else self._receiving(steps)

    def _receiving(self, steps: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        started = SYSTEM_CLOCK.now()
        deliveries = yield from steps
        self._came(deliveries, started)
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
