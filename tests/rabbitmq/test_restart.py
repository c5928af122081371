"""A node that dies and comes back: nothing that it confirmed is lost."""

from __future__ import annotations

import time

from messaging.connecting import apply, connect
from messaging.runtime import Worker
from messaging.settings import Settings
from tests.rabbitmq.parcels import TOPOLOGY, Counter, publish, until
from tests.rabbitmq_server import RabbitNode


def test_a_node_that_dies_and_comes_back_loses_nothing(rabbitmq_node: RabbitNode) -> None:
    settings = Settings(broker_url=rabbitmq_node.url, topic="parcels")
    apply(TOPOLOGY, settings)
    # A node that is killed within seconds of a quorum queue's making forgets the queue's log: it
    # writes its list of logs some seconds later. That is the broker's (3.10), and seen without us.
    time.sleep(6)
    publish(settings, *range(100, 150))
    broker = connect(settings)
    consumer = Counter()
    with Worker(consumer, broker=broker, wait=1) as worker:
        until(lambda: worker.stats.acknowledged >= 10)
        rabbitmq_node.kill()
        rabbitmq_node.start()
        publish(settings, *range(150, 160))
        until(lambda: {one for one, _, _ in list(consumer.seen)} == set(range(100, 160)))
        until(lambda: broker.queue("counter").depth()[:3] == (0, 0, 0))
    assert worker.stats.dead_lettered == 0
    broker.close()
