"""What stands on the sockets, end to end on a real node."""

from __future__ import annotations

import json
import sqlite3
import urllib.request
from collections import Counter as Count
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from messaging.claimcheck import ClaimCheck, DirectoryBlobStore
from messaging.cli.app import run as command
from messaging.connecting import ServiceBroker, apply, connect
from messaging.consuming.batch import Batch
from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError
from messaging.idempotency import Transactional
from messaging.lambda_handler import lambda_handler
from messaging.metrics import Metrics
from messaging.outbox import Relay, SqlOutbox, connector, create
from messaging.outcome import RateLimit
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.runtime.health import serve_health
from messaging.settings import Settings
from messaging.sql import open_sqlite
from messaging.topology import Topology
from messaging.tracing import Tracing
from tests.contracts.conftest import ParcelSent
from tests.rabbitmq.parcels import TOPOLOGY, Counter, until


class Shelf(Consumer):
    """Takes what comes in batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    @handles(batch=20, wait=0.5)
    def sent(self, parcels: Batch[ParcelSent]) -> None:
        self.batches.append([one.number for one in parcels])


class Slow(Consumer):
    """Receives no more than ten a second."""

    rate = RateLimit(10, burst=1)

    def __init__(self) -> None:
        self.seen: list[int] = []

    @handles
    def sent(self, parcel: ParcelSent) -> None:
        self.seen.append(parcel.number)


class Tracked(Consumer):
    service = "counter"

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    @handles
    def sent(self, parcel: ParcelSent, envelope: Envelope) -> None:
        self.envelopes.append(envelope)


@pytest.fixture
def broker(settings: Settings) -> Iterator[ServiceBroker]:
    apply(TOPOLOGY, settings)
    broker = connect(settings)
    yield broker
    broker.close()


def test_a_message_that_comes_twice_takes_effect_once(
    broker: ServiceBroker, settings: Settings, tmp_path: Path
) -> None:
    path = tmp_path / "effects.db"
    once = Transactional(lambda: open_sqlite(path)).create()
    with closing(open_sqlite(path)) as connection:
        connection.execute("CREATE TABLE effects (number INTEGER)")
    handled = Count[int]()

    class Booking(Consumer):
        service = "counter"

        @handles
        def sent(self, parcel: ParcelSent) -> None:
            handled[parcel.number] += 1
            once.connection.execute("INSERT INTO effects VALUES (?)", (parcel.number,))

    with Publisher(broker.topic(), source="/post") as publisher:
        for number in (7, 7, 8):
            publisher.publish(ParcelSent(number=number), id=f"parcel-{number}")
    with Worker(Booking(), broker=broker, wait=1, middleware=[once]) as worker:
        until(lambda: worker.stats.acknowledged == 3)
    with closing(sqlite3.connect(path)) as found:
        rows = found.execute("SELECT number FROM effects ORDER BY 1").fetchall()
    assert rows == [(7,), (8,)]
    assert handled == {7: 1, 8: 1}


def test_the_relay_sends_what_was_committed_and_where_finds_it(
    broker: ServiceBroker,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = tmp_path / "outbox.db"
    with closing(sqlite3.connect(path)) as connection:
        create(connection)
        with Publisher(SqlOutbox(connection), source="/post") as publisher:
            publisher.publish(ParcelSent(number=2), id="parcel-2")  # which the consumer rejects
            connection.commit()
            publisher.publish(ParcelSent(number=4), id="parcel-4")
            connection.rollback()
    with Relay(connector(f"sqlite:///{path}"), broker.topic()) as relay:
        assert relay.drain().published == 1
    consumer = Counter()
    with Worker(consumer, broker=broker, wait=1) as worker:
        until(lambda: worker.stats.dead_lettered == 1)
    assert [number for number, _, _ in consumer.seen] == [2]

    monkeypatch.setenv("MESSAGING_BROKER_URL", str(settings.broker_url))
    monkeypatch.setenv("MESSAGING_PREFIX", settings.prefix)
    monkeypatch.setenv("MESSAGING_TOPOLOGY", "tests.rabbitmq.parcels:TOPOLOGY")
    capsys.readouterr()
    assert command(["where", "parcel-2", "--database", f"sqlite:///{path}", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in found["outbox"]] == ["published"]
    assert [one["reason"] for one in found["letters"]] == ["number: no such parcel"]
    event = "tests.contracts.conftest:ParcelSent"
    assert command(["explain", "parcel.sent", "--event", event, "--json"]) == 0
    assert "counter" in json.loads(capsys.readouterr().out)["services"]


def test_big_data_goes_by_a_claim_check_and_a_trace_goes_on(
    broker: ServiceBroker, tmp_path: Path
) -> None:
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = Tracing(tracer_provider=provider)
    codec = ClaimCheck(DirectoryBlobStore(tmp_path), threshold=1)
    consumer = Tracked()
    with Publisher(broker.topic(), source="/post", codec=codec, tracing=tracing) as publisher:
        publisher.publish(ParcelSent(number=5))
    with Worker(consumer, broker=broker, wait=1, codec=codec, middleware=[tracing]) as worker:
        until(lambda: worker.stats.acknowledged == 1)
    assert [one.data for one in consumer.envelopes] == [{"number": 5}]
    assert len(list(tmp_path.rglob("*.json"))) == 1
    assert len({span.context.trace_id for span in exporter.get_finished_spans()}) == 1
    assert len(exporter.get_finished_spans()) >= 2
    systems = {
        (span.attributes or {})["messaging.system"] for span in exporter.get_finished_spans()
    }
    assert systems == {"rabbitmq"}


def test_batches_rates_metrics_and_health(settings: Settings) -> None:
    apply(Topology.of(Shelf, Slow, topic="parcels", owns_topic=True), settings)
    broker = connect(settings)
    with Publisher(broker.topic(), source="/post") as publisher:
        publisher.publish_many([ParcelSent(number=one) for one in range(12)])
    shelf, slow = Shelf(), Slow()
    with (
        Worker(shelf, slow, broker=broker, wait=1) as worker,
        serve_health(worker, "127.0.0.1:0") as (host, port),
    ):
        until(lambda: sorted(one for some in shelf.batches for one in some) == list(range(12)))
        until(lambda: sorted(slow.seen) == list(range(12)))
        read = Metrics(worker).read()
        with urllib.request.urlopen(f"http://{host}:{port}/ready") as answer:
            assert answer.status == 200
    assert max(map(len, shelf.batches)) > 1
    received = [values for name, values in read.items() if "received" in name]
    assert sum(sum(one.values()) for one in received) >= 24
    broker.close()


def test_lambda_is_fed_by_sqs_and_says_so(broker: ServiceBroker) -> None:
    with pytest.raises(ConfigurationError, match="Lambda is fed by SQS"):
        lambda_handler(Counter(), queue=broker.queue("counter"))
