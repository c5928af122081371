"""A real cluster of three nodes, of which one dies: `make rabbitmq-cluster`.

Not a part of the suite, since three nodes take half a minute to find each other.
"""

from __future__ import annotations

import logging

import pytest

from messaging.connecting import apply, connect
from messaging.publishing.publisher import Publisher
from messaging.runtime import Worker
from messaging.settings import Settings
from tests.contracts.conftest import ParcelSent
from tests.rabbitmq.parcels import TOPOLOGY, Counter, publish, until
from tests.rabbitmq_server import RabbitNode


def seen(consumer: Counter) -> set[int]:
    return {number for number, _, _ in list(consumer.seen)}


def test_a_cluster_goes_on_when_the_node_that_is_connected_dies(
    rabbitmq_cluster: list[RabbitNode], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "messaging.rabbitmq")
    urls = ",".join(node.url for node in rabbitmq_cluster)
    settings = Settings(broker_url=urls, topic="parcels")
    apply(TOPOLOGY, settings)
    publish(settings, *range(100, 150))
    broker = connect(settings)
    consumer = Counter()
    with Publisher(broker.topic(), source="/post") as publisher:
        with Worker(consumer, broker=broker, wait=1) as worker:
            until(lambda: worker.stats.acknowledged >= 10)
            publisher.publish(ParcelSent(number=150))

            rabbitmq_cluster[0].kill()

            for number in range(151, 161):
                publisher.publish(ParcelSent(number=number), timeout=30)
            until(lambda: seen(consumer) == set(range(100, 161)))
            until(lambda: broker.queue("counter").depth()[:2] == (0, 0))
        assert worker.stats.dead_lettered == 0
    broker.close()
    said = [one.getMessage() for one in caplog.records]
    first, second = (f"amqp://127.0.0.1:{node.port}/" for node in rabbitmq_cluster[:2])
    assert any(f"{first} is lost" in one for one in said)
    assert any(f"connected to RabbitMQ at {second}" in one for one in said)
