"""Which services' queues are bound to a topic: a list in the topic's record.

AMQP lets nobody ask an exchange what is bound to it. `apply` and `remove` keep the list.
"""

from __future__ import annotations

from collections.abc import Sequence

from messaging.contract.subscribers import Subscriber
from messaging.errors import NotFound
from messaging.rabbitmq.records import QueueRecord, change_record, declare_record, read_beside
from messaging.rabbitmq.session import Session
from messaging.topology import queue_name

__all__ = ["enlist", "listed_services", "strike", "subscribers"]


def listed_services(session: Session, topic: str) -> Sequence[str]:
    """The services that `apply` has bound to `topic`; none where the topic has no record."""
    try:
        found = read_beside(session, topic)
    except NotFound:
        return ()
    return found.services if found is not None else ()


def enlist(session: Session, topic: str, service: str) -> None:
    """`service` is bound to `topic`."""

    def with_it(found: QueueRecord) -> QueueRecord:
        return found.model_copy(update={"services": sorted({*found.services, service})})

    try:
        change_record(session, topic, with_it)
    except NotFound:
        # The topic is older than records, or somebody else's work.
        record = with_it(QueueRecord(owner=""))
        session.call(lambda channel, answer: declare_record(channel, topic, record, answer))


def strike(session: Session, topic: str, service: str) -> None:
    """`service` is no longer bound to `topic`."""

    def without_it(found: QueueRecord) -> QueueRecord:
        return found.model_copy(update={"services": sorted({*found.services} - {service})})

    try:
        change_record(session, topic, without_it)
    except NotFound:
        return


def subscribers(session: Session, topic: str) -> list[Subscriber]:
    """Who is bound to `topic`, and by what, as `apply` wrote it down."""
    found = []
    for service in listed_services(session, topic):
        name = queue_name(topic, service)
        try:
            record = read_beside(session, name)
        except NotFound:
            continue  # it was removed meanwhile
        if record is not None:
            policy = {"type": list(record.types), "audience": list(record.audience)}
            found.append(Subscriber(endpoint=name, policy=policy))
    return found
