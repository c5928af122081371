"""Queue policies: this library's statements, merged with those of others, which stay."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

__all__ = ["MAY_SEND", "ONLY_TLS", "Merged", "same_json", "merge", "statements"]

MAY_SEND = "MessagingTopicMaySend"
ONLY_TLS = "MessagingOnlyOverTls"
OWN = (MAY_SEND, ONLY_TLS)


class Merged(NamedTuple):
    """A policy with this library's statements. `changed` lists the Sids that were added, changed or
    removed; `foreign` lists those of others, which are kept."""

    policy: str
    changed: tuple[str, ...]
    foreign: tuple[str, ...]


def statements(queue_arn: str, topic_arn: str | None) -> list[dict[str, Any]]:
    """This library's statements for one queue: TLS is required, and the topic, if given, may send.

    https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-security-best-practices.html
    """
    only_tls = {
        "Sid": ONLY_TLS,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "sqs:*",
        "Resource": queue_arn,
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    }
    if topic_arn is None:
        return [only_tls]
    may_send = {
        "Sid": MAY_SEND,
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    }
    return [may_send, only_tls]


def merge(existing: str | None, ours: Sequence[Mapping[str, Any]]) -> Merged:
    """Merge `ours`, each with its Sid, into the `existing` policy.

    A statement with one of our Sids is replaced in place, or removed if it is no longer wanted.
    Every other statement, with or without a Sid, keeps its content and its place.
    """
    document: dict[str, Any] = json.loads(existing) if existing else {}
    found = document.get("Statement", [])
    standing: list[dict[str, Any]] = [found] if isinstance(found, dict) else list(found)
    wanted = {one["Sid"]: dict(one) for one in ours}
    changed: list[str] = []
    kept: list[dict[str, Any]] = []
    for statement in standing:
        sid = statement.get("Sid")
        if sid not in OWN:
            kept.append(statement)
            continue
        mine = wanted.pop(sid, None)
        if mine is None:
            changed.append(sid)  # no longer wanted, or a duplicate
        elif _plain(mine) == _plain(statement):
            kept.append(statement)
        else:
            kept.append(mine)
            changed.append(sid)
    kept += wanted.values()
    changed += wanted
    foreign = [one.get("Sid") or "without a Sid" for one in kept if one.get("Sid") not in OWN]
    # Version and Id are kept: another Version would change the meaning of others' statements.
    policy = {"Version": "2012-10-17", **document, "Statement": kept}
    if document and "Version" not in document:
        del policy["Version"]
    return Merged(json.dumps(policy), tuple(changed), tuple(foreign))


def same_json(one: str | None, other: str | None) -> bool:
    """Whether two JSON attributes are equivalent."""
    if not one or not other:
        return bool(one) == bool(other)
    try:
        return bool(_plain(json.loads(one)) == _plain(json.loads(other)))
    except ValueError:
        return False


def _plain(value: Any) -> Any:
    # AWS returns ["a"] for "a", {"AWS": "*"} for "*", and numbers as strings.
    if isinstance(value, Mapping):
        if dict(value) == {"AWS": "*"}:
            return "*"
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        members = [_plain(one) for one in value]
        if len(members) == 1:
            return members[0]
        return sorted(members, key=lambda one: json.dumps(one, sort_keys=True))
    return value if isinstance(value, bool) else str(value)
