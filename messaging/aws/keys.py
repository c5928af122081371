"""Checks the KMS key of a topology: whether it is usable and allows SNS."""

from __future__ import annotations

from messaging.aws.clients import Clients
from messaging.aws.looks import Looks, Seen
from messaging.aws.verdicts import verdict
from messaging.changes import Change
from messaging.errors import TopologyError

__all__ = ["SNS_ACTIONS", "look_at_key", "same_key"]

SNS_ACTIONS = ("kms:GenerateDataKey", "kms:Decrypt")
"""The actions that SNS needs to send to an encrypted queue.

https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
"""


def same_key(one: str | None, other: str | None) -> bool:
    """Whether both name the same key, as far as the names show: an id is the end of its ARN."""
    if one is None or other is None:
        return one == other
    return one.rpartition("key/")[2] == other.rpartition("key/")[2]


def look_at_key(clients: Clients, key: str, topic_arn: str, *, feeds: bool) -> Change:
    """The plan's line for the key, which is never changed here.

    feeds  whether SNS must be able to use it, because the topology has queues.

    Raises `TopologyError` if the key is certainly unusable: on a queue and on the dead-letter queue
    of its subscription, it would make SNS drop messages.
    """
    looks = Looks(clients)
    seen = looks.key(key)
    if seen.there is False:
        raise TopologyError(
            f"kms_key {key!r}: there is no such key in {clients.where}; nothing was changed. "
            "Create it first: `messaging export kms` writes it as a template"
        )
    if complaint := _complaint(seen, topic_arn, feeds=feeds):
        raise TopologyError(f"kms_key {key!r}: {complaint}; nothing was changed")
    if not seen.there or (feeds and "Policy" not in seen.values):
        missing = ", ".join(one.permission for one in looks.unseen) or "a key of another account"
        said = f"not looked at ({missing}): its policy must admit sns.amazonaws.com"
        return Change(action="other", kind="key", name=key, details=(said,))
    return Change(action="leave", kind="key", name=key)


def _complaint(seen: Seen, topic_arn: str, *, feeds: bool) -> str:
    state = seen.values.get("KeyState", "Enabled")
    if state != "Enabled":
        return f"its state is {state}: enable it, cancel its deletion, or name another"
    spec = seen.values.get("KeySpec", "SYMMETRIC_DEFAULT")
    if spec != "SYMMETRIC_DEFAULT":
        return f"it is of the kind {spec}, and SNS and SQS take symmetric keys only"
    policy = seen.values.get("Policy")
    if feeds and policy and verdict(policy, SNS_ACTIONS, topic_arn) != "allowed":
        return (
            f"its policy does not let sns.amazonaws.com use it for {topic_arn}, so nothing would "
            "be delivered. Add what `messaging export kms --statements` writes"
        )
    return ""
