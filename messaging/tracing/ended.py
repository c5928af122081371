"""Hands spans that are over to the SDK's processors, without starting them first.

`Tracer.start_span` and `Span.end` take 15 us, two to three times as long if their code has not run
for a hundred messages: with 1 % recorded, that would be most of what tracing costs. A span whose
start and end are known needs neither the locks nor the checks of one that is under way. So where
the SDK, its limits and its processors are known, `DirectSpans` makes the `ReadableSpan` that `end`
would have made; everywhere else the tracer does.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from opentelemetry.trace import (
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
)

__all__ = ["DirectSpans", "failed"]

_MODULE = "opentelemetry.sdk.trace"
_AT_THE_END = (
    (f"{_MODULE}.export", "BatchSpanProcessor"),
    (f"{_MODULE}.export", "SimpleSpanProcessor"),
)
"""Module and name of processors that do nothing when a span starts."""
_FOLLOWS = (
    (f"{_MODULE}.sampling", "ParentBased"),
    (f"{_MODULE}.sampling", "ParentBasedTraceIdRatio"),  # as the environment names it
)
"""Module and name of samplers that record the children of recorded spans, unless told otherwise."""
_ENOUGH = 32
"""More attributes or links than any of these spans has."""
_RANDOM = 0x02
"""`TraceFlags.RANDOM_TRACE_ID`, which older versions do not have."""
_RECORDED = TraceFlags(TraceFlags.SAMPLED)
_RECORDED_RANDOM = TraceFlags(TraceFlags.SAMPLED | _RANDOM)
_FAILED = Status(StatusCode.ERROR)
_UNSET = Status(StatusCode.UNSET)


class DirectSpans:
    """Makes spans that are over, children of recorded ones, as the tracer would."""

    def __init__(self, tracer: Any, make: Callable[..., Any]) -> None:
        self._tracer = tracer
        self._make = make
        self._ready: tuple[object, bool] = (None, False)

    @classmethod
    def of(cls, provider: Any, tracer: Any) -> DirectSpans | None:
        """None unless this is the SDK, its sampler records each child of a recorded span, and no
        limits or measurements of its own are set.

        provider  gave the tracer.
        """
        try:
            from opentelemetry.sdk import trace
            from opentelemetry.sdk.trace.sampling import ALWAYS_ON

            sampler = tracer.sampler
            limits = tracer._span_limits
            most = (limits.max_span_attributes, limits.max_links, limits.max_link_attributes)
            longest = (limits.max_span_attribute_length, limits.max_attribute_length)
            own = (
                type(provider) is trace.TracerProvider
                and type(tracer.span_processor) is trace.SynchronousMultiSpanProcessor
                and (type(sampler).__module__, type(sampler).__qualname__) in _FOLLOWS
                and sampler._remote_parent_sampled is ALWAYS_ON
                and sampler._local_parent_sampled is ALWAYS_ON
                and type(tracer._tracer_metrics).__qualname__ == "NoOpTracerMetrics"
                and all(one is None for one in longest)
                and all(one is None or one >= _ENOUGH for one in most)
            )
            if not own:
                return None
            direct = cls(tracer, trace.ReadableSpan)
            root = direct.root(tracer)
            direct.child(root)
            direct.made("create", root, None, SpanKind.PRODUCER, {}, started=1, ended=2)
            direct.ready()
        except (ImportError, AttributeError, TypeError, ValueError):  # another version of the SDK
            return None
        return direct

    def ready(self) -> bool:
        """True if the tracer is enabled, and its processors only look at spans that are over."""
        tracer = self._tracer
        processors = tracer.span_processor._span_processors
        known, ready = self._ready
        if processors is not known:
            ready = all(
                (type(one).__module__, type(one).__qualname__) in _AT_THE_END for one in processors
            )
            self._ready = processors, ready
        return ready and bool(tracer._is_enabled())

    def child(self, parent: SpanContext) -> SpanContext:
        """The context of a new span, a child of this recorded one."""
        trace, _, _, flags, state, _ = parent  # each of its properties is a function
        id: int = self._tracer.id_generator.generate_span_id()
        flags = _RECORDED_RANDOM if flags & _RANDOM else _RECORDED
        return SpanContext(trace, id, False, flags, state)

    def root(self, tracer: Any) -> SpanContext:
        """The context of a new span that begins a trace, with the ids of this tracer, which only
        begins recorded ones."""
        ids = tracer.id_generator
        trace: int = ids.generate_trace_id()
        flags = _RECORDED_RANDOM if ids.is_trace_id_random() else _RECORDED
        return SpanContext(trace, ids.generate_span_id(), False, flags)

    def end(self, span: Any) -> None:
        """Hand a span that was made here to the processors."""
        self._tracer.span_processor.on_end(span)

    def made(
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        kind: SpanKind,
        attributes: Mapping[str, Any],
        *,
        started: int,
        ended: int,
        links: Sequence[SpanContext] = (),
        error: str | None = None,
    ) -> Any:
        """A span that is over, in the form in which processors get it.

        context         its own, from `child` or `root`.
        started, ended  nanoseconds since the epoch.
        links           the contexts of other spans.
        error           the type of the error, if it failed.
        """
        tracer = self._tracer
        if error is not None:
            attributes = {**attributes, "error.type": error}
        return self._make(
            name=name,
            context=context,
            parent=parent,
            resource=tracer.resource,
            attributes=attributes,
            links=[Link(one, {}) for one in links],
            kind=kind,
            instrumentation_info=tracer.instrumentation_info,
            status=_UNSET if error is None else _FAILED,
            start_time=started,
            end_time=ended,
            instrumentation_scope=tracer._instrumentation_scope,
        )


def failed(span: Span, error: str) -> None:
    """Say of a span that has been started that it failed, with an error of this type."""
    # No description, because the text of an exception may quote personal data.
    span.set_attribute("error.type", error)
    span.set_status(_FAILED)
