"""IAM policies: for each role exactly the actions that the library needs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from messaging.aws.clients import Place
from messaging.export.cloudformation import template
from messaging.export.kms import key_use, statement
from messaging.export.places import CLOUDFORMATION, capitalized, identifiers, topic_arn
from messaging.topology import Topology

__all__ = ["iam_template", "policies"]

_LOOK = ("sqs:GetQueueUrl", "sqs:GetQueueAttributes")
_RECEIVE = (*_LOOK, "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility")
_OWN_TOPIC = (
    "sns:CreateTopic",
    "sns:GetTopicAttributes",
    "sns:SetTopicAttributes",
    "sns:ListTagsForResource",
    "sns:TagResource",
    "sns:UntagResource",
    "sns:ListSubscriptionsByTopic",
)
_FEED = (
    "sns:GetTopicAttributes",
    "sns:ListSubscriptionsByTopic",
    "sns:GetSubscriptionAttributes",
    "sns:SetSubscriptionAttributes",
    "sns:Unsubscribe",
)
_OWN_QUEUES = (
    "sqs:CreateQueue",
    *_LOOK,
    "sqs:SetQueueAttributes",
    "sqs:ListQueueTags",
    "sqs:TagQueue",
    "sqs:UntagQueue",
    "sqs:DeleteQueue",
)
_SEE_TOPIC = (
    "sns:GetTopicAttributes",
    "sns:ListTagsForResource",
    "sns:ListSubscriptionsByTopic",
    "sns:GetSubscriptionAttributes",
)
_LETTERS = (*_RECEIVE, "sqs:ListQueueTags")
_MOVE = ("sqs:StartMessageMoveTask", "sqs:ListMessageMoveTasks")
"""AWS can only move letters that its own redrive policy put there, not those from SNS."""
_ASK_AROUND = (
    "cloudwatch:GetMetricStatistics",
    "lambda:ListEventSourceMappings",
    "lambda:GetFunctionConfiguration",
)

_SEND = ("kms:GenerateDataKey", "kms:Decrypt")
"""Senders need both: a reused data key has to be decrypted.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
"""
_LOOK_AT_KEY = ("kms:DescribeKey", "kms:GetKeyPolicy")


def policies(
    topology: Topology, place: Place, *, others_topic: str | None = None
) -> dict[str, dict[str, Any]]:
    """A policy document for each role, by the role's name.

    producer, relay   publish.
    topic-deploy      `messaging topology apply` for the topic, if the topology owns it.
    SERVICE-worker    `messaging run`.
    SERVICE-lambda    the same with an event source mapping.
    SERVICE-deploy    `messaging topology apply` and `remove` for that service.
    operator          `messaging status`, `dlq` and `doctor` for all services.

    With a `kms_key`, each role may also use the key as needed. Someone else's topic may have a key
    that this topology does not know.

    Args:
        topology: the desired topic, queues and subscriptions.
        place: the account, region and partition for the ARNs.
        others_topic: the ARN of another account's or another repository's topic.

    Example:
        ```python
        from messaging.aws.clients import Place
        from messaging.export import policies

        place = Place(partition="aws", region="sa-east-1", account="111111111111")
        assert "marketing-worker" in policies(topology, place)
        ```
    """
    topic = topic_arn(topology, place, others_topic)
    key = key_use(topology, place, "Key", _SEND, via="sns") if topology.owns_topic else []
    found = {
        role: _document(statement("Publish", ["sns:Publish"], topic), *key)
        for role in ("producer", "relay")
    }
    look = key_use(topology, place, "Key", _LOOK_AT_KEY)
    if topology.owns_topic:
        plain = topology.topic.name.removesuffix(".fifo")
        found["topic-deploy"] = _document(
            statement("Topic", _OWN_TOPIC, topic),
            statement(
                "SeeOwners", ["sqs:GetQueueUrl", "sqs:ListQueueTags"], place.queue_arn(f"{plain}-*")
            ),
            *look,
        )
    for service in topology.services:
        found |= _of_service(topology, service, place, topic)
    if topology.services:
        found["operator"] = _operator(topology, place, topic)
    return found


def iam_template(topology: Topology, *, others_topic: str | None = None) -> dict[str, Any]:
    """The same policies as managed policies in a CloudFormation template, with their ARNs as
    outputs.

    Args:
        topology: the desired topic, queues and subscriptions.
        others_topic: the ARN of another account's or another repository's topic.

    Example:
        ```python
        from messaging.export import iam_template

        template = iam_template(topology)
        assert "MarketingWorkerPolicy" in template["Resources"]
        ```
    """
    documents = policies(topology, CLOUDFORMATION, others_topic=others_topic)
    ids = identifiers(documents, lambda role: f"{capitalized(role)}Policy")
    return template(
        f"IAM policies of {topology.topic.name}",
        {
            ids[role]: {
                "Type": "AWS::IAM::ManagedPolicy",
                "Properties": {
                    "Description": f"{role} of topic {topology.topic.name}",
                    "PolicyDocument": document,
                },
            }
            for role, document in documents.items()
        },
        Outputs={f"{id}Arn": {"Value": {"Ref": id}} for id in ids.values()},
    )


def _of_service(
    topology: Topology, service: str, place: Place, topic: str
) -> dict[str, dict[str, Any]]:
    queue = topology.queue(service)
    names = (queue.name, queue.dead_letters.name, topology.subscription(service).undelivered.name)
    arn, letters, undelivered = map(place.queue_arn, names)
    only = {"sns:Protocol": "sqs", "sns:Endpoint": arn}
    receives = _document(
        statement("Queue", _RECEIVE, arn),
        statement("DeadLetters", [*_LOOK, "sqs:SendMessage"], letters),
        *key_use(topology, place, "Key", _SEND, via="sqs"),
    )
    return {
        f"{service}-worker": receives,
        f"{service}-lambda": receives,
        f"{service}-deploy": _document(
            statement("Topic", _FEED, topic),
            statement("SubscribeItsOwnQueue", ["sns:Subscribe"], topic, StringEquals=only),
            statement("Queues", _OWN_QUEUES, arn, letters, undelivered),
            *key_use(topology, place, "Key", _LOOK_AT_KEY),
        ),
    }


def _operator(topology: Topology, place: Place, topic: str) -> dict[str, Any]:
    queues = [place.queue_arn(one.name) for one in topology.queues]
    letters = [place.queue_arn(one.dead_letters.name) for one in topology.queues]
    undelivered = [place.queue_arn(one.undelivered.name) for one in topology.subscriptions]
    return _document(
        statement("Topic", _SEE_TOPIC, topic),
        statement("Queues", [*_LOOK, "sqs:ListQueueTags", "sqs:SendMessage"], *queues),
        statement("DeadLetters", [*_LETTERS, *_MOVE], *letters),
        statement("Undelivered", _LETTERS, *undelivered),
        statement("AgeAndMappings", _ASK_AROUND, "*"),
        *key_use(topology, place, "Key", _SEND, via="sqs"),
        *key_use(topology, place, "LookAtKey", _LOOK_AT_KEY),
    )


def _document(*statements: Mapping[str, Any]) -> dict[str, Any]:
    return {"Version": "2012-10-17", "Statement": list(statements)}
