"""One traced event of the demo: where its spans go, and which arrived."""

from __future__ import annotations

from types import TracebackType
from typing import Self

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from examples._otlp import Receiver, Seen
from examples._telemetry import environment
from messaging import Event, Publisher
from messaging.tracing import Tracing
from messaging.transport import TopicTransport

__all__ = ["Traced"]


class Traced:
    """An OTLP receiver, and the SDK of the publishing process. Only one event is traced: the
    services record nothing but its trace."""

    def __init__(self) -> None:
        self.receiver = Receiver()
        self.published_to: tuple[str, ...] = ()
        """The services that get a copy of the event."""
        self._trace = ""

    def __enter__(self) -> Self:
        self.receiver.__enter__()
        self._provider = TracerProvider(resource=Resource.create({SERVICE_NAME: "cadastro"}))
        exporter = OTLPSpanExporter(endpoint=f"{self.receiver.url}/v1/traces")
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._provider.shutdown()
        self.receiver.__exit__(kind, error, trace)

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service's process."""
        return environment(self.receiver.url, service)

    def publish(self, topic: TopicTransport, event: Event, id: str | None) -> None:
        """Publish `event` within a span, as a request of a web framework would."""
        tracing = Tracing(tracer_provider=self._provider)
        with (
            Publisher(topic, source="/cadastro", tracing=tracing) as publisher,
            self._provider.get_tracer("demo").start_as_current_span("POST /alunos") as request,
        ):
            publisher.publish(event, id=id)
        self._trace = trace.format_trace_id(request.get_span_context().trace_id)

    def spans(self) -> list[Seen]:
        """The spans of the event's trace, once the services have ended."""
        self._provider.force_flush()
        return [one for one in self.receiver.spans() if one.trace == self._trace]
