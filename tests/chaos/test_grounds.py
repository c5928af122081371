"""What a ground counts decides when a schedule is over: messages that it misses look lost."""

from __future__ import annotations

from messaging.publishing.publisher import Publisher
from tests.chaos.grounds import RabbitMQ
from tests.chaos.server import event_of, wanted_by
from tests.chaos.services import SERVICES, TOPOLOGY


def test_messages_that_rabbitmqctl_does_not_count_yet_are_waiting() -> None:
    services = [service.service for service in SERVICES]
    with RabbitMQ() as ground:
        settings = ground.prepared(TOPOLOGY, "counted-")
        broker = ground.connect(settings)
        with Publisher(broker.topic(), source="/chaos") as publisher:
            publisher.publish_many([event_of(number) for number in range(30)])
        broker.close()
        copies = sum(len(wanted_by(number)) for number in range(30))
        assert ground.waiting(settings, services) == copies
