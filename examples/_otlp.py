"""A small OTLP receiver over HTTP, in a process of its own, which keeps what it gets.

    with Receiver() as receiver:
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": receiver.url}
        ...
        receiver.spans(), receiver.metrics()

Any OpenTelemetry exporter can send to it. It keeps everything in memory.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self
from urllib.request import urlopen

__all__ = ["Receiver", "Seen"]

ROOT = Path(__file__).parents[1]


class Seen(NamedTuple):
    """One span as received. Times are in seconds since the epoch; ids are hexadecimal."""

    service: str
    name: str
    kind: str
    trace: str
    id: str
    parent: str
    links: Sequence[str]
    began: float
    ended: float
    failed: bool
    attributes: Mapping[str, Any]


class Receiver:
    """The receiver's process."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "examples._otlp"],
            cwd=ROOT,
            stdin=subprocess.PIPE,  # closed when this process ends, in whatever way
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()  # which closes its stdin

    def spans(self) -> list[Seen]:
        """All spans so far."""
        return [Seen(*one) for one in self._asked("spans")]

    def metrics(self) -> dict[str, list[str]]:
        """By metric name: the services that sent values."""
        found: dict[str, list[str]] = self._asked("metrics")
        return found

    def _asked(self, what: str) -> Any:
        with urlopen(f"{self.url}/seen/{what}", timeout=10) as answer:
            return json.load(answer)


class _Kept:
    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.spans: list[Seen] = []
        self.metrics: dict[str, set[str]] = {}

    def take_traces(self, body: bytes) -> bytes:
        from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as v1
        from opentelemetry.proto.trace.v1 import trace_pb2

        said = v1.ExportTraceServiceRequest.FromString(body)
        found = [
            Seen(
                service=_plain(part.resource.attributes).get("service.name", ""),
                name=span.name,
                kind=trace_pb2.Span.SpanKind.Name(span.kind).removeprefix("SPAN_KIND_"),
                trace=span.trace_id.hex(),
                id=span.span_id.hex(),
                parent=span.parent_span_id.hex(),
                links=[link.span_id.hex() for link in span.links],
                began=span.start_time_unix_nano / 1e9,
                ended=span.end_time_unix_nano / 1e9,
                failed=span.status.code == trace_pb2.Status.STATUS_CODE_ERROR,
                attributes=_plain(span.attributes),
            )
            for part in said.resource_spans
            for scope in part.scope_spans
            for span in scope.spans
        ]
        with self._lock:
            self.spans += found
        answer: bytes = v1.ExportTraceServiceResponse().SerializeToString()
        return answer

    def take_metrics(self, body: bytes) -> bytes:
        from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as v1

        said = v1.ExportMetricsServiceRequest.FromString(body)
        with self._lock:
            for part in said.resource_metrics:
                service = _plain(part.resource.attributes).get("service.name", "")
                for scope in part.scope_metrics:
                    for metric in scope.metrics:
                        data = metric.WhichOneof("data")
                        if data and getattr(metric, data).data_points:
                            self.metrics.setdefault(metric.name, set()).add(service)
        answer: bytes = v1.ExportMetricsServiceResponse().SerializeToString()
        return answer

    def said(self, what: str) -> Any:
        with self._lock:
            if what == "spans":
                return list(self.spans)
            return {name: sorted(services) for name, services in sorted(self.metrics.items())}


def _plain(attributes: Any) -> dict[str, Any]:
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "string_value")
        for one in attributes
    }


def main() -> None:
    """Print the address, and serve until stdin is closed."""
    kept = _Kept()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            takes = {"/v1/traces": kept.take_traces, "/v1/metrics": kept.take_metrics}
            take = takes.get(self.path)
            self._answer(404 if take is None else 200, take(body) if take else b"")

        def do_GET(self) -> None:
            what = self.path.rpartition("/")[2]
            self._answer(200, json.dumps(kept.said(what), default=str).encode())

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    print(f"http://127.0.0.1:{server.server_port}", flush=True)
    sys.stdin.read()
    server.shutdown()


if __name__ == "__main__":
    main()
