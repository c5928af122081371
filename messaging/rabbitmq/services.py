"""Which services' queues are bound to a topic: a list in the topic's record.

AMQP lets nobody ask an exchange what is bound to it. `apply` and `remove` keep the list.
"""

from __future__ import annotations

from collections.abc import Sequence

from messaging.contract.subscribers import Subscriber
from messaging.errors import NotFound
from messaging.rabbitmq.records import QueueRecord, change_record, read_beside, write_record
from messaging.rabbitmq.requests import Requests
from messaging.topology import queue_name

__all__ = ["list_service", "listed_services", "subscribers"]


def listed_services(requests: Requests, topic: str) -> Sequence[str]:
    """The services that `apply` has bound to `topic`; none where the topic has no record."""
    try:
        found = read_beside(requests, topic)
    except NotFound:
        return ()
    return found.services if found is not None else ()


def list_service(requests: Requests, topic: str, service: str, *, bound: bool) -> None:
    """`service` is bound to `topic` from now on, or no longer."""

    def change(found: QueueRecord) -> QueueRecord:
        others = {*found.services} - {service}
        services = others | {service} if bound else others
        return found.model_copy(update={"services": sorted(services)})

    try:
        change_record(requests, topic, change)
    except NotFound:
        if bound:  # the topic is older than records, or somebody else's work
            write_record(requests, topic, change(QueueRecord(owner="")))


def subscribers(requests: Requests, topic: str) -> list[Subscriber]:
    """Who is bound to `topic`, and by what, as `apply` wrote it down."""
    found = []
    for service in listed_services(requests, topic):
        name = queue_name(topic, service)
        try:
            record = read_beside(requests, name)
        except NotFound:
            continue  # it was removed meanwhile
        if record is not None:
            policy = {"type": list(record.types), "audience": list(record.audience)}
            found.append(Subscriber(endpoint=name, policy=policy))
    return found
