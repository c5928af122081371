"""Connections as they fail: certificates, nodes, alarms, channels, and peers that say nothing."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from messaging.connecting import apply, connect
from messaging.errors import PublishError, SettingsError, TransportError
from messaging.publishing.publisher import Publisher
from messaging.rabbitmq import RabbitBroker, remove
from messaging.runtime import Worker
from messaging.settings import Settings
from tests.certificates import Authority
from tests.contracts.conftest import ParcelSent, message
from tests.rabbitmq.parcels import TOPOLOGY, Counter, publish, until
from tests.rabbitmq.proxy import Cutter
from tests.rabbitmq_server import RabbitNode


def at(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"broker_url": url})


def failure(settings: Settings) -> str:
    broker = connect(settings)
    try:
        with pytest.raises(TransportError) as told:
            broker.topic().publish([message("{}")])
    finally:
        broker.close()
    return f"{told.value.code}: {told.value}"


def seen(consumer: Counter) -> set[int]:
    return {number for number, _, _ in list(consumer.seen)}


@contextmanager
def listening(pem: Path) -> Iterator[int]:
    """A TLS server with this certificate, which speaks no AMQP."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        near, _ = server.accept()
        with pytest.raises(ssl.SSLError):  # the client says why, and goes
            context.wrap_socket(near, server_side=True)
        near.close()

    thread = threading.Thread(target=serve)
    thread.start()
    yield server.getsockname()[1]
    thread.join(10)
    server.close()


def test_events_go_over_tls_with_an_authority_of_one_s_own(
    settings: Settings, rabbitmq_server: RabbitNode
) -> None:
    encrypted = at(settings, rabbitmq_server.tls_url)
    apply(TOPOLOGY, encrypted)
    publish(encrypted, 100)
    broker = connect(encrypted)
    consumer = Counter()
    with Worker(consumer, broker=broker, wait=1):
        until(lambda: seen(consumer) == {100})
    broker.close()


def test_a_broker_that_cannot_prove_who_it_is_is_refused(
    settings: Settings, rabbitmq_server: RabbitNode, tmp_path: Path
) -> None:
    good = rabbitmq_server.tls_url
    authority = Authority(tmp_path)

    unknown = failure(at(settings, good.partition("?")[0]))
    elsewhere = failure(at(settings, good.replace("@127.0.0.1:", "@localhost:")))
    with listening(authority.issue(days=-1)) as port:
        url = f"amqps://u:s3cret@127.0.0.1:{port}/?cacertfile={authority.file}"
        expired = failure(at(settings, url))

    for told, why in (
        (unknown, "self-signed certificate in certificate chain"),
        (elsewhere, "Hostname mismatch, certificate is not valid for 'localhost'"),
        (expired, "certificate has expired"),
    ):
        assert told.startswith("CertificateRefused: ")
        assert why in told
        assert "cacertfile=" in told
        assert "s3cret" not in told


@pytest.mark.parametrize(
    ("url", "remedy"),
    [
        ("amqps://u:s3cret@x/?cacertfile=/nowhere.pem", "cacertfile=/nowhere.pem cannot be read"),
        ("amqps://u:s3cret@x/?keyfile=/nowhere.pem", "keyfile= without certfile="),
        ("amqps://u:s3cret@x/?verify=verify_none", "always verified"),
        ("amqp://u:s3cret@x/?cacertfile=/ca.pem", "only amqps:// is encrypted"),
        ("amqps://u:s3cret@x/?heartbeet=5", "unknown: heartbeet"),
    ],
)
def test_a_url_that_asks_for_what_cannot_be_is_refused_by_parameter(url: str, remedy: str) -> None:
    with pytest.raises(SettingsError) as told:
        connect(Settings(broker_url=url, topic="parcels"))
    assert remedy in str(told.value)
    assert "s3cret" not in str(told.value)


def test_the_next_url_is_taken_when_the_node_of_the_first_is_gone(
    settings: Settings, rabbitmq_server: RabbitNode, caplog: pytest.LogCaptureFixture
) -> None:
    # Two ways to one node: what a cluster's nodes share, queues and messages, stays.
    caplog.set_level(logging.INFO, "messaging.rabbitmq")
    apply(TOPOLOGY, settings)
    first, second = Cutter(rabbitmq_server.port), Cutter(rabbitmq_server.port)
    urls = [f"amqp://127.0.0.1:{one.port}" for one in (first, second)]
    broker = connect(at(settings, ",".join(urls)))
    consumer = Counter()
    with Publisher(broker.topic(), source="/post") as publisher:
        with Worker(consumer, broker=broker, wait=1) as worker:
            for number in range(100, 120):
                publisher.publish(ParcelSent(number=number))

            first.close()

            for number in range(120, 130):
                publisher.publish(ParcelSent(number=number), timeout=30)
            until(lambda: seen(consumer) == set(range(100, 130)))
            until(lambda: broker.queue("counter").depth()[:2] == (0, 0))
        assert worker.stats.dead_lettered == 0
    broker.close()
    second.close()
    said = [one.getMessage() for one in caplog.records]
    assert sum(f"{urls[0]}/ is lost" in one for one in said) == 2
    assert sum(f"connected to RabbitMQ at {urls[1]}/" in one for one in said) == 2


