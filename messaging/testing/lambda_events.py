"""Creates the SQS event that Lambda would pass to a function, for tests of a deployed handler."""

from __future__ import annotations

import hashlib
from base64 import b64encode
from typing import Any

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consuming.consumer import Consumer
from messaging.event import Event
from messaging.publishing.encoder import Encoder
from messaging.testing.delivery import MAX_BYTES, delivered, received_of
from messaging.transport import Attribute, Delivery

__all__ = ["lambda_event", "record_of"]

_ACCOUNT, _REGION = "123456789012", "sa-east-1"


def lambda_event(
    consumer: Consumer | type[Consumer],
    *events: Event,
    topic: str = "topic",
    source: str = "/tests",
    receive_count: int = 1,
    codec: Codec | None = None,
    clock: Clock = SYSTEM_CLOCK,
) -> dict[str, Any]:
    """The argument with which Lambda calls the function of `consumer` for `events` in its queue.

    Each event is encoded as by a publisher; only the copy for the service becomes a record, so an
    event that its view declines has none.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html

    Args:
        consumer: the service.
        *events: the events.
        topic: the topic's name, for the queue's ARN.
        source: the publisher's source.
        receive_count: how often each message has been received, including this time.
        codec: writes message bodies; `JsonCodec()` by default.
        clock: the source of time; a test may pass a `FakeClock`.

    Raises:
        PublishError: if an event cannot be sent: `EventTooLarge`, `InvalidCharacters` or
            `RoundTripError`.

    Example:
        ```python
        from messaging.lambda_handler import lambda_handler
        from messaging.testing import lambda_event

        handler = lambda_handler(Marketing())
        assert handler(lambda_event(Marketing, ana), None) == {"batchItemFailures": []}
        ```
    """
    encode = Encoder(source=source, max_bytes=MAX_BYTES, codec=codec, clock=clock)
    queue = f"{topic}-{consumer.service}"
    copies = [
        received_of(consumer, encode(event))
        for event in events
        if type(event).event_type in consumer.handlers
    ]
    deliveries = [delivered(queue, copy, receive_count, clock) for copy in copies if copy]
    return {"Records": [record_of(one) for one in deliveries]}


def record_of(delivery: Delivery) -> dict[str, Any]:
    """One record of an SQS event, as Lambda writes it."""
    system = {
        "ApproximateReceiveCount": str(delivery.receive_count),
        "SentTimestamp": str(int(delivery.sent_at * 1000)),
        "SenderId": "AIDAEXAMPLE",
        "ApproximateFirstReceiveTimestamp": str(int(delivery.received_at * 1000)),
    }
    if delivery.group is not None:
        system["MessageGroupId"] = delivery.group
    return {
        "messageId": delivery.message_id,
        "receiptHandle": delivery.receipt,
        "body": delivery.body,
        "attributes": system,
        "messageAttributes": {name: _said(one) for name, one in delivery.attributes.items()},
        # SQS's digest of the body; it protects nothing.
        "md5OfBody": hashlib.md5(delivery.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{delivery.queue}",
        "awsRegion": _REGION,
    }


def _said(attribute: Attribute) -> dict[str, Any]:
    value = attribute.value
    return {
        **(
            {"binaryValue": b64encode(value).decode()}
            if isinstance(value, bytes)
            else {"stringValue": value}
        ),
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute.type,
    }
