"""The KMS key of a topology: a template that creates it, and the permissions to use it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from messaging.aws.clients import Place
from messaging.aws.keys import SNS_ACTIONS
from messaging.errors import ConfigurationError
from messaging.export.cloudformation import kept, template
from messaging.export.places import CLOUDFORMATION, topic_arn
from messaging.topology import Topology

__all__ = ["key_template", "key_use", "sns_statement", "statement"]


def sns_statement(
    topology: Topology, place: Place, *, others_topic: str | None = None
) -> dict[str, Any]:
    """The statement that a key's policy needs so that SNS can deliver to queues encrypted with the
    key.

    Its "*" is the key itself, because a key policy applies to one key.
    https://docs.aws.amazon.com/sns/latest/dg/sns-key-management.html

    Args:
        topology: the desired topic, queues and subscriptions.
        place: the account, region and partition for the ARNs.
        others_topic: the ARN of another account's or another repository's topic.

    Example:
        ```python
        from messaging.aws.clients import Place
        from messaging.export import sns_statement

        place = Place(partition="aws", region="sa-east-1", account="111111111111")
        assert sns_statement(topology, place)["Effect"] == "Allow"
        ```
    """
    return {
        "Sid": "MessagingTopicMayUse",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": list(SNS_ACTIONS),
        "Resource": "*",
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn(topology, place, others_topic)}},
    }


def key_template(topology: Topology, *, others_topic: str | None = None) -> dict[str, Any]:
    """A CloudFormation template of a key with the topology's alias, whose policy allows SNS.

    Other users of the key get their permissions from the account's IAM policies, as written by
    `messaging export iam`.

    Args:
        topology: the desired topic, queues and subscriptions.
        others_topic: the ARN of another account's or another repository's topic.

    Raises:
        ConfigurationError: if the topology has no key, or names it by an id or an ARN, which means
            that the key exists already.

    Example:
        ```python
        from messaging.export import key_template

        template = key_template(Topology.of(Marketing, topic="alunos", kms_key="alias/alunos"))
        ```
    """
    key = topology.kms_key or ""
    if not key.startswith("alias/"):
        said = f"kms_key={topology.kms_key!r}" if key else "the topology has no kms_key"
        raise ConfigurationError(
            f"{said}: a key is created for an alias (kms_key='alias/alunos'); for an existing "
            "one, --statements writes what its policy needs"
        )
    root = f"arn:{CLOUDFORMATION.partition}:iam::{CLOUDFORMATION.account}:root"
    whole = {
        "Sid": "AccountMayDecide",
        "Effect": "Allow",
        "Principal": {"AWS": root},
        "Action": "kms:*",
        "Resource": "*",
    }
    statements = [whole]
    if topology.queues:  # without queues, SNS itself never uses the topology's key
        statements.append(sns_statement(topology, CLOUDFORMATION, others_topic=others_topic))
    policy = {"Version": "2012-10-17", "Statement": statements}
    return template(
        f"KMS key of {topology.topic.name}",
        {
            "Key": kept(
                "AWS::KMS::Key",
                {
                    "Description": f"Messages of topic {topology.topic.name}",
                    "EnableKeyRotation": True,
                    "KeyPolicy": policy,
                },
            ),
            "Alias": {
                "Type": "AWS::KMS::Alias",
                "Properties": {"AliasName": key, "TargetKeyId": {"Ref": "Key"}},
            },
        },
    )


def key_use(
    topology: Topology, place: Place, sid: str, actions: Sequence[str], *, via: str = ""
) -> list[dict[str, Any]]:
    """A statement that allows a role `actions` with the topology's key; no statement without a key.

    An alias cannot be a policy's resource, so it becomes a condition on the account's keys.
    https://docs.aws.amazon.com/kms/latest/developerguide/alias-authorization.html

    Args:
        via: the only service through which the key may be used: "sqs" or "sns"; empty: directly.
    """
    if topology.kms_key is None:
        return []
    before, _, name = topology.kms_key.rpartition("alias/" if "alias/" in topology.kms_key else "/")
    alias = f"alias/{name}" if "alias/" in topology.kms_key else ""
    if before.startswith("arn:"):
        resource = f"{before}key/*" if alias else topology.kms_key
    else:
        here = f"arn:{place.partition}:kms:{place.region}:{place.account}:key/"
        resource = f"{here}{'*' if alias else name}"
    condition: dict[str, dict[str, str]] = {}
    if via:
        # China's end in ".cn". https://docs.aws.amazon.com/kms/latest/developerguide/conditions-kms.html
        condition["StringLike"] = {"kms:ViaService": f"{via}.{place.region}.amazonaws.com*"}
    if alias:
        condition["ForAnyValue:StringEquals"] = {"kms:ResourceAliases": alias}
    return [statement(sid, actions, resource, **condition)]


def statement(
    sid: str, actions: Sequence[str], *resources: str, **condition: Mapping[str, str]
) -> dict[str, Any]:
    """A statement of a role's policy."""
    return {
        "Sid": sid,
        "Effect": "Allow",
        "Action": list(actions),
        "Resource": resources[0] if len(resources) == 1 else list(resources),
        **({"Condition": condition} if condition else {}),
    }
