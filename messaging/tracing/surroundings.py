"""Finds what a published event inherits from the current context: its span and baggage."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from itertools import repeat

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext, TracerProvider

from messaging.tracing.contexts import current, linked, packed, text_of
from messaging.tracing.provided import Provided
from messaging.tracing.sampling import Drawing

__all__ = ["Surroundings"]


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What each event inherits that is published in OpenTelemetry's current context.

    A context never changes, and the events of one `publish_many` nearly always share one, so this
    is computed once for all of them.

    context   the current context.
    provider  the provider for which it was computed.
    baggage   the W3C Baggage that the event carries.
    parent    the current span.
    ready     returns the traceparent that the event carries if no span is needed, otherwise None.
              Raises `IndexError` if it has none: then `drawn` returns the same.
    drawn     see `ready`.
    provided  has the tracer of the span.
    begins    True if that begins a trace, which is recorded.
    """

    context: Context
    provider: TracerProvider
    baggage: str
    parent: SpanContext | None
    ready: Drawing
    drawn: Drawing
    provided: Provided
    begins: bool

    @classmethod
    def of_now(cls, provided: Provided, names: Collection[str]) -> Surroundings:
        """Compute it for the current context, with the baggage entries that are in `names`."""
        context = current()
        baggage = packed(names) if names else ""
        here, roots = linked(context), provided.roots
        heeded = provided.heeds and not baggage
        said: str | None = None
        if heeded and here is not None and not here.trace_flags.sampled:
            said = text_of(here)
        ready: Drawing
        drawn: Drawing
        if heeded and here is None and roots is not None:
            ready, drawn = roots.ready, roots.drawn
            provided = replace(provided, tracer=roots.tracer)
        else:
            ready = drawn = repeat(said).__next__  # which is called faster than a function
            roots = None
        return cls(
            context=context,
            provider=provided.provider,
            baggage=baggage,
            parent=here,
            ready=ready,
            drawn=drawn,
            provided=provided,
            begins=roots is not None,
        )
