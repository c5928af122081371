"""What the broker would not tell of a queue or an exchange, kept in a small queue beside it.

AMQP lets nobody read how a queue was declared, or what is bound to it. `apply` writes that into a
queue of one message, which is read and put back: a worker finds its visibility timeout there, and
`plan` whose the queue is and what it is bound by.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import pika
from pika.spec import Basic
from pydantic import BaseModel, ConfigDict, ValidationError

from messaging.errors import NotFound, TransportError
from messaging.logs import logger
from messaging.rabbitmq.names import record_name
from messaging.rabbitmq.session import Answer, Session

__all__ = ["QueueRecord", "change_record", "declare_record", "read_beside", "read_record"]

log = logger("messaging.rabbitmq.records")

ATTEMPTS, PAUSE = 40, 0.025
"""Somebody else may hold the record, for as long as it takes to read it."""


class QueueRecord(BaseModel):
    """What `apply` has made of one queue or exchange. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    owner: str
    visibility_timeout: int = 30
    max_receives: int = 0
    retention: int = 0
    keys: Sequence[str] = ()
    """The routing keys that bind the queue to its topic's exchange."""
    types: Sequence[str] = ()
    audience: Sequence[str] = ()
    """What those keys are made of."""
    contract: str = ""
    services: Sequence[str] = ()
    """Of a topic: whose queues are bound to it, in order."""


def read_record(session: Session, owned: str) -> QueueRecord | None:
    """The record of the queue or exchange `owned`; None where there is none that can be read.

    Raises `NotFound` when the queue itself does not exist.
    """

    def look(channel: Any, answer: Answer) -> None:
        channel.queue_declare(owned, passive=True, callback=answer.set_result)

    session.call(look)
    try:
        return read_beside(session, owned)
    except NotFound:  # or its node is away: the queue itself is on others, too
        log.warning("the record of %s is not there; apply its topology again", owned)
        return None


def read_beside(session: Session, owned: str) -> QueueRecord | None:
    """The same without a look at `owned`. Raises `NotFound` when the record's queue is missing."""
    for _ in range(ATTEMPTS):
        body = session.call(lambda channel, answer: _get(channel, record_name(owned), answer))
        if body is not None:
            try:
                return QueueRecord.model_validate_json(body)
            except ValidationError:
                log.warning("the record of %s cannot be read; apply its topology again", owned)
                return None
        time.sleep(PAUSE)
    log.warning("%s has no record; apply its topology again", owned)
    return None


def declare_record(channel: Any, owned: str, record: QueueRecord, answer: Answer) -> None:
    """Write the record of `owned`, in place of what was there."""
    arguments = {"x-queue-type": "classic", "x-max-length": 1}
    channel.queue_declare(
        record_name(owned),
        durable=True,
        arguments=arguments,
        callback=lambda _: _publish(channel, owned, record, answer),
    )


def change_record(
    session: Session, owned: str, change: Callable[[QueueRecord], QueueRecord]
) -> None:
    """Change the record of `owned`, which stands; of two at once, one comes after the other.

    Whoever has the record in hand is the only one who changes it. Raises `NotFound` where there is
    none, and `TransportError` where somebody does not let go of it.
    """
    for _ in range(ATTEMPTS):
        taken = session.call(lambda channel, answer: _take(channel, record_name(owned), answer))
        if taken is None:
            time.sleep(PAUSE)
            continue
        tag, body = taken
        try:
            found = QueueRecord.model_validate_json(body)
        except ValidationError:
            found = QueueRecord(owner="")
        wanted = change(found)

        def write(channel: Any, answer: Answer) -> None:
            channel.basic_ack(tag)  # noqa: B023 - called before the next round
            _publish(channel, owned, wanted, answer)  # noqa: B023 - as above

        session.call(write)
        return
    raise TransportError(f"the record of {owned} is in somebody's hand; try again", code="Record")


def _publish(channel: Any, owned: str, record: QueueRecord, answer: Answer) -> None:
    name = record_name(owned)
    channel.basic_publish(
        "",
        name,
        record.model_dump_json().encode(),
        pika.BasicProperties(content_type="application/json", delivery_mode=2),
    )
    # The same channel answers in order: when this comes, the message is there.
    channel.queue_declare(name, passive=True, callback=answer.set_result)


def _get(channel: Any, queue: str, answer: Answer) -> None:
    def got(tag: int, body: bytes) -> None:
        channel.basic_nack(tag, requeue=True)
        answer.set_result(body)

    _ask(channel, queue, answer, got)


def _take(channel: Any, queue: str, answer: Answer) -> None:
    _ask(channel, queue, answer, lambda tag, body: answer.set_result((tag, body)))


def _ask(channel: Any, queue: str, answer: Answer, got: Callable[[int, bytes], None]) -> None:
    def empty(_frame: Any) -> None:
        if not answer.done():  # else it is the empty answer to a later question
            answer.set_result(None)

    channel.basic_get(queue, lambda _c, method, _f, body: got(method.delivery_tag, body))
    channel.add_callback(empty, [Basic.GetEmpty], one_shot=True)
