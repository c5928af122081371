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

__all__ = ["DesiredQueue", "queues", "subscription_attributes"]

LARGEST_MESSAGE = 1_048_576
"""Bytes; SQS's own default for new queues. A dead letter is bigger than the message was, so a
dead-letter queue must take more than the topic."""
LONG_POLL = 20


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
        yield _dead_letters(queue, place, claim)
        yield _undelivered(subscription.undelivered, place, topic_arn, claim)
        yield _service(queue, place, topic_arn, replace(claim, contract=queue.contract))


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


def _service(queue: Queue, place: Place, topic_arn: str, claim: Ownership) -> DesiredQueue:
    arn = place.queue_arn(queue.name)
    redrive = {
        "deadLetterTargetArn": place.queue_arn(queue.dead_letters.name),
        "maxReceiveCount": queue.max_receives,
    }
    return DesiredQueue(
        name=queue.name,
        attributes={
            **_always(queue.retention),
            "VisibilityTimeout": str(queue.visibility_timeout),
            "ReceiveMessageWaitTimeSeconds": str(LONG_POLL),
            "RedrivePolicy": json.dumps(redrive),
        },
        statements=tuple(statements(arn, topic_arn)),
        claim=claim,
    )


def _dead_letters(queue: Queue, place: Place, claim: Ownership) -> DesiredQueue:
    letters = queue.dead_letters
    allowed = {"redrivePermission": "byQueue", "sourceQueueArns": [place.queue_arn(queue.name)]}
    return DesiredQueue(
        name=letters.name,
        attributes={**_always(letters.retention), "RedriveAllowPolicy": json.dumps(allowed)},
        statements=tuple(statements(place.queue_arn(letters.name), None)),
        claim=claim,
    )


def _undelivered(
    letters: DeadLetterQueue, place: Place, topic_arn: str, claim: Ownership
) -> DesiredQueue:
    return DesiredQueue(
        name=letters.name,
        attributes=_always(letters.retention),
        statements=tuple(statements(place.queue_arn(letters.name), topic_arn)),
        claim=claim,
    )


def _always(retention: int) -> dict[str, str]:
    return {
        "MessageRetentionPeriod": str(retention),
        "MaximumMessageSize": str(LARGEST_MESSAGE),
        "SqsManagedSseEnabled": "true",
    }
