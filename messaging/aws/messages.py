"""The room of SQS messages: a message of a queue to a delivery, a dead letter to a request."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from messaging import deadletter
from messaging.transport import Attribute, CancelToken, DeadLetter, Delivery

__all__ = ["COUNTS", "SYSTEM_ATTRIBUTES", "counts", "deliveries", "letter_entries", "wire_value"]

COUNTS: tuple[Any, ...] = (
    "ApproximateNumberOfMessages",
    "ApproximateNumberOfMessagesNotVisible",
    "ApproximateNumberOfMessagesDelayed",
)
"""The queue attributes that count messages: visible, in flight, delayed."""
SYSTEM_ATTRIBUTES: tuple[Any, ...] = (
    "ApproximateReceiveCount",
    "SentTimestamp",
    "MessageGroupId",
)
"""What is asked for of each received message; `delivery` reads it."""
SAFE_BATCH = 262_144
"""Bytes of one SendMessageBatch. SQS takes 1 MiB, an older queue 256 KiB; dead letters are few.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""


def counts(attributes: Mapping[Any, str]) -> tuple[int, int, int]:
    """Visible, in flight and delayed, out of a queue's attributes."""
    visible, in_flight, delayed = (int(attributes.get(name, 0)) for name in COUNTS)
    return visible, in_flight, delayed


def wire_value(attribute: Attribute) -> Any:
    """An attribute as SNS and SQS take it in a request."""
    kind = "BinaryValue" if isinstance(attribute.value, bytes) else "StringValue"
    return {"DataType": attribute.type, kind: attribute.value}


class ReceivedAttributes(Mapping[str, Attribute]):
    """The attributes of a received message, each made when it is asked for: few ever are."""

    __slots__ = ("_raw",)

    def __init__(self, raw: Mapping[str, Any]) -> None:
        self._raw = raw

    def __getitem__(self, name: str) -> Attribute:
        one = self._raw[name]
        kind, text = one["DataType"], one.get("StringValue")
        if text:
            return Attribute(kind, text)
        value = one.get("BinaryValue", "")
        # boto3 has decoded it already.
        return Attribute(kind, b64decode(value) if value and isinstance(value, str) else value)

    def __iter__(self) -> Iterator[str]:
        return iter(self._raw)

    def __len__(self) -> int:
        return len(self._raw)


def deliveries(queue: str, messages: Sequence[Any], now: float) -> tuple[Delivery, ...]:
    """The messages of a ReceiveMessage answer, received `now` (seconds since the epoch)."""
    return tuple([_delivery(queue, message, now) for message in messages])


def _delivery(queue: str, message: Any, now: float) -> Delivery:
    system = message.get("Attributes") or {}
    return Delivery.received_as(
        {
            "queue": queue,
            "message_id": message["MessageId"],
            "receipt": message["ReceiptHandle"],
            "body": message.get("Body", ""),
            "attributes": ReceivedAttributes(message.get("MessageAttributes") or {}),
            "receive_count": int(system.get("ApproximateReceiveCount", 1)),
            "sent_at": int(system.get("SentTimestamp", 0)) / 1000,
            "received_at": now,
            "group": system.get("MessageGroupId"),
            "cancel_token": CancelToken(),
        }
    )


def _entry(index: int, letter: DeadLetter, fifo: bool) -> tuple[Any, int]:
    """The entry of one dead letter, and its size in bytes."""
    delivery, attributes = letter.delivery, deadletter.attributes(letter)
    entry: dict[str, Any] = {
        "Id": str(index),
        "MessageBody": delivery.body,
        "MessageAttributes": {name: wire_value(one) for name, one in attributes.items()},
    }
    if fifo:
        entry["MessageGroupId"] = delivery.group or delivery.message_id
        # A letter that is sent twice because the first answer was lost stays one letter.
        entry["MessageDeduplicationId"] = delivery.message_id
    size = len(delivery.body.encode()) + sum(one.size(name) for name, one in attributes.items())
    return entry, size


def letter_entries(letters: Sequence[DeadLetter], *, fifo: bool) -> Iterator[list[Any]]:
    """Entries of SendMessageBatch, in requests of at most `SAFE_BATCH` bytes; a bigger one goes
    alone. Their Ids are the places of the letters."""
    part: list[Any] = []
    total = 0
    for index, letter in enumerate(letters):
        entry, size = _entry(index, letter, fifo)
        if part and total + size > SAFE_BATCH:
            yield part
            part, total = [], 0
        part.append(entry)
        total += size
    if part:
        yield part
