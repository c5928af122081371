"""A topology as a CloudFormation template, which the CDK can also include."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from messaging.aws import desired
from messaging.aws.desired import DesiredQueue
from messaging.aws.ownership import Ownership
from messaging.export.places import (
    CLOUDFORMATION,
    by_service,
    capitalized,
    identifiers,
    substituted,
    topic_arn,
)
from messaging.topology import DEFAULT_MAX_BYTES, Subscription, Topology

__all__ = ["cloudformation", "kept", "template"]

_PARTS = ("DeadLetters", "Undelivered", "Queue")
"""A service's queues, in the order of `by_service`."""


def cloudformation(topology: Topology, *, others_topic: str | None = None) -> dict[str, Any]:
    """A template of the resources that `messaging topology apply` would create.

    Queues are kept when the stack is deleted or a change would replace them, because they hold
    messages. Account, region and partition are filled in at deployment.

    Args:
        topology: the desired topic, queues and subscriptions.
        others_topic: the ARN of a topic that the topology does not own; by default, the topic of
            that name in the account and region of the stack.

    Example:
        ```python
        import json

        from messaging.export import cloudformation

        text = json.dumps(cloudformation(topology), indent=2)
        ```
    """
    arn = topic_arn(topology, CLOUDFORMATION, others_topic)
    resources: dict[str, Any] = {}
    if topology.owns_topic:
        resources["Topic"] = _topic(topology)
    names = identifiers(topology.services, capitalized)
    for one, queues in by_service(topology, CLOUDFORMATION, arn):
        id = names[one.service]
        for part, queue in zip(_PARTS, queues, strict=True):
            # ARNs are plain strings here, so CloudFormation does not see the dependency.
            after = [f"{id}DeadLetters"] if part == "Queue" else []
            resources[f"{id}{part}"] = _queue(queue, after)
            resources[f"{id}{part}Policy"] = _policy(f"{id}{part}", queue)
        resources[f"{id}Subscription"] = _subscription(id, one, arn, topology.owns_topic)
    return template(f"Topic and queues of {topology.topic.name}", resources)


def template(description: str, resources: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A template of these resources, with the pseudo parameters substituted."""
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"{description}. Written by messaging export; write it again, do not edit.",
        **more,
        "Resources": substituted(resources),
    }


def kept(type: str, properties: dict[str, Any], after: Sequence[str] = ()) -> dict[str, Any]:
    """A resource that outlives its stack; `after` names the resources that it depends on."""
    return {
        "Type": type,
        **({"DependsOn": after} if after else {}),
        "DeletionPolicy": "Retain",
        "UpdateReplacePolicy": "Retain",
        "Properties": properties,
    }


def _topic(topology: Topology) -> dict[str, Any]:
    topic = topology.topic
    claim = Ownership(topic=topic.name, owner=topology.owner or topic.name)
    properties: dict[str, Any] = {"TopicName": topic.name, "Tags": _tags(claim)}
    if topic.fifo:
        properties["FifoTopic"] = True
    if topic.max_bytes != DEFAULT_MAX_BYTES:
        properties["MaximumMessageSize"] = topic.max_bytes
    if topology.kms_key is not None:
        properties[desired.KEY] = topology.kms_key
    return kept("AWS::SNS::Topic", properties)


def _queue(queue: DesiredQueue, after: list[str]) -> dict[str, Any]:
    properties: dict[str, Any] = {"QueueName": queue.name}
    if queue.fifo:
        properties["FifoQueue"] = True
    properties |= queue.values
    properties["Tags"] = _tags(queue.claim)
    return kept("AWS::SQS::Queue", properties, after)


def _policy(id: str, queue: DesiredQueue) -> dict[str, Any]:
    return {
        "Type": "AWS::SQS::QueuePolicy",
        "Properties": {
            "Queues": [{"Ref": id}],
            "PolicyDocument": {"Version": "2012-10-17", "Statement": list(queue.statements)},
        },
    }


def _subscription(id: str, one: Subscription, arn: str, owns_topic: bool) -> dict[str, Any]:
    attributes = desired.subscription_attributes(one, CLOUDFORMATION)
    after = [f"{id}QueuePolicy", f"{id}UndeliveredPolicy", *(["Topic"] if owns_topic else [])]
    return {
        "Type": "AWS::SNS::Subscription",
        "DependsOn": after,
        "Properties": {
            "TopicArn": arn,
            "Protocol": "sqs",
            "Endpoint": CLOUDFORMATION.queue_arn(one.queue),
            "RawMessageDelivery": json.loads(attributes["RawMessageDelivery"]),
            "FilterPolicyScope": attributes["FilterPolicyScope"],
            "FilterPolicy": json.loads(attributes["FilterPolicy"]),
            "RedrivePolicy": json.loads(attributes["RedrivePolicy"]),
        },
    }


def _tags(claim: Ownership) -> list[dict[str, str]]:
    return [{"Key": name, "Value": value} for name, value in sorted(claim.tags.items())]
