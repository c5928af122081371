"""OpenTelemetry for the demo's processes: the SDK with OTLP exporters, as a program would set it
up.

    OTEL_SERVICE_NAME=bi OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4318 \\
        python -m messaging run consumers.bi:BI --middleware examples._telemetry:tracing

OpenTelemetry's own variables configure everything else.
"""

from __future__ import annotations

from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from messaging.tracing import Tracing

__all__ = ["environment", "started", "tracing"]


def environment(endpoint: str, service: str) -> dict[str, str]:
    """The variables of a process whose telemetry goes to `endpoint`.

    Only what belongs to a recorded trace is recorded, and what ends is sent soon.
    """
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_SERVICE_NAME": service,
        "OTEL_TRACES_SAMPLER": "parentbased_always_off",
        "OTEL_BSP_SCHEDULE_DELAY": "200",
        "OTEL_METRIC_EXPORT_INTERVAL": "1000",
    }


def started() -> tuple[TracerProvider, MeterProvider]:
    """Set up the process's providers from its environment; they flush when the process ends."""
    spans = TracerProvider()
    spans.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    values = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter())])
    trace.set_tracer_provider(spans)
    metrics.set_meter_provider(values)
    return spans, values


def tracing() -> Tracing:
    """Set up this process, and return the middleware."""
    started()
    return Tracing()
