"""What an event that is published takes from where that happens: the current span and baggage."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from opentelemetry.context import Context

from messaging.envelope import SoundTraceparent
from messaging.tracing.contexts import current, linked, packed, text_of
from messaging.tracing.sampling import Provided, Roots

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What follows from OpenTelemetry's current context for each event that is published in it.

    A context never changes, and the events of one `publish_many` nearly always share it, so this
    is found once for all of them.

    context     the current one.
    of          the provider for which it was found.
    baggage     W3C Baggage that the event takes along.
    unrecorded  the traceparent that the event takes along, where no span is to be made.
    roots       decides whether there is to be a span; None: the SDK does.
    """

    context: Context
    of: Provided
    baggage: str
    unrecorded: str | None
    roots: Roots | None

    @classmethod
    def of_now(cls, provided: Provided, names: Collection[str]) -> Surroundings:
        """Of the present, with the entries of its baggage that are in `names`."""
        context = current()
        baggage = packed(names) if names else ""
        if not provided.heeds or baggage:
            return cls(context, provided, baggage, None, None)
        here = linked(context)
        if here is None:
            return cls(context, provided, baggage, None, provided.roots)
        if here.trace_flags.sampled:
            return cls(context, provided, baggage, None, None)
        text = text_of(here)
        sound = text if text.tracestate else SoundTraceparent(text)
        return cls(context, provided, baggage, sound, None)
