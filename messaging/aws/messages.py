"""Converts SQS messages to deliveries, and copies of deliveries to requests."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, replace
from typing import Any

from messaging.aws.answers import UnreadableAnswer
from messaging.batching import Packer, Weight, size_of
from messaging.logs import logger
from messaging.transport import (
    Attribute,
    CancelToken,
    Delivery,
    Receive,
    epoch_seconds,
    receives,
    text_or_none,
)

__all__ = [
    "COUNTS",
    "SYSTEM_ATTRIBUTES",
    "counts",
    "deliveries",
    "send_requests",
    "wire_value",
]

log = logger("messaging.aws")

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
    "AWSTraceHeader",
)
"""The attributes requested with each message; `delivery` reads them."""
SAFE_BATCH = 262_144
"""Maximum bytes of a SendMessageBatch. SQS accepts 1 MiB, an older queue 256 KiB; dead letters are
few.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html
"""


def counts(attributes: Mapping[Any, str]) -> tuple[int, int, int]:
    """Visible, in flight and delayed, from a queue's attributes."""
    visible, in_flight, delayed = (int(attributes.get(name, 0)) for name in COUNTS)
    return visible, in_flight, delayed


def wire_value(attribute: Attribute) -> Any:
    """An attribute in the request format of SNS and SQS."""
    kind = "BinaryValue" if isinstance(attribute.value, bytes) else "StringValue"
    return {"DataType": attribute.type, kind: attribute.value}


class _Later:
    """A field of a received message that is converted when it is first read, which few are."""

    # Not cached_property, which takes a lock in Python 3.11.
    def __init__(self, read: Callable[[Any], Any]) -> None:
        self._read = read

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, delivery: Any, owner: type) -> Any:
        if delivery is None:
            raise AttributeError(self._name)  # as for any field without a default
        fields = delivery.__dict__
        # The same object for all, even if two threads read at once: `setdefault` is atomic.
        return fields.setdefault(self._name, self._read(fields["_message"]))


class _Received(Delivery):
    """A delivery from SQS."""

    # A field in a format that SQS would not write counts as missing.
    attributes: Any = _Later(lambda said: _attributes(said))
    receive_count: Any = _Later(lambda said: receives(_system(said).get("ApproximateReceiveCount")))
    sent_at: Any = _Later(lambda said: epoch_seconds(_system(said).get("SentTimestamp")))
    group: Any = _Later(lambda said: text_or_none(_system(said).get("MessageGroupId")))
    cancel_token: Any = _Later(lambda said: CancelToken())
    trace_header: Any = _Later(lambda said: text_or_none(_system(said).get("AWSTraceHeader")))

    @property
    def event_type(self) -> str | None:
        """As in any delivery. Metrics read it for each message, so the other attributes are not
        converted."""
        try:
            said = self.__dict__["_message"]["MessageAttributes"]["type"]["StringValue"]
        except (LookupError, TypeError):
            return super().event_type
        return said if said and type(said) is str else super().event_type

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Delivery):
            return NotImplemented
        names = [one.name for one in fields(Delivery) if one.compare]
        return all(getattr(self, name) == getattr(other, name) for name in names)

    __hash__ = Delivery.__hash__

    def __copy__(self) -> Delivery:
        return replace(self)  # the same cancel token for every reader


# Every message creates a delivery, so this avoids `__init__`, which takes five times as long.
_new = object.__new__
_fill = vars(Delivery)["__dict__"].__set__


