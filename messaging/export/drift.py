"""Compares an exported file with the current topology: what has changed since it was written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from messaging.aws.ownership import TOPIC
from messaging.changes import Change, Kind, Plan
from messaging.errors import ConfigurationError
from messaging.export.cloudformation import cloudformation
from messaging.export.terraform import terraform
from messaging.topology import Topology

__all__ = ["drift"]

_KINDS: Mapping[str, Kind] = {
    "AWS::SNS::Topic": "topic",
    "AWS::SQS::Queue": "queue",
    "AWS::SQS::QueuePolicy": "queue",
    "AWS::SNS::Subscription": "subscription",
    "aws_sns_topic": "topic",
    "aws_sqs_queue": "queue",
    "aws_sqs_queue_policy": "queue",
    "aws_sns_topic_subscription": "subscription",
}
_NAMES = ("QueueName", "TopicName", "name")
_MISSING = object()


class _Resource(NamedTuple):
    """One resource of a template, by CloudFormation's type or Terraform's."""

    id: str
    type: str
    said: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The queue's or topic's name; policies and subscriptions only have an id."""
        named = next((self.said[one] for one in _NAMES if one in self.said), self.id)
        return named if isinstance(named, str) else self.id

    def of(self, topic: str) -> bool:
        """Whether its tags show that this library generated it for that topic."""
        tags = self.said.get("Tags", self.said.get("tags"))
        if isinstance(tags, list):
            tags = {one.get("Key"): one.get("Value") for one in tags if isinstance(one, Mapping)}
        return isinstance(tags, Mapping) and tags.get(TOPIC) == topic


def drift(
    topology: Topology, document: object, *, file: str, others_topic: str | None = None
) -> Plan:
    """What `messaging export` would now write differently from `document`, which it wrote to
    `file`.

    The contents show whether it is CloudFormation or Terraform. "create": the file lacks it;
    "change": it differs; "delete": it is in the file, but no longer in the topology. Other
    resources in the file are ignored.

    Args:
        topology: the desired topic, queues and subscriptions.
        document: the file's contents, parsed as JSON.
        file: its name, for the plan.
        others_topic: the ARN of another account's or another repository's topic.

    Raises:
        ConfigurationError: if the file is neither CloudFormation nor Terraform.

    Example:
        ```python
        from messaging.export import cloudformation, drift

        written = cloudformation(topology)
        assert not drift(topology, written, file="topology.json").pending
        ```
    """
    standing = _resources(document)
    if standing is None:
        raise ConfigurationError(
            f"{file} is neither a CloudFormation template (Resources) nor Terraform in JSON "
            "(resource): give what `messaging export cloudformation` or `terraform` wrote"
        )
    is_template = isinstance(document, Mapping) and "Resources" in document
    made = (cloudformation if is_template else terraform)(topology, others_topic=others_topic)
    wanted = _resources(json.loads(json.dumps(made))) or {}
    return Plan(
        topic=topology.topic.name,
        where=file,
        changes=tuple(_changes(wanted, standing, topology.topic.name)),
    )


def _resources(document: object) -> dict[str, _Resource] | None:
    if not isinstance(document, Mapping):
        return None
    resources, by_type = document.get("Resources"), document.get("resource")
    if isinstance(resources, Mapping):
        return {
            id: _Resource(id, str(one.get("Type")), _flat(one))
            for id, one in resources.items()
            if isinstance(one, Mapping)
        }
    if isinstance(by_type, Mapping):
        return {
            f"{kind}.{id}": _Resource(f"{kind}.{id}", kind, one)
            for kind, ones in by_type.items()
            for id, one in (ones.items() if isinstance(ones, Mapping) else ())
            if isinstance(one, Mapping)
        }
    return None


def _flat(resource: Mapping[str, Any]) -> dict[str, Any]:
    properties = resource.get("Properties")
    rest = {name: one for name, one in resource.items() if name not in ("Type", "Properties")}
    return {**(properties if isinstance(properties, Mapping) else {}), **rest}


def _changes(
    wanted: Mapping[str, _Resource], standing: Mapping[str, _Resource], topic: str
) -> Iterator[Change]:
    for id, one in wanted.items():
        kind, there = _KINDS[one.type], standing.get(id)
        if there is None or there.type != one.type:
            yield Change(action="create", kind=kind, name=one.name, details=("not in the file",))
            continue
        details = tuple(_differences(there.said, one.said))
        yield Change(
            action="change" if details else "leave", kind=kind, name=one.name, details=details
        )
    for id, there in standing.items():
        if id not in wanted and there.type in _KINDS and there.of(topic):
            said = ("in the file, and not in the topology any more",)
            yield Change(action="delete", kind=_KINDS[there.type], name=there.name, details=said)


def _differences(was: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    for name in (*now, *(one for one in was if one not in now)):
        before, after = (_read(one.get(name, _MISSING)) for one in (was, now))
        if before != after:
            yield f"{name}: {_told(before)} -> {_told(after)}"


def _read(value: Any) -> Any:
    """Parse a string that holds JSON, which is how Terraform embeds documents."""
    if isinstance(value, str) and value[:1] in "{[":
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _told(value: Any) -> str:
    if value is _MISSING:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
