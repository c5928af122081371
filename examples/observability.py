"""Checks that traces and metrics arrive where OpenTelemetry's exporters send them.

    python -m examples.observability   # or: make observability

It starts the demo with its own OTLP receiver, publishes one event through the topic and one through
an outbox, and checks one whole trace (publish, SNS, queue, handler, settlement) and every metric of
the library by name. Exit code 0 means that nothing is missing.
"""

from __future__ import annotations

import argparse
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, Resource

from consumers import TOPOLOGY
from examples import demo
from examples._otlp import Receiver, Seen
from examples._screen import print_trace
from examples._traced import Traced
from messaging import (
    Consumer,
    Delivery,
    Event,
    MemoryBroker,
    Projection,
    Publisher,
    Retry,
    Topology,
    Worker,
    handles,
)
from messaging.connecting import ServiceBroker
from messaging.doctor.probe import send
from messaging.metrics import METRICS, Backlog, Metric, Metrics, otel
from messaging.outbox import Claims, Database, OutboxStatus, Relay, SqlOutbox, ddl

__all__ = ["Result", "main", "missing_in_trace", "observe"]

GRACE = 30.0
"""Seconds that a probe may take to reach a worker and its metrics."""

PROBE_AGE = "messaging.worker.probe_age"

STUDENTS = """nome;email;valor_mensalidade;aceita_marketing
Ana Sá;ana@example.com;1.350,50;sim
Bia Ávila;bia@example.com;-10,00;não
"""


class Beside(Event, type="demo.beside", version=1):
    """An event that no service of the school handles."""

    number: int


class BesideForSecondTry(Projection, of=Beside, audience="second-try"):
    number: int


class SecondTry(Consumer):
    """Fails on the first attempt, so that a retry shows up."""

    service = "second-try"

    def __init__(self) -> None:
        self.done = threading.Event()

    @handles
    def handle(self, beside: BesideForSecondTry, delivery: Delivery) -> Retry | None:
        if delivery.receive_count == 1:
            return Retry(0)
        self.done.set()
        return None


@dataclass
class Result:
    """What arrived and what is missing."""

    trace: list[Seen]
    metrics: dict[str, list[str]]
    mistakes: list[str] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; return 0 if nothing is missing."""
    argparse.ArgumentParser(prog="python -m examples.observability").parse_args(arguments)
    result = observe()
    print_trace(result.trace)
    for metric in METRICS:
        print(f"{metric.name:34} {', '.join(result.metrics.get(name_of(metric), ())) or 'MISSING'}")
    for mistake in result.mistakes:
        print(f"missing: {mistake}", file=sys.stderr)
    print(
        f"\n{len(result.trace)} spans of one trace, {len(result.metrics)} metrics: "
        f"{'nothing is missing' if not result.mistakes else f'{len(result.mistakes)} mistakes'}"
    )
    return 1 if result.mistakes else 0


def name_of(metric: Metric) -> str:
    """The name that an exporter sends: a histogram is three counters, and we look for one."""
    return f"{metric.name}.count" if metric.bounds else metric.name


def observe() -> Result:
    """Run the demo with two students, and return what the receiver got."""
    with TemporaryDirectory(prefix="messaging-observability-") as folder, Traced() as traced:
        csv = Path(folder) / "alunos.csv"
        csv.write_text(STUDENTS, encoding="utf-8")
        done = demo.run(
            csv,
            traced=traced,
            besides=lambda broker: _besides(broker, Path(folder), traced.receiver),
        )
        spans = [Seen(**one) for one in done["trace"]]
        found = Result(spans, traced.receiver.metrics(), list(done["mistakes"]))
        found.mistakes += missing_in_trace(spans, traced.published_to)
        found.mistakes += [
            f"metric {one.name}" for one in METRICS if not found.metrics.get(name_of(one))
        ]
        return found


def _besides(broker: ServiceBroker, folder: Path, receiver: Receiver) -> None:
    """Send a probe to a service, cause a retry, send an event through an outbox and its relay, and
    export this process's metrics."""
    for _ in send(TOPOLOGY, broker, services=["bi"]):
        pass

    def connection() -> sqlite3.Connection:
        return sqlite3.connect(folder / "escola.sqlite3")

    def backlog() -> OutboxStatus:
        with closing(Database(connection)) as database:
            return Claims(database).status()

    resource = Resource.create({SERVICE_NAME: "cadastro"})
    exporter = OTLPMetricExporter(endpoint=f"{receiver.url}/v1/metrics")
    provider = MeterProvider([PeriodicExportingMetricReader(exporter)], resource=resource)
    with closing(connection()) as database:
        database.executescript(ddl("sqlite"))
        with database:
            database.execute("BEGIN")
            Publisher(SqlOutbox(database), source="/cadastro").publish(Beside(number=1))
    here, consumer = MemoryBroker(Topology.of(SecondTry, topic="beside")), SecondTry()
    with (
        closing(here),
        Publisher(broker.topic(), source="/cadastro") as publisher,
        Relay(connection, broker.topic()) as relay,
        Worker(consumer, broker=here) as worker,
    ):
        metrics = Metrics(publisher, relay, worker, Backlog(backlog, table="messaging_outbox"))
        otel.observe(metrics, provider.get_meter("messaging"))
        relay.drain()
        with Publisher(here.topic(), source="/cadastro") as beside:
            beside.publish(Beside(number=2))
        consumer.done.wait(10)
        provider.shutdown()  # this exports once more
    _wait_for_probe(receiver)


def _wait_for_probe(receiver: Receiver) -> None:
    """The services stop when this process has nothing more for them, and a stopping worker receives
    nothing. Without this wait, a probe still in transit is never measured."""
    until = time.monotonic() + GRACE
    while PROBE_AGE not in receiver.metrics() and time.monotonic() < until:
        time.sleep(0.05)


def missing_in_trace(spans: Sequence[Seen], services: Sequence[str]) -> Iterator[str]:
    """Return what is missing between one publish and its settlement in each of `services`."""
    known = {one.id: one for one in spans}
    topic = TOPOLOGY.topic.name
    publishes = [one for one in spans if one.name == f"publish {topic}"]
    if len(publishes) != 1 or publishes[0].kind != "PRODUCER":
        yield f"one PRODUCER span 'publish {topic}': {len(publishes)} found"
        return
    for service in services:
        queue = TOPOLOGY.queue(service).name
        for name, kind, below in (
            (f"receive {queue}", "CLIENT", f"publish {topic}"),
            (f"process {queue}", "CONSUMER", f"publish {topic}"),
            (f"delete {queue}", "CLIENT", f"process {queue}"),
        ):
            parents = [
                known[one.parent].name
                for one in spans
                if (one.name, one.kind, one.service) == (name, kind, service)
                and one.parent in known
            ]
            if below not in parents:
                yield f"{kind} span '{name}' of {service}, below '{below}'"


if __name__ == "__main__":
    sys.exit(main())
