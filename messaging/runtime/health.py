"""Health: a worker's answers to the probes of Kubernetes, ECS or a load balancer.

    with serve_health(worker, "127.0.0.1:8080"):
        worker.run()

`/live` answers 503 if only a restart helps: a thread of the library is stuck, or all handlers of a
service hang. `/ready` answers 503 if the worker does not receive: it is starting or stopping, or
its queue does not answer. Both return JSON with the state of each service.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.errors import ConfigurationError
from messaging.logs import logger
from messaging.runtime.backpressure import State
from messaging.runtime.lifecycle import Stage

if TYPE_CHECKING:
    from messaging.runtime.pipeline import Pipeline
    from messaging.runtime.worker import Worker

__all__ = ["Health", "Report", "serve_health"]

log = logger("messaging.runtime")

STILL = 120.0
"""Seconds within which a thread of the library must make progress: a long poll takes 20, and a
hanging request with all its attempts less than a minute more."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A worker's health: `ok`, the reasons if not, and each service's state."""

    ok: bool
    stage: str
    problems: tuple[str, ...] = ()
    services: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def body(self) -> str:
        """As JSON, without any event data."""
        return json.dumps(asdict(self))


class Health:
    """Judges one worker. Thread-safe.

    wedged_limit  seconds for which all handlers of a service may hang before `live` fails.
    """

    def __init__(
        self, worker: Worker, *, wedged_limit: float = 60.0, clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._worker = worker
        self._wedged_limit = wedged_limit
        self._clock = clock
        self._lock = threading.Lock()
        self._unsettled: dict[str, tuple[float, int]] = {}
        """By service: since when its settled count has not changed although messages wait to be
        settled."""

    def live(self) -> Report:
        """Whether the process works. If not, restart it."""
        now = self._clock.monotonic()
        pipelines = self._worker.pipelines
        problems = [
            f"{name}: {problem}"
            for name, pipeline in pipelines.items()
            for problem in self._stuck(name, pipeline, now)
        ]
        if self._worker.stage is Stage.STOPPED:
            problems.append("the worker has stopped")
        return self._report(problems)

    def ready(self) -> Report:
        """Whether it receives, as far as that depends on the worker."""
        problems = [
            f"{name}: the queue does not answer"
            for name, pipeline in self._worker.pipelines.items()
            if pipeline.receiver.failing
        ]
        problems += [
            f"{name}: {state.value}"
            for name, state in self._worker.state.items()
            if state in (State.PAUSED, State.WEDGED)
        ]
        if self._worker.stage is not Stage.RUNNING:
            problems.append(f"the worker is {self._worker.stage.value}")
        return self._report(problems)

    def _stuck(self, name: str, pipeline: Pipeline, now: float) -> Iterator[str]:
        wedged = pipeline.wedge.wedged_for(now)
        if wedged is not None and wedged >= self._wedged_limit:
            yield f"all handlers have hung for {wedged:.0f} s"
        polling = pipeline.receiver.asked_for(now)
        if polling > STILL:
            yield f"a receive has been out for {polling:.0f} s"
        looked = pipeline.heartbeat.still_for(now)
        if looked > STILL:
            yield f"leases were not looked at for {looked:.0f} s"
        stats = pipeline.stats
        settled = stats.received - stats.in_flight
        with self._lock:
            since, count = self._unsettled.get(name, (now, -1))
            if count != settled or not pipeline.in_flight.finished():
                since = now
            self._unsettled[name] = since, settled
        if now - since > STILL:
            yield f"nothing was settled for {now - since:.0f} s, although some wait"

    def _report(self, problems: list[str]) -> Report:
        worker = self._worker
        return Report(
            ok=not problems,
            stage=worker.stage.value,
            problems=tuple(problems),
            services={
                name: {
                    "state": state.value,
                    "in_flight": worker.stats_of(name).in_flight,
                    "received": worker.stats_of(name).received,
                }
                for name, state in worker.state.items()
            },
        )


@contextmanager
def serve_health(
    worker: Worker,
    address: str,
    *,
    wedged_limit: float = 60.0,
    metrics: Callable[[], tuple[str, str]] | None = None,
) -> Iterator[tuple[str, int]]:
    """Answer `GET /live` and `GET /ready` at `address` ("127.0.0.1:8080") inside of `with`.

    metrics  returns the content type and the text of `/metrics`; None: no such page.

    Yields the host and the port in use: port 0 picks a free one. It also answers while the worker
    starts and stops. Raises `ConfigurationError` if the address is not available.
    """
    host, port = _parsed(address)
    health = Health(worker, wedged_limit=wedged_limit)

    class Probed(BaseHTTPRequestHandler):
        """Serves two or three pages; everything else is 404."""

        timeout = 5  # a silent client must not keep a thread

        def do_GET(self) -> None:
            status, kind, body = _page(self.path.partition("?")[0], health, metrics)
            data = body.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, format: str, *args: object) -> None:
            log.debug("health: a probe was answered")

    try:
        server = ThreadingHTTPServer((host, port), Probed)
    except OSError as error:
        raise ConfigurationError(
            f"health at {address}: the address cannot be had ({error.strerror or error}); "
            "another process uses it, or this machine does not have it"
        ) from error
    thread = threading.Thread(target=server.serve_forever, name="messaging-health", daemon=True)
    with server:
        thread.start()
        try:
            yield host, server.server_port
        finally:
            server.shutdown()
            thread.join()


def _page(
    path: str, health: Health, metrics: Callable[[], tuple[str, str]] | None
) -> tuple[int, str, str]:
    """The status, the content type and the text of a page."""
    if metrics is not None and path == "/metrics":
        return 200, *metrics()
    judged = {"/live": health.live, "/ready": health.ready}
    if path not in judged:
        pages = [*judged, *(["/metrics"] if metrics is not None else [])]
        return 404, "application/json", json.dumps({"pages": pages})
    report = judged[path]()
    return 200 if report.ok else 503, "application/json", report.body


def _parsed(address: str) -> tuple[str, int]:
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ConfigurationError(f"health at {address!r}: write HOST:PORT, like 127.0.0.1:8080")
    return host, int(port)
