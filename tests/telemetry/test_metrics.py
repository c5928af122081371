"""Metrics as their readers get them: a scraped page, and what OpenTelemetry's reader collects."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
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
    RetryPolicy,
    Topology,
    Worker,
    handles,
)
from messaging.aws import apply, connect
from messaging.doctor.probe import send
from messaging.errors import ConfigurationError
from messaging.local import LocalServer
from messaging.metrics import METRICS, Backlog, Metrics, otel
from messaging.metrics.prometheus import Collector
from messaging.outbox import Claims, Database, OutboxStatus, Relay, SqlOutbox, ddl
from messaging.outcome import Ack
from messaging.runtime.health import serve_health
from messaging.runtime.heartbeat import Heartbeat
from messaging.runtime.in_flight import Disposition, InFlight, InFlightMessage
from messaging.runtime.measures import Measures
from messaging.testing import FakeClock
from messaging.transport import Attribute, Delivery, Failure
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
    """The service first, then by name; 5 is 5.0 and +Inf is inf."""
    names = sorted(labels, key=lambda name: (name != "service", name))
    return [str(float(str(labels[name]))) if name == "le" else str(labels[name]) for name in names]


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


def test_opentelemetry_reads_the_same_values_under_the_same_names_and_none_is_missing(
    broker: MemoryBroker, tmp_path: Path
) -> None:
    def connect() -> sqlite3.Connection:
        return sqlite3.connect(tmp_path / "school.db")

    def status() -> OutboxStatus:
        with closing(Database(connect)) as database:
            return Claims(database).status()

    with closing(connect()) as connection:
        connection.executescript(ddl("sqlite"))
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        Relay(connect, broker.topic()) as relay,
        Worker(Mail(), broker=broker, wait=0.1) as worker,
    ):
        metrics = Metrics(worker, publisher, relay, Backlog(status, table="messaging_outbox"))
        otel.observe(metrics, provider.get_meter("messaging"))
        list(send(Topology.of(Mail, topic="alunos"), broker))
        publisher.publish_many(Happened(number=number) for number in range(5))
        assert eventually(lambda: worker.stats.received == 6 and not worker.stats.in_flight)
        data = reader.get_metrics_data()
        scraped = page(metrics)
    provider.shutdown()
    assert data is not None
    found = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    labels = _values(point.attributes or {})
                    found[_in_prometheus(metric.name, metric.data), *labels] = point.value
    assert found.keys() == scraped.keys()
    grow = ("_oldest_", "_probe_age_")
    steady = [key for key in found if not any(name in key[0] for name in grow)]
    assert {key: found[key] for key in steady} == {key: scraped[key] for key in steady}
    names = {key[0] for key in scraped}
    for one in METRICS:
        name = one.name.replace(".", "_") + ("_seconds" if one.unit == "s" else "")
        ends = ("_bucket", "_sum", "_count") if one.bounds else ("_total",) if one.counts else ("",)
        assert {name + end for end in ends} <= names


def _in_prometheus(name: str, data: object) -> str:
    """What Prometheus calls a metric that OpenTelemetry has under this name."""
    unit = {one.name: one.unit for one in METRICS}
    histogram, _, part = name.rpartition(".")
    seconds = "_seconds" if unit.get(name, unit.get(histogram)) == "s" else ""
    if histogram in unit:
        return f"{histogram.replace('.', '_')}{seconds}_{part}"
    return name.replace(".", "_") + seconds + ("_total" if type(data).__name__ == "Sum" else "")


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

        def publish(name: str) -> None:
            for number in range(50, 0, -1):
                publisher.publish(Happened(number=number % 10), id=f"{name}-{number}")

        publish("Ana")
        assert eventually(lambda: worker.stats.received == 50 and not worker.stats.in_flight)
        before = page(metrics).keys()
        publish("Zuleica")
        assert eventually(lambda: worker.stats.received == 100 and not worker.stats.in_flight)
        assert page(metrics).keys() == before
    series = {name for name in before if not name[0].endswith("_bucket")}
    assert len(series) <= 60
    assert not [name for name in before if "Zuleica" in str(name) or "Ana" in str(name)]


class Failing(Consumer):
    """Fails in as many ways as there are messages."""

    service = "mail"
    retry = RetryPolicy(max_attempts=1, outage=0)

    @handles
    def happened(self, event: Happened) -> None:
        raise type(f"Error{event.number}", (Exception,), {})("of Zuleica")


def test_there_are_no_more_reasons_of_dead_letters_than_twenty_and_other() -> None:
    with (
        closing(MemoryBroker(Topology.of(Failing, topic="alunos"))) as broker,
        Publisher(broker.topic(), source="/x") as publisher,
        Worker(Failing(), broker=broker, wait=0.1) as worker,
    ):
        metrics = Metrics(worker)
        publisher.publish_many(Happened(number=number) for number in range(30))
        assert eventually(lambda: worker.stats.dead_lettered == 30)
        found = page(metrics)
    name = "messaging_worker_dead_letters_total"
    reasons = {key[2]: value for key, value in found.items() if key[0] == name}
    assert len(reasons) == 21
    assert reasons["other"] == 10
    assert sum(reasons.values()) == 30


def test_types_that_nobody_handles_are_one(broker: MemoryBroker) -> None:
    measures = Measures(Mail())
    for number in range(100):
        message = InFlightMessage(
            number,
            Delivery(
                queue="q",
                message_id=str(number),
                receipt="r",
                body="{}",
                attributes={"type": Attribute.string(f"strange.{number}")},
            ),
            0.0,
            30.0,
        )
        message.outcome, message.spent = Ack(), 0.1
        measures.settled([message], Disposition.ACKNOWLEDGED)
    counted = {key: one.read().count for key, one in measures.durations().items()}
    assert counted == {("happened", "acknowledged"): 0, ("other", "acknowledged"): 100}


def test_outcomes_are_counted_by_event_type_with_their_durations(broker: MemoryBroker) -> None:
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        Worker(Mail(), broker=broker, wait=0.1) as worker,
    ):
        metrics = Metrics(worker, publisher)
        publisher.publish_many(Happened(number=number) for number in range(8))
        assert eventually(lambda: worker.stats.received == 8 and not worker.stats.in_flight)
        found = page(metrics)
    name = "messaging_worker_handler_duration_seconds_count"
    outcomes = {key[2:]: value for key, value in found.items() if key[0] == name}
    assert outcomes == {
        ("acknowledged", "happened"): 5,
        ("acknowledged", "other"): 0,
        ("discarded", "happened"): 1,
        ("rejected", "happened"): 1,
        ("retried", "happened"): 1,
    }
    assert found["messaging_worker_retries_total", "mail", "1"] == 1
    assert found["messaging_worker_dead_letters_total", "mail", "rejected"] == 1
    for age in ("time_in_queue", "event_age"):
        assert found[f"messaging_worker_{age}_seconds_count", "mail"] == 8
        assert found[f"messaging_worker_{age}_seconds_bucket", "mail", "inf"] == 8
    assert found["messaging_publisher_duration_seconds_count", "alunos"] == 1
    assert found["messaging_publisher_duration_seconds_sum", "alunos"] > 0


def test_metrics_of_a_worker_that_runs_already_begin_with_them(broker: MemoryBroker) -> None:
    with (
        Publisher(broker.topic(), source="/x") as publisher,
        Worker(Mail(), broker=broker, wait=0.1) as worker,
    ):
        publisher.publish(Happened(number=0))
        assert eventually(lambda: worker.stats.acknowledged == 1)
        assert not worker.measures
        metrics = Metrics(worker)
        publisher.publish(Happened(number=0))
        assert eventually(lambda: worker.stats.acknowledged == 2)
        name = "messaging_worker_handler_duration_seconds_count"
        assert eventually(lambda: page(metrics)[name, "mail", "acknowledged", "happened"] == 1)


def test_the_age_of_a_message_that_is_to_come_again_is_seen_however_often_it_was_received() -> None:
    clock = FakeClock()
    measures, in_flight = Measures(Mail(), clock=clock), InFlight()
    sent = clock.now()
    tried = InFlightMessage(
        "m1",
        Delivery(queue="q", message_id="m1", receipt="r", body="{}", receive_count=7, sent_at=sent),
        clock.monotonic(),
        30.0,
    )
    assert measures.oldest(in_flight) == 0
    tried.outcome, tried.spent = Retry(300.0), 0.1
    measures.settled([tried], Disposition.RELEASED)
    clock.advance(290)
    assert measures.oldest(in_flight) == 290
    clock.advance(100)
    assert measures.oldest(in_flight) == 0, "somebody else has it by now"
    measures.settled([tried], Disposition.RELEASED)
    assert measures.oldest(in_flight) == 390
    tried.outcome = Ack()
    measures.settled([tried], Disposition.ACKNOWLEDGED)
    assert measures.oldest(in_flight) == 0
    assert measures.retries() == {"6-10": 2}
    in_flight.receive([tried.delivery], clock.monotonic(), 30.0, lambda message: None)
    assert measures.oldest(in_flight) == 390, "it is in hand again"


def test_ages_are_looked_at_for_some_messages_only() -> None:
    clock = FakeClock()
    measures = Measures(Mail(), clock=clock)
    body = '{"time": "1970-01-01T00:00:00Z"}'

    def settle(count: int) -> None:
        for number in range(count):
            message = InFlightMessage(
                number,
                Delivery(
                    queue="q", message_id=f"m{number}", receipt="r", body=body,
                    sent_at=1.0, received_at=3.0,
                ),
                0.0,
                30.0,
            )  # fmt: skip
            message.outcome, message.spent = Ack(), 0.1
            measures.settled([message], Disposition.ACKNOWLEDGED)

    settle(300)
    assert measures.age.read().count == measures.in_queue.read().count == 20
    clock.advance(1)
    settle(300)
    assert measures.age.read().count == 40
    assert measures.in_queue.read().total == 80


@pytest.mark.parametrize("body", ["", "[]", "7", '{"time": null}', '{"time": "soon"}', "{}"])
def test_a_body_that_says_no_time_is_no_age(body: str) -> None:
    measures = Measures(Mail())
    message = InFlightMessage(
        "m", Delivery(queue="q", message_id="m", receipt="r", body=body), 0.0, 30.0
    )
    message.outcome, message.spent = Ack(), 0.1
    measures.settled([message], Disposition.ACKNOWLEDGED)
    assert measures.age.read().count == 0
    assert measures.durations()["other", "acknowledged"].read().count == 1


def test_a_lease_that_is_renewed_or_lost_is_counted() -> None:
    class Queue:
        name = "q"

        def change_visibility(
            self, deliveries: Sequence[Delivery], seconds: Sequence[int]
        ) -> Sequence[Failure]:
            gone = [at for at, one in enumerate(deliveries) if one.message_id == "gone"]
            return [Failure(at, "ReceiptHandleIsInvalid", "", retryable=False) for at in gone]

    clock, in_flight = FakeClock(), InFlight()
    heartbeat = Heartbeat(
        Queue(),  # type: ignore[arg-type] # nothing else is asked of it
        in_flight,
        lease=30,
        tell=lambda message, reason: None,
        clock=clock,
    )
    given = [
        Delivery(queue="q", message_id=one, receipt="r", body="{}") for one in ("gone", "held")
    ]
    in_flight.receive(given, clock.monotonic(), 30.0, lambda message: None)
    clock.advance(20)
    heartbeat.step()
    assert (heartbeat.renewed, heartbeat.lost) == (1, 1)


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
