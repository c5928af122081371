"""Both brokers at once, as the page "From RabbitMQ to SNS and SQS, and back" has it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from messaging.aws import apply as apply_aws
from messaging.aws import connect as connect_aws
from messaging.connecting import apply, connect
from messaging.idempotency import Idempotency, MemoryStore
from messaging.local import LocalServer
from messaging.publishing.publisher import Publisher
from messaging.rabbitmq.names import dead_letter_arguments, unrouted_arguments
from messaging.runtime import Worker
from messaging.settings import Settings
from messaging.transport import Broker
from tests.contracts.conftest import ParcelSent, message
from tests.rabbitmq.parcels import TOPOLOGY, Counter, until

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "from-rabbitmq.md"


@pytest.fixture
def aws(settings: Settings) -> Iterator[Broker]:
    with LocalServer(engine="moto") as server:
        session: Any = boto3.Session
        made = session(**server.credentials)
        there = server.settings(topic="parcels", prefix=settings.prefix)
        apply_aws(TOPOLOGY, there, session=made, create_topic=True)
        broker = connect_aws(there, session=made)
        yield broker
        broker.close()


def both(*topics: Any) -> Any:
    """The page's class."""
    found = re.search(r"```python\n(.*?class Both:.*?)```", PAGE.read_text(), re.S)
    assert found is not None
    names: dict[str, Any] = {}
    exec(found[1], names)
    return names["Both"](*topics)


def test_a_service_that_moves_handles_each_event_once(settings: Settings, aws: Broker) -> None:
    apply(TOPOLOGY, settings)
    rabbitmq = connect(settings)
    consumer = Counter()
    once = [Idempotency(MemoryStore())]
    numbers = list(range(100, 120))
    with Publisher(both(rabbitmq.topic(), aws.topic()), source="/post") as publisher:
        publisher.publish_many([ParcelSent(number=one) for one in numbers[:10]])
        with Worker(consumer, broker=rabbitmq, wait=1, middleware=once) as old:
            until(lambda: old.stats.acknowledged == 10)
            with Worker(consumer, broker=aws, wait=1, middleware=once) as new:
                publisher.publish_many([ParcelSent(number=one) for one in numbers[10:]])
                until(lambda: old.stats.acknowledged == new.stats.acknowledged == 20)
        assert old.stats.balanced
        assert new.stats.balanced
    rabbitmq.close()
    assert sorted(number for number, _, _ in consumer.seen) == numbers


def test_what_one_of_them_refuses_is_a_failure_and_the_rest_arrives(settings: Settings) -> None:
    apply(TOPOLOGY, settings)
    rabbitmq, other = connect(settings), connect(settings)
    topic = both(rabbitmq.topic(), other.topic())
    wrong = message("", "parcel.sent")

    failures = topic.publish([message("1"), wrong, message("2")])

    assert [(one.index, one.retryable) for one in failures] == [(1, False)]
    until(lambda: rabbitmq.queue("counter").depth().visible == 4)
    topic.close()
    rabbitmq.close()
    other.close()


def test_a_letter_that_is_looked_at_often_is_not_dropped_by_rabbitmq_4() -> None:
    # From 4.0 on a quorum queue without a limit of its own has one of 20.
    for arguments in (dead_letter_arguments(60), unrouted_arguments(60)):
        assert arguments["x-delivery-limit"] >= 1_000_000
