"""What the broker would not tell of a queue or an exchange, kept in a small queue beside it.

AMQP lets nobody read how a queue was declared, or what is bound to it. `apply` writes that into a
queue of one message, which is read and put back: a worker finds its visibility timeout there, and
`plan` whose the queue is and what it is bound by.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import pika
from pika.spec import Basic
from pydantic import BaseModel, ConfigDict, ValidationError

from messaging.logs import logger
from messaging.rabbitmq.link import Answer, Session
from messaging.rabbitmq.names import record_name

__all__ = ["QueueRecord", "declare_record", "read_record"]

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
    contract: str = ""


def read_record(session: Session, owned: str) -> QueueRecord | None:
    """The record of the queue or exchange `owned`; None where there is none that can be read.

    Raises `NotFound` when the queue itself does not exist.
    """

    def look(channel: Any, answer: Answer) -> None:
        channel.queue_declare(owned, passive=True, callback=answer.set_result)

    session.call(look)
    return read_beside(session, owned)


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
    name = record_name(owned)

    def write(_frame: Any) -> None:
        channel.basic_publish(
            "",
            name,
            record.model_dump_json().encode(),
            pika.BasicProperties(content_type="application/json", delivery_mode=2),
        )
        # The same channel answers in order: when this comes, the message is there.
        channel.queue_declare(name, passive=True, callback=answer.set_result)

    arguments = {"x-queue-type": "classic", "x-max-length": 1}
    channel.queue_declare(name, durable=True, arguments=arguments, callback=write)


def _get(channel: Any, queue: str, answer: Answer) -> None:
    def got(_channel: Any, method: Any, _found: Any, body: bytes) -> None:
        channel.basic_nack(method.delivery_tag, requeue=True)
        answer.set_result(body)

    def empty(_frame: Any) -> None:
        if not answer.done():  # else it is the empty answer to a later question
            answer.set_result(None)

    channel.basic_get(queue, got)
    channel.add_callback(empty, [Basic.GetEmpty], one_shot=True)