def test_a_publish_waits_while_the_broker_is_short_of_memory(
    settings: Settings, rabbitmq_server: RabbitNode, caplog: pytest.LogCaptureFixture
) -> None:
    apply(TOPOLOGY, settings)
    broker = connect(settings)
    consumer = Counter()
    with Publisher(broker.topic(), source="/post") as publisher:
        publisher.publish(ParcelSent(number=100))
        rabbitmq_server.control("set_vm_memory_high_watermark", "absolute", "1MB")
        try:
            began = time.monotonic()
            with pytest.raises(PublishError) as told:
                publisher.publish(ParcelSent(number=101), timeout=2)
            waited = time.monotonic() - began
            with Worker(consumer, broker=broker, wait=1):  # it receives by another connection
                until(lambda: 100 in seen(consumer))
            late = threading.Thread(
                target=publisher.publish, args=(ParcelSent(number=102),), kwargs={"timeout": 60}
            )
            late.start()
        finally:
            rabbitmq_server.control("set_vm_memory_high_watermark", "0.9")
        late.join(60)
        with Worker(consumer, broker=broker, wait=1):
            until(lambda: 102 in seen(consumer))
    broker.close()
    assert waited >= 2
    assert "short of memory or disk" in str(told.value)
    assert "goes on" in caplog.text


@pytest.mark.parametrize(
    "at_bytes", [b"PLAIN", b"\x00\x0a\x00\x28"], ids=["while it logs in", "while it opens"]
)
def test_a_connection_that_is_cut_while_it_opens_is_tried_again(
    settings: Settings, rabbitmq_server: RabbitNode, at_bytes: bytes
) -> None:
    # The client calls it a probable refusal, and an event was given up as one that is not allowed.
    apply(TOPOLOGY, settings)
    proxy = Cutter(rabbitmq_server.port, at=at_bytes)
    broker = connect(at(settings, f"amqp://127.0.0.1:{proxy.port}/"))
    with Publisher(broker.topic(), source="/post") as publisher:
        publisher.publish(ParcelSent(number=100))
    broker.close()
    proxy.close()


def test_a_program_ends_while_the_broker_is_short_of_memory(
    settings: Settings, rabbitmq_server: RabbitNode
) -> None:
    apply(TOPOLOGY, settings)
    broker = connect(settings)
    assert isinstance(broker, RabbitBroker)
    publisher = Publisher(broker.topic(), source="/post")
    publisher.publish(ParcelSent(number=100))
    thread = broker._sending._thread
    rabbitmq_server.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        with pytest.raises(PublishError):
            publisher.publish(ParcelSent(number=101), timeout=1)
        publisher.close()
        broker.close()
        assert thread is not None
        assert not thread.is_alive()
    finally:
        rabbitmq_server.control("set_vm_memory_high_watermark", "0.9")


def broken(settings: Settings, how: Callable[[RabbitBroker], None]) -> None:
    """A worker hears of 100; then `how` happens; then it hears of 101, and nothing is left."""
    broker = connect(settings)
    assert isinstance(broker, RabbitBroker)
    consumer = Counter()
    with Worker(consumer, broker=broker, wait=1):
        publish(settings, 100)
        until(lambda: 100 in seen(consumer))
        how(broker)
        publish(settings, 101)
        until(lambda: 101 in seen(consumer))
        until(lambda: broker.queue("counter").depth()[:2] == (0, 0))
    broker.close()


def test_a_worker_goes_on_when_its_queue_is_deleted_and_made_again(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def delete(_broker: RabbitBroker) -> None:
        remove(TOPOLOGY, "counter", settings, lose_messages=True)
        until(lambda: "ConsumerCancelled" in caplog.text or "does not exist" in caplog.text)
        apply(TOPOLOGY, settings)

    apply(TOPOLOGY, settings)
    broken(settings, delete)


def test_a_worker_goes_on_when_the_broker_closes_its_channel(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    def acknowledge_what_was_never_sent(broker: RabbitBroker) -> None:
        holding = broker._held(broker.queue("counter").name)
        holding.say(lambda channel: channel.basic_ack(99_999))
        until(lambda: "closed the channel" in caplog.text)

    apply(TOPOLOGY, settings)
    broken(settings, acknowledge_what_was_never_sent)
    assert "406" in caplog.text


def test_a_peer_that_says_nothing_is_left_for_a_new_connection(
    settings: Settings, rabbitmq_server: RabbitNode, caplog: pytest.LogCaptureFixture
) -> None:
    apply(TOPOLOGY, settings)
    proxy = Cutter(rabbitmq_server.port)
    broker = connect(at(settings, f"amqp://127.0.0.1:{proxy.port}/?heartbeat=1"))
    consumer = Counter()
    publisher = Publisher(broker.topic(), source="/post")
    with publisher, Worker(consumer, broker=broker, wait=1):
        publisher.publish(ParcelSent(number=100))
        until(lambda: 100 in seen(consumer))
        proxy.freeze()
        publishing = threading.Thread(
            target=publisher.publish, args=(ParcelSent(number=101),), kwargs={"timeout": 60}
        )
        publishing.start()
        until(lambda: caplog.text.count("AMQPHeartbeatTimeout") >= 2)
        proxy.thaw()
        publishing.join(60)
        until(lambda: 101 in seen(consumer))
    broker.close()
    proxy.close()
