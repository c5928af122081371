"""A tracing whose spans are kept."""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from messaging.tracing import Tracing

__all__ = ["Recorded"]


class Recorded:
    def __init__(self, sampler: Any = None, *processors: SpanProcessor) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(sampler=sampler, shutdown_on_exit=False)
        for one in (SimpleSpanProcessor(self.exporter), *processors):
            self.provider.add_span_processor(one)
        self.tracing = Tracing(tracer_provider=self.provider)

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        return {span.name: span for span in self.exporter.get_finished_spans()}