def deliveries(queue: str, messages: Any, *, started: float, ended: float) -> tuple[Delivery, ...]:
    """The messages of a response to ReceiveMessage, a request that was made at `started` and
    answered at `ended` (seconds since the epoch).

    One without a MessageId, a ReceiptHandle or a string body can be neither handled nor settled: it
    is logged and left to its visibility timeout. Raises `UnreadableAnswer` if `messages` is not a
    list.
    """
    if not isinstance(messages, list | tuple):
        raise UnreadableAnswer("Messages is no list")
    receive = Receive(started=started, ended=ended, count=len(messages))
    taken = []
    for message in messages:
        try:
            id, receipt = message["MessageId"], message["ReceiptHandle"]
            body = message.get("Body", "")
        except (LookupError, TypeError, AttributeError):
            _leave(queue, message)
            continue
        if not (id and receipt and type(id) is type(receipt) is type(body) is str):
            _leave(queue, message)
            continue
        delivery = _new(_Received)
        said = {
            "queue": queue,
            "message_id": id,
            "receipt": receipt,
            "body": body,
            "received_at": ended,
            "receive": receive,
            "_message": message,
        }
        # Read for every message, and nearly always the first time, so it is converted at once.
        try:
            if message["Attributes"]["ApproximateReceiveCount"] == "1":
                said["receive_count"] = 1
        except (LookupError, TypeError):
            pass
        _fill(delivery, said)
        taken.append(delivery)
    return tuple(taken)


def _leave(queue: str, message: Any) -> None:
    said = message if isinstance(message, dict) else {}
    id = said.get("MessageId")
    lacking = [
        name
        for name in ("MessageId", "ReceiptHandle")
        if not (said.get(name) and isinstance(said[name], str))
    ]
    log.warning(
        "message %s of %s came without %s and was not handled: it is redelivered when its "
        "visibility timeout ends",
        id if isinstance(id, str) and id.isprintable() and id else "without an id",
        queue,
        " and ".join(lacking) or "a Body that is a text",
    )


def _map(said: Any) -> Mapping[str, Any]:
    return said if isinstance(said, dict) else {}


def _attributes(message: Any) -> Mapping[str, Attribute]:
    said = _map(message.get("MessageAttributes"))
    read = {name: one for name in said if (one := _attribute(said[name])) is not None}
    if len(read) < len(said):  # no sender can cause this: the response is at fault
        log.warning(
            "message %s came with %d attributes that cannot be read; they are left out",
            message["MessageId"],
            len(said) - len(read),
        )
    return read


def _attribute(one: Any) -> Attribute | None:
    if not isinstance(one, dict) or type(kind := one.get("DataType")) is not str:
        return None
    if text := one.get("StringValue"):
        return Attribute(kind or "String", text) if type(text) is str else None
    value = one.get("BinaryValue")
    if value is not None and not isinstance(value, bytes):  # which boto3 has decoded already
        try:
            value = b64decode(value, validate=True)
        except (ValueError, TypeError):
            return None
    return Attribute.received(kind, None, value)


def _system(message: Any) -> Mapping[str, str]:
    return _map(message.get("Attributes"))


def send_requests(
    copies: Iterable[tuple[Delivery, Mapping[str, Attribute]]], *, fifo: bool
) -> Iterator[list[Any]]:
    """Entries of SendMessageBatch for copies of messages with these attributes, in requests of at
    most `SAFE_BATCH` bytes; a bigger one goes alone. Their Ids are the places of the copies."""
    packer: Packer[tuple[Weight, Any]] = Packer(SAFE_BATCH)
    sized = (_entry(index, *copy, fifo) for index, copy in enumerate(copies))
    for part in packer.all(sized):
        yield [entry for _, entry in part]


def _entry(
    index: int, delivery: Delivery, attributes: Mapping[str, Attribute], fifo: bool
) -> tuple[Weight, Any]:
    """One entry, behind what SQS counts of it: its body and its attributes."""
    entry: dict[str, Any] = {
        "Id": str(index),
        "MessageBody": delivery.body,
        "MessageAttributes": {name: wire_value(one) for name, one in attributes.items()},
    }
    if fifo:
        # Not the event's: SQS would take a letter that is sent back for a repetition of the message
        # it was. One that is sent twice, because an answer was lost, stays one.
        entry["MessageDeduplicationId"] = delivery.message_id
    if fifo or delivery.group:
        entry["MessageGroupId"] = delivery.group or delivery.message_id
    return Weight(size_of(delivery.body, attributes)), entry
