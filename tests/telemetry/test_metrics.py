"""Metrics as their readers get them: a scraped page, and what OpenTelemetry's reader collects."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import boto3
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from messaging import (
    Consumer,
    Discard,
    Event,
    MemoryBroker,
    Publisher,
    PublishError,
    Reject,
    Retry,
    Topology,
    Worker,
    handles,
)
from messaging.aws import apply, connect
from messaging.errors import ConfigurationError
from messaging.local import LocalServer
from messaging.metrics import METRICS, Backlog, Metrics, otel
from messaging.metrics.prometheus import Collector
from messaging.outbox import Claims, Database, Relay, SqlOutbox, ddl
from messaging.runtime.health import serve_health
from messaging.transport import Failure
from tests.programs import SERVICE, eventually

PATIENCE = 20.0
ROOT = Path(__file__).resolve().parents[2]


class Happened(Event, type="happened", version=1):
    number: int


class Mail(Consumer):
    service = "mail"

    def __init__(self) -> None:
        self.hold = threading.Event()

    @handles
    def happened(self, event: Happened) -> None:
        if event.number == 1:
            raise Discard("not ours")
        if event.number == 2:
            raise Reject("never")
        if event.number == 3:
            raise Retry(900)
        if event.number > 9:
            self.hold.wait(PATIENCE)


@pytest.fixture
def broker() -> Iterator[MemoryBroker]:
    with closing(MemoryBroker(Topology.of(Mail, topic="alunos"))) as broker:
        yield broker


def parsed(text: str) -> dict[tuple[str, ...], float]:
    """By name and the values of its labels, the service first, whatever is of this library."""
    return {
        (sample.name, *_values(sample.labels)): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("messaging_")
    }


def _values(labels: Mapping[str, object]) -> list[str]:
    return [str(labels[name]) for name in sorted(labels, key=lambda name: name != "service")]


def page(metrics: Metrics) -> dict[tuple[str, ...], float]:
    registry = CollectorRegistry()
    registry.register(Collector(metrics))
    return parsed(generate_latest(registry).decode())


def test_what_became_of_messages_is_counted_under_its_name(broker: MemoryBroker) -> None:
    consumer = Mail()
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        Worker(consumer, broker=broker, concurrency=2, prefetch=3, wait=0.1) as worker,
    ):
        metrics = Metrics(worker, publisher)
        publisher.publish_many(Happened(number=number) for number in range(5))
        assert eventually(lambda: worker.stats.received == 5 and not worker.stats.in_flight)
        publisher.publish_many(Happened(number=number) for number in range(10, 15))
        assert eventually(lambda: page(metrics)["messaging_worker_waiting", "mail"] == 3)
        found = page(metrics)
        consumer.hold.set()
    settled = {key[-1]: n for key, n in found.items() if key[0] == "messaging_worker_settled_total"}
    assert settled == {"acknowledged": 3, "released": 1, "dead_lettered": 1, "expired": 0}
    assert found["messaging_worker_received_total", "mail"] == 10
    assert found["messaging_worker_discarded_total", "mail"] == 1
    assert found["messaging_worker_deduplicated_total", "mail"] == 0
    assert found["messaging_worker_in_flight", "mail"] == 5
    assert found["messaging_worker_stuck", "mail"] == 0
    assert found["messaging_publisher_published_total", "alunos"] == 10
    assert found["messaging_publisher_refused_total", "alunos"] == 0


def test_a_paused_service_is_seen(broker: MemoryBroker) -> None:
    with Worker(Mail(), broker=broker, wait=0.1) as worker:
        metrics = Metrics(worker)
        state = "messaging_worker_state", "mail"
        assert page(metrics)[*state, "receiving"] == 1
        worker.pause()
        found = {key[-1]: value for key, value in page(metrics).items() if key[:2] == state}
        others = dict.fromkeys(["receiving", "wedged", "circuit_open", "rate_limited"], 0)
        assert found == {**others, "paused": 1}


class Refusing:
    """A topic that takes every message but the first of a request."""

    max_bytes = 262_144
    name = "picky"

    def publish(self, batch: object) -> list[Failure]:
        return [Failure(0, "No", "not this one", retryable=False)]

    def close(self) -> None:
        pass


def test_what_a_topic_refused_is_counted() -> None:
    with Publisher(Refusing(), source="/x") as publisher:
        with pytest.raises(PublishError):
            publisher.publish_many(Happened(number=number) for number in range(3))
        with pytest.raises(PublishError):
            publisher.publish(Happened(number=1))
        found = page(Metrics(publisher))
    assert found["messaging_publisher_published_total", "picky"] == 2
    assert found["messaging_publisher_refused_total", "picky"] == 2


def test_opentelemetry_reads_the_same_values_under_the_same_names(broker: MemoryBroker) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        Worker(Mail(), broker=broker, wait=0.1) as worker,
    ):
        metrics = Metrics(worker, publisher)
        otel.observe(metrics, provider.get_meter("messaging"))
        publisher.publish_many(Happened(number=number) for number in range(5))
        assert eventually(lambda: worker.stats.received == 5 and not worker.stats.in_flight)
        data = reader.get_metrics_data()
        scraped = page(metrics)
    provider.shutdown()
    assert data is not None
    found = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                suffix = "_total" if type(metric.data).__name__ == "Sum" else ""
                for point in metric.data.data_points:
                    labels = _values(point.attributes or {})
                    found[metric.name.replace(".", "_") + suffix, *labels] = point.value
    assert found == scraped


def test_an_outbox_shows_its_backlog_and_its_age(tmp_path: Path, broker: MemoryBroker) -> None:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "school.db")

    def status() -> object:
        with closing(Database(connect)) as database:
            return Claims(database).status()

    with closing(connect()) as connection:
        connection.executescript(ddl("sqlite"))
        with connection:
            connection.execute("BEGIN")
            Publisher(SqlOutbox(connection), source="/x").publish(Happened(number=1))
    with Relay(connect, broker.topic()) as relay:
        metrics = Metrics(relay, Backlog(status, table="messaging_outbox"))  # type: ignore[arg-type]
        before = page(metrics)
        relay.drain()
        after = page(metrics)
    assert before["messaging_outbox_backlog", "messaging_outbox"] == 1
    assert before["messaging_outbox_age_seconds", "messaging_outbox"] > 0
    assert after["messaging_outbox_backlog", "messaging_outbox"] == 0
    assert after["messaging_outbox_age_seconds", "messaging_outbox"] == 0
    assert after["messaging_relay_published_total", "alunos"] == 1


def test_a_database_that_is_away_takes_no_other_metric_along(
    broker: MemoryBroker, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> object:
        raise sqlite3.OperationalError("Zuleica's row is locked")

    with Publisher(broker.topic(), source="/x") as publisher:
        found = page(Metrics(Backlog(away, table="t"), publisher))  # type: ignore[arg-type]
    assert found["messaging_publisher_published_total", "alunos"] == 0
    assert "cannot read the metrics of a Backlog: OperationalError" in caplog.text
    assert "Zuleica" not in caplog.text


def test_labels_do_not_grow_with_traffic(broker: MemoryBroker) -> None:
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        Worker(Mail(), broker=broker, wait=0.1) as worker,
    ):
        metrics = Metrics(worker, publisher)
        before = page(metrics).keys()
        for number in range(50, 0, -1):
            publisher.publish(Happened(number=number % 10), id=f"Zuleica-{number}")
        assert eventually(lambda: worker.stats.received >= 50)
        assert page(metrics).keys() == before
    assert len(before) <= 2 + 17


def test_every_metric_is_in_the_table_of_the_page() -> None:
    text = (ROOT / "docs/how-to/observability.md").read_text()
    for metric in METRICS:
        assert f"| `{metric.name}` |" in text


def test_something_else_than_a_source_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"Metrics\(str\): give a Worker"):
        Metrics("worker")  # type: ignore[arg-type]


def test_without_the_extra_there_is_no_page(broker: MemoryBroker) -> None:
    with serve_health(Worker(Mail(), broker=broker), "127.0.0.1:0") as (host, port):
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with pytest.raises(urllib.error.HTTPError, match="404") as refused:
            opener.open(f"http://{host}:{port}/metrics", timeout=PATIENCE)
        with refused.value:
            assert b"metrics" not in refused.value.read()


def test_a_running_service_is_scraped(tmp_path: Path) -> None:
    (tmp_path / "service.py").write_text(SERVICE)
    with LocalServer() as server:
        settings = server.settings(topic="t")
        session = boto3.Session(**server.credentials)  # type: ignore[arg-type]
        names: dict[str, object] = {"__name__": "service"}
        exec(compile(SERVICE, "service", "exec"), names)
        apply(names["TOPOLOGY"], settings, session=session)  # type: ignore[arg-type]
        with (
            closing(connect(settings, session=session)) as broker,
            Publisher(broker.topic(), source="/x") as publisher,
        ):
            publisher.publish_many(Happened(number=number) for number in range(7))
        process = subprocess.Popen(
            [sys.executable, *"-m messaging run service:Mail --health 127.0.0.1:0".split()],
            cwd=tmp_path,
            env={
                "PATH": os.environ["PATH"],
                "PYTHONPATH": f"{tmp_path}:{ROOT}",
                "MESSAGING_TOPIC": "t",
                **server.environment,
            },
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stderr is not None
            told = next(line for line in process.stderr if "health at http://" in line)
            assert "/metrics" in told
            url = "http://" + told.partition("http://")[2].partition("/")[0] + "/metrics"
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

            def scraped() -> dict[tuple[str, ...], float]:
                with opener.open(url, timeout=PATIENCE) as answer:
                    assert answer.headers["Content-Type"].startswith("text/plain")
                    return parsed(answer.read().decode())

            done = ("messaging_worker_settled_total", "mail", "acknowledged")
            assert eventually(lambda: scraped().get(done) == 7)
            assert scraped()["messaging_worker_received_total", "mail"] == 7
            assert scraped()["messaging_worker_state", "mail", "receiving"] == 1
        finally:
            process.terminate()
            process.communicate(timeout=PATIENCE)
