"""Names of accounts and regions as CloudFormation and Terraform fill them in at deployment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from messaging.aws.clients import Place
from messaging.topology import Topology

__all__ = [
    "CLOUDFORMATION",
    "TERRAFORM",
    "capitalized",
    "identifiers",
    "substituted",
    "topic_arn",
]

CLOUDFORMATION = Place("${AWS::Partition}", "${AWS::Region}", "${AWS::AccountId}")
TERRAFORM = Place(
    "${data.aws_partition.current.partition}",
    "${data.aws_region.current.id}",
    "${data.aws_caller_identity.current.account_id}",
)


def topic_arn(topology: Topology, place: Place, given: str | None = None) -> str:
    """The topic's ARN: the one that is given for a topic of others, or the one at `place`."""
    if given is not None and not topology.owns_topic:
        return given
    return place.topic_arn(topology.topic.name)


def substituted(value: Any) -> Any:
    """Plain data for CloudFormation: a text with `${AWS::...}` in it becomes an `Fn::Sub`."""
    if isinstance(value, Mapping):
        return {name: substituted(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [substituted(one) for one in value]
    if isinstance(value, str) and "${AWS::" in value:
        return {"Fn::Sub": value}
    return value


def identifiers(names: Iterable[str], form: Callable[[str], str]) -> Mapping[str, str]:
    """By name: an identifier made by `form`, or with a hash where two would be the same."""
    every = list(names)
    made = {name: form(name) for name in every}
    taken = list(made.values())
    return {
        name: one
        if taken.count(one) == 1
        else one + hashlib.sha256(name.encode()).hexdigest()[:6].upper()
        for name, one in made.items()
    }


def capitalized(name: str) -> str:
    """ "meia-entrada" as CloudFormation takes names: "MeiaEntrada"."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))
