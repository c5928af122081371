"""Records: what the broker does not report about a queue or an exchange, kept in a small queue.

AMQP provides no way to read how a queue was declared, or what is bound to it. `apply` writes that
into a queue of one message, which is read and put back: a worker finds its visibility timeout
there, and `plan` finds the queue's owner and bindings. The record of a topic lists the services
whose queues are bound to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pika
from pika.spec import Basic
from pydantic import BaseModel, ConfigDict, ValidationError

from messaging.contract.subscribers import Subscriber
from messaging.errors import NotFound, TransportError
from messaging.logs import logger
from messaging.rabbitmq.names import record_name
from messaging.rabbitmq.requests import Requests
from messaging.rabbitmq.session import Answer
from messaging.topology import queue_name

__all__ = [
    "QueueRecord",
    "list_service",
    "listed_services",
    "read_beside",
    "read_record",
    "subscribers",
    "write_record",
]

log = logger("messaging.rabbitmq.records")

ATTEMPTS, PAUSE = 40, 0.025
"""Another program may hold the record for as long as it takes to read it."""


class QueueRecord(BaseModel):
    """How `apply` has set up one queue or exchange. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    visibility_timeout: int = 30
    max_receives: int = 0
    retention: int = 0
    keys: Sequence[str] = ()
    """The routing keys that bind the queue to its topic's exchange."""
    types: Sequence[str] = ()
    audience: Sequence[str] = ()
    """The types and audiences that those keys stand for."""
    contract: str = ""
    services: Sequence[str] = ()
    """For a topic: the services whose queues are bound to it, in order."""


def read_record(requests: Requests, owned: str) -> QueueRecord | None:
    """The record of the queue `owned`; None where there is none that can be read.

    Raises `NotFound` if the queue itself does not exist.
    """
    requests.look(owned)
    found = read_beside(requests, owned)
    if found is None:  # or its node is unavailable: the queue itself is on others, too
        log.warning("the record of %s is not there; apply its topology again", owned)
    return found


def read_beside(requests: Requests, owned: str) -> QueueRecord | None:
    """The same without a look at `owned`."""

    def got(channel: Any, tag: int, body: bytes, answer: Answer) -> None:
        channel.basic_nack(tag, requeue=True)
        answer.set_result(body)

    try:
        body = _with_record(requests, owned, got)
    except NotFound:
        return None
    found = None if body is None else _parsed(body)
    if found is None:
        log.warning("the record of %s cannot be read; apply its topology again", owned)
    return found


def write_record(requests: Requests, owned: str, record: QueueRecord) -> None:
    """Write the record of `owned`, replacing any earlier one."""
    arguments = {"x-queue-type": "classic", "x-max-length": 1}
    requests.declare_queue(record_name(owned), arguments)
    requests.call(lambda channel, answer: _publish(channel, owned, record, answer))


def listed_services(requests: Requests, topic: str) -> Sequence[str]:
    """The services that `apply` has bound to `topic`; none where the topic has no record."""
    found = read_beside(requests, topic)
    return found.services if found is not None else ()


def list_service(requests: Requests, topic: str, service: str, *, bound: bool) -> None:
    """`service` is bound to `topic` from now on, or no longer; of two at once, one comes later.

    Whoever has the record in hand is the only one who changes it. Raises `TransportError` where
    somebody does not let go of it.
    """

    def changed(found: QueueRecord) -> QueueRecord:
        others = {*found.services} - {service}
        services = others | {service} if bound else others
        return found.model_copy(update={"services": sorted(services)})

    def got(channel: Any, tag: int, body: bytes, answer: Answer) -> None:
        channel.basic_ack(tag)
        _publish(channel, topic, changed(_parsed(body) or QueueRecord(owner="")), answer)

    try:
        answered = _with_record(requests, topic, got)
    except NotFound:
        if bound:  # the topic is older than records, or somebody else's work
            write_record(requests, topic, changed(QueueRecord(owner="")))
        return
    if answered is None:
        said = f"the record of {topic} is being changed by another program; try again"
        raise TransportError(said, code="Record")


def subscribers(requests: Requests, topic: str) -> list[Subscriber]:
    """Who is bound to `topic`, and by what, as `apply` wrote it down."""
    found = []
    for service in listed_services(requests, topic):
        name = queue_name(topic, service)
        record = read_beside(requests, name)  # None: it was removed meanwhile
        if record is not None:
            policy = {"type": list(record.types), "audience": list(record.audience)}
            found.append(Subscriber(endpoint=name, policy=policy))
    return found


def _publish(channel: Any, owned: str, record: QueueRecord, answer: Answer) -> None:
    name = record_name(owned)
    channel.basic_publish(
        "",
        name,
        record.model_dump_json().encode(),
        pika.BasicProperties(content_type="application/json", delivery_mode=2),
    )
    # A channel responds in order: when this response arrives, the message is there.
    channel.queue_declare(name, passive=True, callback=answer.set_result)


def _with_record(
    requests: Requests, owned: str, got: Callable[[Any, int, bytes, Answer], None]
) -> Any:
    """What `got` answers, to whom the record of `owned` is given; None where it does not come."""

    def ask(channel: Any, answer: Answer) -> None:
        def empty(_frame: Any) -> None:
            if not answer.done():  # otherwise it is the empty response to a later request
                answer.set_result(None)

        channel.basic_get(
            record_name(owned),
            lambda _c, method, _f, body: got(channel, method.delivery_tag, body, answer),
        )
        channel.add_callback(empty, [Basic.GetEmpty], one_shot=True)

    for _ in range(ATTEMPTS):
        answered = requests.call(ask)
        if answered is not None:
            return answered
        time.sleep(PAUSE)
    return None


def _parsed(body: bytes) -> QueueRecord | None:
    try:
        return QueueRecord.model_validate_json(body)
    except ValidationError:
        return None
