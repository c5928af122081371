"""The SQS event that Lambda would hand to a function: for tests of a handler as it is deployed."""

from __future__ import annotations

import hashlib
from typing import Any

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.codec import Codec
from messaging.consuming.consumer import Consumer
from messaging.envelope import new_id
from messaging.event import Event
from messaging.publishing.encoder import Encoder
from messaging.testing.delivery import MAX_BYTES, received_of
from messaging.transport import Attribute, Outgoing

__all__ = ["lambda_event"]

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
    """What Lambda calls the function of `consumer` with when `events` stand in its queue.

    Each event is encoded as a publisher does it; only the copy that the service receives becomes a
    record, so an event that its view declines gives none.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html

    Args:
        consumer: the service.
        *events: what happened.
        topic: the topic's name, which stands in the queue's ARN.
        source: who publishes.
        receive_count: how often each message has been received, this time included.
        codec: how a message's body is read and written; `JsonCodec()` by default, and the
            producer's otherwise.
        clock: what tells the time; a test may give a `FakeClock`.

    Raises:
        PublishError: for an event that cannot be sent: `EventTooLarge`, `InvalidCharacters` or
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
    queue = f"arn:aws:sqs:{_REGION}:{_ACCOUNT}:{topic}-{consumer.service}"
    copies = [
        received_of(consumer, encode(event))
        for event in events
        if type(event).event_type in consumer.handlers
    ]
    now = str(int(clock.now() * 1000))
    return {"Records": [_record(copy, queue, now, receive_count) for copy in copies if copy]}


def _record(copy: Outgoing, queue: str, now: str, receive_count: int) -> dict[str, Any]:
    system = {
        "ApproximateReceiveCount": str(receive_count),
        "SentTimestamp": now,
        "SenderId": "AIDAEXAMPLE",
        "ApproximateFirstReceiveTimestamp": now,
    }
    if copy.group is not None:
        system["MessageGroupId"] = copy.group
    message_id = new_id()
    return {
        "messageId": message_id,
        "receiptHandle": f"receipt-{message_id}",
        "body": copy.body,
        "attributes": system,
        "messageAttributes": {name: _said(one) for name, one in copy.attributes.items()},
        # What SQS says the body's digest is; nothing is protected by it.
        "md5OfBody": hashlib.md5(copy.body.encode(), usedforsecurity=False).hexdigest(),
        "eventSource": "aws:sqs",
        "eventSourceARN": queue,
        "awsRegion": _REGION,
    }


def _said(attribute: Attribute) -> dict[str, Any]:
    return {
        "stringValue": attribute.value,
        "stringListValues": [],
        "binaryListValues": [],
        "dataType": attribute.type,
    }
