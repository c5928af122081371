"""What runs handlers: a worker, the Lambda handler and `drain`, each until its queue is empty."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Sequence
from typing import Any

from messaging.clock import SYSTEM_CLOCK
from messaging.consuming.consumer import Consumer
from messaging.lambda_handler import lambda_handler
from messaging.runtime import Worker
from messaging.testing import drain
from messaging.transport import Attribute, Broker, Delivery

PATIENCE = 60
"""Seconds after which a queue that is not empty is a failure."""

Host = Callable[[Consumer, Broker], None]


def left(broker: Broker, service: str) -> int:
    """Messages of the queue, visible or not."""
    queue = broker.queue(service)
    try:
        depth = queue.depth()
    finally:
        queue.close()
    return depth.visible + depth.in_flight + depth.delayed


def worker(consumer: Consumer, broker: Broker) -> None:
    deadline = time.monotonic() + PATIENCE
    with Worker(consumer, broker=broker, wait=0.2, concurrency=5) as running:
        while left(broker, consumer.service) or running.stats.in_flight:
            assert time.monotonic() < deadline, running.stats
            time.sleep(0.05)
    assert running.stats.balanced


def in_lambda(consumer: Consumer, broker: Broker) -> None:
    """What an event source mapping does: receive, invoke, delete what did not fail."""
    deadline = time.monotonic() + PATIENCE
    queue = broker.queue(consumer.service)
    handler = lambda_handler(consumer, queue=queue)
    while left(broker, consumer.service):
        assert time.monotonic() < deadline
        if received := queue.receive(10, 1):
            answer = handler({"Records": [record(one) for one in received]}, None)
            failed = {one["itemIdentifier"] for one in answer["batchItemFailures"]}
            done: Sequence[Delivery] = [one for one in received if one.message_id not in failed]
            assert not queue.delete(done)
    queue.close()


def drained(consumer: Consumer, broker: Broker) -> None:
    deadline = time.monotonic() + PATIENCE
    while left(broker, consumer.service):
        assert time.monotonic() < deadline
        drain(broker, consumer, clock=SYSTEM_CLOCK)


HOSTS: dict[str, Host] = {"worker": worker, "lambda": in_lambda, "drain": drained}


def record(delivery: Delivery) -> dict[str, Any]:
    """A record as Lambda makes it of a message.

    https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
    """
    system = {
        "ApproximateReceiveCount": str(delivery.receive_count),
        "SentTimestamp": str(int(delivery.sent_at * 1000)),
    }
    if delivery.group is not None:
        system["MessageGroupId"] = delivery.group
    return {
        "messageId": delivery.message_id,
        "receiptHandle": delivery.receipt,
        "body": delivery.body,
        "attributes": system,
        "messageAttributes": {name: _attribute(one) for name, one in delivery.attributes.items()},
        "eventSource": "aws:sqs",
        "eventSourceARN": f"arn:aws:sqs:sa-east-1:123456789012:{delivery.queue}",
        "awsRegion": "sa-east-1",
    }


def _attribute(one: Attribute) -> dict[str, str]:
    if isinstance(one.value, bytes):
        return {"dataType": one.type, "binaryValue": base64.b64encode(one.value).decode()}
    return {"dataType": one.type, "stringValue": one.value}
