"""The attributes that a topology's queues and subscriptions should have. Makes no requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from messaging.aws.clients import Place
from messaging.aws.keys import same_key
from messaging.aws.ownership import Ownership
from messaging.aws.policies import same_json, statements
from messaging.topology import DeadLetterQueue, Queue, Subscription, Topology

__all__ = ["KEY", "DesiredQueue", "differences", "queues", "subscription_attributes"]

LARGEST_MESSAGE = 1_048_576
"""Bytes; SQS's own default for new queues. A dead letter is larger than its message, so a
dead-letter queue must accept more than the topic."""
LONG_POLL = 20
KEY = "KmsMasterKeyId"
"""The attribute of topics and queues: a key's id, alias or ARN."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DesiredQueue:
    """The desired state of a queue: its attributes except Policy, this library's statements in that
    policy, and its owner."""

    name: str
    attributes: Mapping[str, str]
    statements: tuple[Mapping[str, Any], ...]
    claim: Ownership

    @property
    def fifo(self) -> bool:
        return self.name.endswith(".fifo")

    @property
    def values(self) -> dict[str, Any]:
        """The attributes as plain data: numbers, booleans, strings and documents."""
        return {
            name: value if name == KEY else json.loads(value)
            for name, value in self.attributes.items()
        }


def queues(topology: Topology, place: Place, topic_arn: str) -> Iterator[DesiredQueue]:
    """All queues of the topology, at `place`; a dead-letter queue comes before the one that uses
    it.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html
    """
    # A queue has one or the other: setting a key turns off SQS's own.
    key = topology.kms_key
    always = {
        "MaximumMessageSize": str(LARGEST_MESSAGE),
        **({"SqsManagedSseEnabled": "true"} if key is None else {KEY: key}),
    }
    for queue, subscription in zip(topology.queues, topology.subscriptions, strict=True):
        claim = Ownership(
            topic=topology.topic.name,
            owner=topology.owner_of(queue.service),
            service=queue.service,
        )
        allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [place.queue_arn(queue.name)]}
        allow = {"RedriveAllowPolicy": json.dumps(allowed)}
        yield _desired(queue.dead_letters, place, None, claim, always | allow)
        yield _desired(subscription.undelivered, place, topic_arn, claim, always)
        redrive = {
            "deadLetterTargetArn": place.queue_arn(queue.dead_letters.name),
            "maxReceiveCount": queue.max_receives,
        }
        own = {
            "VisibilityTimeout": str(queue.visibility_timeout),
            "ReceiveMessageWaitTimeSeconds": str(LONG_POLL),
            "RedrivePolicy": json.dumps(redrive),
        }
        yield _desired(
            queue, place, topic_arn, replace(claim, contract=queue.contract), always | own
        )


def subscription_attributes(subscription: Subscription, place: Place) -> dict[str, str]:
    """https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html"""
    undelivered = place.queue_arn(subscription.undelivered.name)
    # The scope first: SNS checks a policy against the current scope.
    return {
        "RawMessageDelivery": "true",
        "FilterPolicyScope": "MessageAttributes",
        "FilterPolicy": json.dumps(dict(subscription.filter_policy)),
        "RedrivePolicy": json.dumps({"deadLetterTargetArn": undelivered}),
    }


def differences(wanted: Mapping[str, str], standing: Mapping[str, str]) -> dict[str, str]:
    """Those of the `wanted` attributes that stand otherwise, and what they are now."""
    return {
        name: standing.get(name) or "not set"
        for name, value in wanted.items()
        if not _same(name, standing.get(name), value)
    }


def _same(name: str, now: str | None, value: str) -> bool:
    if name == KEY:
        return same_key(now, value)
    return now == value or same_json(now, value)


def _desired(
    queue: Queue | DeadLetterQueue,
    place: Place,
    topic_arn: str | None,
    claim: Ownership,
    attributes: Mapping[str, str],
) -> DesiredQueue:
    """`topic_arn`: the topic that sends to it; None where no topic does."""
    return DesiredQueue(
        name=queue.name,
        attributes={"MessageRetentionPeriod": str(queue.retention), **attributes},
        statements=tuple(statements(place.queue_arn(queue.name), topic_arn)),
        claim=claim,
    )
