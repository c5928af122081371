"""The interface between a publisher and its tracing, and the encoder that adds trace contexts."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Any, Protocol

from messaging.envelope import TraceContext
from messaging.event import Event
from messaging.publishing.encoder import Encoder
from messaging.publishing.results import Published
from messaging.transport import Outgoing, TopicTransport, name_of, system_of

__all__ = [
    "Given",
    "Producing",
    "ProducerTracing",
    "TracedEncoder",
    "encoder_for",
    "traced",
]

Given = tuple[Event, str | None, datetime | None, str | None, float | None]
"""The arguments of `publish`: event, id, time, traceparent, timeout."""


class Producing(Protocol):
    """An event being published, with its trace context."""

    @property
    def context(self) -> str | None:
        """The traceparent for the envelope, or None."""
        ...

    def named(self, id: str) -> None:
        """Set the event's id."""
        ...


class ProducerTracing(Protocol):
    """`messaging.tracing.Tracing`, or your own.

    One with an attribute `well_formed` that is true says that each traceparent that it returns, if
    it is not the caller's, has W3C's form, and need not be checked.
    """

    def producing(
        self, topic: str, kind: type[Event], given: str | None, *, alone: bool, system: str
    ) -> AbstractContextManager[Producing] | str | None:
        """Wraps one event: if `alone` the whole `publish`, otherwise only the creation of its
        messages. If no span is needed, returns the traceparent that it carries, or None.

        given   the caller's traceparent.
        system  the topic's messaging system, in OpenTelemetry's terms: "aws.sns", "rabbitmq".
        """
        ...


class TracedEncoder(Encoder):
    """An `Encoder` that traces each event that is published without a `TraceContext`."""

    def __init__(self, tracing: ProducerTracing, topic: TopicTransport, **keywords: Any) -> None:
        super().__init__(max_bytes=topic.max_bytes, **keywords)
        # Not a copy of this one: that takes an object's attributes out of where Python finds them
        # fastest.
        self._untraced = Encoder(max_bytes=topic.max_bytes, **keywords)
        # With the same plans, the messages of both have the same attributes, which are then written
        # only once.
        self._untraced._plans = self._plans
        self._producing = tracing.producing
        self._trusted = self._untraced._checked = getattr(tracing, "well_formed", False)
        self._topic, self._system = name_of(topic), system_of(topic)

    def _within(
        self,
        around: AbstractContextManager[Producing],
        event: Event,
        id: str | None,
        time: datetime | None,
        fresh_id: Callable[[], str],
    ) -> list[Outgoing]:
        with around as making:
            messages = self._untraced(
                event, id=id, time=time, traceparent=making.context, fresh_id=fresh_id
            )
            if messages:
                making.named(messages[0].id)
            return messages


def encoder_for(topic: TopicTransport, tracing: ProducerTracing | None, **keywords: Any) -> Encoder:
    """The encoder of a publisher to `topic`; `keywords` are those of `Encoder`."""
    if tracing is None:
        return Encoder(max_bytes=topic.max_bytes, **keywords)
    return TracedEncoder(tracing, topic, **keywords)


def traced(
    tracing: ProducerTracing,
    topic: TopicTransport,
    publish: Callable[[Given], Published],
    given: Given,
) -> Published:
    """`publish`, within the span of the one event."""
    event, id, time, traceparent, timeout = given
    around = tracing.producing(
        name_of(topic), type(event), traceparent, alone=True, system=system_of(topic)
    )
    if around is None or isinstance(around, str):
        return publish((event, id, time, _traced(around), timeout))
    with around as producing:
        published = publish((event, id, time, _traced(producing.context), timeout))
        producing.named(published.id)
        return published


def _traced(context: str | None) -> TraceContext | None:
    """`context` in a form that the encoder does not trace once more."""
    if context is None or isinstance(context, TraceContext):
        return context
    return TraceContext(context)
