"""The tracer of a provider, and what need not be asked of it for each event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Tracer,
    TracerProvider,
)

from messaging.tracing.contexts import within
from messaging.tracing.ended import DirectSpans, failed
from messaging.tracing.sampling import Roots

__all__ = ["SEMANTIC_CONVENTIONS", "Provided"]

SEMANTIC_CONVENTIONS = "1.44.0"
"""The version of OpenTelemetry's messaging conventions (status "Development") that spans and
attributes follow. This library never followed another, so OTEL_SEMCONV_STABILITY_OPT_IN has no
effect."""

_HEEDS = ("remoteParentNotSampled", "localParentNotSampled")


@dataclass(frozen=True, slots=True)
class Provided:
    """A provider's tracer, and what is known about its sampler.

    heeds   True if spans in a trace that is not recorded are never recorded: then the SDK is not
            asked.
    roots   decides about new traces; None if the SDK must be asked.
    known   makes spans that are over; None if the SDK must start and end them.
    """

    provider: TracerProvider
    tracer: Tracer
    heeds: bool
    roots: Roots | None
    known: DirectSpans | None

    @classmethod
    def of(cls, provider: TracerProvider) -> Provided:
        """Inspect a provider."""
        schema = f"https://opentelemetry.io/schemas/{SEMANTIC_CONVENTIONS}"
        tracer = provider.get_tracer("messaging", schema_url=schema)
        describe = getattr(getattr(provider, "sampler", None), "get_description", str)
        said = str(describe())
        heeds = all(said[said.rfind(one) :].startswith(f"{one}:AlwaysOff") for one in _HEEDS)
        roots = Roots.of(provider, tracer, said) if heeds else None
        return cls(provider, tracer, heeds, roots, DirectSpans.of(provider, tracer))

    @property
    def direct(self) -> DirectSpans | None:
        """What makes spans that are over, if it can now."""
        known = self.known
        return known if known is not None and known.ready() else None

    def ended(
        self,
        name: str,
        parent: SpanContext | None,
        attributes: Mapping[str, Any],
        *,
        started: float,
        ended: float,
        links: Sequence[SpanContext] = (),
        error: str | None = None,
        wanted: Callable[[SpanContext], bool] | None = None,
    ) -> None:
        """Create a CLIENT span that is over.

        parent          its parent; if none is given, the span begins a trace.
        started, ended  seconds since the epoch.
        links, error    see `DirectSpans.made`.
        wanted          is given its context. If it returns False, a span that need not be started
                        is not made; one that is started is ended all the same.
        """
        start, end = int(started * 1_000_000_000), int(ended * 1_000_000_000)
        direct, kind = self.direct, SpanKind.CLIENT
        if direct is not None and parent is not None and parent.trace_flags.sampled:
            own = direct.child(parent)
            if wanted is None or wanted(own):
                made = direct.made(
                    name,
                    own,
                    parent,
                    kind,
                    attributes,
                    started=start,
                    ended=end,
                    links=links,
                    error=error,
                )
                direct.end(made)
            return
        span = self.tracer.start_span(
            name,
            context=None if parent is None else within(NonRecordingSpan(parent), Context()),
            kind=kind,
            links=[Link(one) for one in links],
            attributes=attributes,
            start_time=start,
        )
        if error is not None:
            failed(span, error)
        if wanted is not None:
            wanted(span.get_span_context())
        span.end(end)
