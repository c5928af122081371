"""The attributes that a topology's queues and subscriptions should have. Makes no requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from messaging.aws.clients import Place
from messaging.aws.ownership import Ownership
from messaging.aws.policies import statements
from messaging.topology import DeadLetterQueue, Queue, Subscription, Topology

__all__ = ["KEY", "DesiredQueue", "queues", "subscription_attributes"]

LARGEST_MESSAGE = 1_048_576
"""Bytes; SQS's own default for new queues. A dead letter is bigger than the message was, so a
dead-letter queue must take more than the topic."""
LONG_POLL = 20
KEY = "KmsMasterKeyId"
"""The attribute of topics and queues: a key's id, alias or ARN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredQueue:
    """One queue as it should be: its attributes except Policy, this library's statements in that
    policy, and who owns the queue."""

    name: str
    attributes: Mapping[str, str]
    statements: tuple[Mapping[str, Any], ...]
    claim: Ownership

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def values(self) -> dict[str, Any]:
        """The attributes as plain data: numbers, booleans, texts and documents."""
        return {
            name: value if name == KEY else json.loads(value)
            for name, value in self.attributes.items()
        }


def queues(topology: Topology, place: Place, topic_arn: str) -> Iterator[DesiredQueue]:
    """Every queue of the topology, at `place`; a dead-letter queue before the one that uses it.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
    """
    for queue, subscription in zip(topology.queues, topology.subscriptions, strict=True):
        claim = Ownership(
            topic=topology.topic.name,
            owner=topology.owner_of(queue.service),
            service=queue.service,
        )
        rest = _encrypted(topology.kms_key)
        yield _dead_letters(queue, place, claim, rest)
        yield _undelivered(subscription.undelivered, place, topic_arn, claim, rest)
        yield _service(queue, place, topic_arn, replace(claim, contract=queue.contract), rest)


def subscription_attributes(subscription: Subscription, place: Place) -> dict[str, str]:
    """https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html"""
    undelivered = place.queue_arn(subscription.undelivered.name)
    # The scope first: SNS checks a policy against the scope that is set at that moment.
    return {
        "RawMessageDelivery": "true",
        "FilterPolicyScope": "MessageAttributes",
        "FilterPolicy": json.dumps(dict(subscription.filter_policy)),
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": undelivered}),
    }


def _service(
    queue: Queue, place: Place, topic_arn: str, claim: Ownership, rest: Mapping[str, str]
) -> DesiredQueue:
    arn = place.queue_arn(queue.name)
    redrive = {
        "deadLetterTargetArn": place.queue_arn(queue.dead_letters.name),
        "maxReceiveCount": queue.max_receives,
    }
    return DesiredQueue(
        name=queue.name,
        attributes={
            **_always(queue.retention),
            **rest,
            "VisibilityTimeout": str(queue.visibility_timeout),
            "ReceiveMessageWaitTimeSeconds": str(LONG_POLL),
            "RedrivePolicy": json.dumps(redrive),
        },
        statements=tuple(statements(arn, topic_arn)),
        claim=claim,
    )


def _dead_letters(
    queue: Queue, place: Place, claim: Ownership, rest: Mapping[str, str]
) -> DesiredQueue:
    letters = queue.dead_letters
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [place.queue_arn(queue.name)]}
    return DesiredQueue(
        name=letters.name,
        attributes={
            **_always(letters.retention),
            **rest,
            "RedriveAllowPolicy": json.dumps(allowed),
        },
        statements=tuple(statements(place.queue_arn(letters.name), None)),
        claim=claim,
    )


def _undelivered(
    letters: DeadLetterQueue,
    place: Place,
    topic_arn: str,
    claim: Ownership,
    rest: Mapping[str, str],
) -> DesiredQueue:
    return DesiredQueue(
        name=letters.name,
        attributes={**_always(letters.retention), **rest},
        statements=tuple(statements(place.queue_arn(letters.name), topic_arn)),
        claim=claim,
    )


def _always(retention: int) -> dict[str, str]:
    return {
        "MessageRetentionPeriod": str(retention),
        "MaximumMessageSize": str(LARGEST_MESSAGE),
    }


def _encrypted(key: str | None) -> dict[str, str]:
    # A queue has one of both: setting a key switches SQS's own off.
    return {"SqsManagedSseEnabled": "true"} if key is None else {KEY: key}
