"""A topology as Terraform, in its JSON syntax: save it as `topology.tf.json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from messaging.aws import desired
from messaging.aws.desired import DesiredQueue
from messaging.aws.ownership import Ownership
from messaging.export.places import TERRAFORM, by_service, identifiers, topic_arn
from messaging.topology import Subscription, Topology

__all__ = ["terraform"]

_PARTS = ("dead_letters", "undelivered", "queue")
"""A service's queues, in the order of `by_service`."""
_ARGUMENTS: Mapping[str, str] = {
    desired.KEY: "kms_master_key_id",
    "MaximumMessageSize": "max_message_size",
    "MessageRetentionPeriod": "message_retention_seconds",
    "ReceiveMessageWaitTimeSeconds": "receive_wait_time_seconds",
    "RedriveAllowPolicy": "redrive_allow_policy",
    "RedrivePolicy": "redrive_policy",
    "SqsManagedSseEnabled": "sqs_managed_sse_enabled",
    "VisibilityTimeout": "visibility_timeout_seconds",
}
"""https://registry.terraform.io/providers/hashicorp/aws/latest/docs/resources/sqs_queue"""


_PROVIDER: Mapping[str, str] = {"source": "hashicorp/aws", "version": ">= 6.8.0"}
"""The first provider version that supports queues for messages of 1 MiB.

https://github.com/hashicorp/terraform-provider-aws/blob/v6.8.0/CHANGELOG.md
"""


def terraform(topology: Topology, *, others_topic: str | None = None) -> dict[str, Any]:
    """The resources that `messaging topology apply` would create, for the provider `hashicorp/aws`.

    Queues and the topic have `prevent_destroy`. The topic's MaximumMessageSize is not included: the
    provider has no argument for it.

    Args:
        topology: the desired topic, queues and subscriptions.
        others_topic: the ARN of a topic that the topology does not own; by default, the topic of
            that name in the provider's account and region.

    Example:
        ```python
        import json

        from messaging.export import terraform

        text = json.dumps(terraform(topology), indent=2)  # topology.tf.json
        ```
    """
    arn = topic_arn(topology, TERRAFORM, others_topic)
    resources: dict[str, dict[str, Any]] = {}
    if topology.owns_topic:
        resources["aws_sns_topic"] = {"topic": _topic(topology)}
    names = identifiers(topology.services, lambda name: re.sub(r"[^A-Za-z0-9_]", "_", name))
    queues, policies, subscriptions = (
        resources.setdefault(kind, {})
        for kind in ("aws_sqs_queue", "aws_sqs_queue_policy", "aws_sns_topic_subscription")
    )
    for one, three in by_service(topology, TERRAFORM, arn):
        id = names[one.service]
        for part, queue in zip(_PARTS, three, strict=True):
            # ARNs are plain strings here, so Terraform does not see the dependency.
            after = [f"aws_sqs_queue.{id}_dead_letters"] if part == "queue" else []
            queues[f"{id}_{part}"] = _queue(queue, after)
            policies[f"{id}_{part}"] = _policy(f"{id}_{part}", queue)
        subscriptions[id] = _subscription(id, one, arn, topology.owns_topic)
    return {
        "terraform": {"required_providers": {"aws": dict(_PROVIDER)}},
        "data": {
            "aws_caller_identity": {"current": {}},
            "aws_partition": {"current": {}},
            "aws_region": {"current": {}},
        },
        "resource": {kind: ones for kind, ones in resources.items() if ones},
    }


def _topic(topology: Topology) -> dict[str, Any]:
    topic = topology.topic
    claim = Ownership(topic=topic.name, owner=topology.owner or topic.name)
    arguments: dict[str, Any] = {"name": topic.name}
    if topic.fifo:
        arguments["fifo_topic"] = True
    if topology.kms_key is not None:
        arguments[_ARGUMENTS[desired.KEY]] = topology.kms_key
    return arguments | {"tags": dict(claim.tags), "lifecycle": _KEPT}


def _queue(queue: DesiredQueue, after: list[str]) -> dict[str, Any]:
    arguments: dict[str, Any] = {"name": queue.name}
    if queue.fifo:
        arguments["fifo_queue"] = True
    for name, said in queue.values.items():
        arguments[_ARGUMENTS[name]] = _encoded(said) if isinstance(said, dict) else said
    arguments |= {"tags": dict(queue.claim.tags), "lifecycle": _KEPT}
    return arguments | ({"depends_on": after} if after else {})


def _policy(id: str, queue: DesiredQueue) -> dict[str, Any]:
    document = {"Version": "2012-10-17", "Statement": list(queue.statements)}
    return {"queue_url": f"${{aws_sqs_queue.{id}.id}}", "policy": _encoded(document)}


def _subscription(id: str, one: Subscription, arn: str, owns_topic: bool) -> dict[str, Any]:
    attributes = desired.subscription_attributes(one, TERRAFORM)
    after = [f"aws_sqs_queue_policy.{id}_{part}" for part in ("queue", "undelivered")]
    return {
        "topic_arn": "${aws_sns_topic.topic.arn}" if owns_topic else arn,
        "protocol": "sqs",
        "endpoint": f"${{aws_sqs_queue.{id}_queue.arn}}",
        "raw_message_delivery": json.loads(attributes["RawMessageDelivery"]),
        "filter_policy_scope": attributes["FilterPolicyScope"],
        "filter_policy": _encoded(json.loads(attributes["FilterPolicy"])),
        "redrive_policy": _encoded(json.loads(attributes["RedrivePolicy"])),
        "depends_on": after,
    }


def _encoded(document: Any) -> str:
    # In the format of Terraform's jsonencode: it would report an added space as a change.
    return json.dumps(document, separators=(",", ":"))


_KEPT: Mapping[str, bool] = {"prevent_destroy": True}
