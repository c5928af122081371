"""Finds what a published event inherits from the current context: its span and baggage."""

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
    """What each event inherits that is published in OpenTelemetry's current context.

    A context never changes, and the events of one `publish_many` nearly always share one, so this
    is computed once for all of them.

    context     the current context.
    of          the provider for which it was computed.
    baggage     the W3C Baggage that the event carries.
    unrecorded  the traceparent that the event carries if no span is needed.
    roots       decides whether a span is needed; None if the SDK must decide.
    """

    context: Context
    of: Provided
    baggage: str
    unrecorded: str | None
    roots: Roots | None

    @classmethod
    def of_now(cls, provided: Provided, names: Collection[str]) -> Surroundings:
        """Compute it for the current context, with the baggage entries that are in `names`."""
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
