"""Converts the records of AWS Lambda's SQS events to deliveries, and describes their results.

https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from messaging.errors import ConfigurationError
from messaging.outcome import Outcome
from messaging.transport import (
    Attribute,
    Delivery,
    QueueTransport,
    epoch_seconds,
    receives,
    text_or_none,
)

__all__ = [
    "Ended",
    "Invocation",
    "check_receipts",
    "deliveries_of",
    "delivery_of",
    "ends",
    "records_of",
    "time_left",
]


def check_receipts(queue: QueueTransport | None) -> None:
    """Raise `ConfigurationError` for a queue whose receipts only work in its own process."""
    if queue is not None and not getattr(queue, "receipts_travel", True):
        raise ConfigurationError(
            f"{type(queue).__name__} {queue.name}: Lambda is fed by SQS, and hands over receipts "
            "that another program received; this queue takes none of those. Run a worker for it: "
            "messaging run"
        )


def records_of(event: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The event's records. Raises `ConfigurationError` if it is not an SQS event."""
    records = event.get("Records") if isinstance(event, Mapping) else None
    if not isinstance(records, list) or not all(map(_of_sqs, records)):
        raise ConfigurationError(
            'this event is not of SQS (Records with eventSource "aws:sqs", messageId and '
            "receiptHandle): lambda_handler is for a function that an SQS event source mapping "
            "invokes"
        )
    return records


def _of_sqs(record: object) -> bool:
    return (
        (type(record) is dict or isinstance(record, Mapping))
        and record.get("eventSource") == "aws:sqs"
        and isinstance(record.get("messageId"), str)
        and isinstance(record.get("receiptHandle"), str)
    )


def deliveries_of(records: Iterable[Mapping[str, Any]], *, now: float) -> list[Delivery]:
    """`delivery_of` for each of `records`."""
    # Usually all records of an invocation have the same attributes and come from one queue: these
    # are read once.
    said: Any = None
    read: Mapping[str, Attribute] = {}
    arn: Any = None
    queue = ""
    deliveries = []
    for record in records:
        if (attributes := record.get("messageAttributes")) != said:
            said, read = attributes, _attributes(attributes)
        if (source := record.get("eventSourceARN")) != arn:
            arn, queue = source, _queue_of(source)
        deliveries.append(_delivery(record, queue, read, now))
    return deliveries


def delivery_of(record: Mapping[str, Any], *, now: float) -> Delivery:
    """One record of an SQS event, received `now` (seconds since the epoch), as a delivery.

    Lambda has its own names for the parts of an SQS message: `messageId`, `stringValue`, but
    `ApproximateReceiveCount`. Binary values are base64.
    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html

    Args:
        record: one record of an SQS event.
        now: seconds since the epoch.

    Example:
        ```python
        import time

        from messaging.lambda_handler import delivery_of
        from messaging.testing import lambda_event

        (record,) = lambda_event(Marketing, ana)["Records"]
        delivery = delivery_of(record, now=time.time())
        assert delivery.receive_count == 1
        ```
    """
    queue = _queue_of(record.get("eventSourceARN"))
    return _delivery(record, queue, _attributes(record.get("messageAttributes")), now)


def _queue_of(arn: Any) -> str:
    return "" if arn is None else str(arn).rpartition(":")[2]


def _delivery(
    record: Mapping[str, Any], queue: str, attributes: Mapping[str, Attribute], now: float
) -> Delivery:
    system = _mapping(record.get("attributes"))
    body = record.get("body") or ""
    group, trace = system.get("MessageGroupId"), system.get("AWSTraceHeader")
    return Delivery(
        queue=queue,
        message_id=record["messageId"],
        receipt=record["receiptHandle"],
        # A test event written by hand may contain the document itself.
        body=body if isinstance(body, str) else json.dumps(body),
        attributes=attributes,
        receive_count=receives(system.get("ApproximateReceiveCount")),
        sent_at=epoch_seconds(system.get("SentTimestamp")),
        received_at=now,
        group=None if group is None else text_or_none(group),
        trace_header=None if trace is None else text_or_none(trace),
    )


def _attributes(said: Any) -> Mapping[str, Attribute]:
    return {
        name if type(name) is str else str(name): _attribute(_mapping(one))
        for name, one in _mapping(said).items()
    }


def _mapping(said: Any) -> Mapping[str, Any]:
    # Lambda passes dicts, several per record: checking for `Mapping` is slow.
    return said if type(said) is dict or isinstance(said, Mapping) else {}


def _attribute(said: Mapping[str, Any]) -> Attribute:
    kind, text = said.get("dataType"), said.get("stringValue")
    if type(kind) is str and kind and type(text) is str and text:
        return Attribute(kind, text)
    return Attribute.received(kind, text, said.get("binaryValue"))


class Ended(NamedTuple):
    """The result of one record. `outcome` is None if it has none and is redelivered; `seconds` is
    the duration of its handler, None if none was run."""

    delivery: Delivery
    outcome: Outcome | None
    dead_lettered: bool
    seconds: float | None


class Invocation(NamedTuple):
    """One invocation that has ended `at`, in seconds since the epoch, and its records.

    Args:
        service: the name of a service.
        request_id: Lambda's id of the invocation.
        at: seconds since the epoch.
        ended: the result of each record.

    Example:
        ```python
        from messaging.lambda_handler import Invocation, lambda_handler
        from messaging.testing import lambda_event

        seen: list[Invocation] = []
        handler = lambda_handler(Marketing(), observe=seen.append)
        handler(lambda_event(Marketing, ana), None)
        assert (seen[0].service, len(seen[0].ended)) == ("marketing", 1)
        ```
    """

    service: str
    request_id: str
    at: float
    ended: tuple[Ended, ...]


def time_left(context: Any, reserve: float) -> Callable[[], bool]:
    """Whether another record may be started.
    https://docs.aws.amazon.com/lambda/latest/dg/python-context.html"""
    remaining = getattr(context, "get_remaining_time_in_millis", None)
    if remaining is None:
        return lambda: True
    return lambda: bool(remaining() > reserve * 1000)


def ends(
    deliveries: Sequence[Delivery],
    outcomes: Sequence[Outcome | None],
    *,
    letters: Mapping[str, Outcome | None],
    spent: Mapping[str, float],
) -> tuple[Ended, ...]:
    """The result of each record. `letters` and `spent` are by message: why it was dead-lettered,
    and the seconds of its handler."""
    return tuple(
        Ended(
            delivery=one,
            outcome=letters.get(one.message_id, outcome),
            dead_lettered=one.message_id in letters,
            seconds=spent.get(one.message_id),
        )
        for one, outcome in zip(deliveries, outcomes, strict=True)
    )
