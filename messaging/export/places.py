"""Placeholders for accounts and regions that CloudFormation and Terraform fill in at deployment."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any

from messaging.aws import desired
from messaging.aws.clients import Place
from messaging.aws.desired import DesiredQueue
from messaging.topology import Subscription, Topology

__all__ = [
    "CLOUDFORMATION",
    "TERRAFORM",
    "by_service",
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


def by_service(
    topology: Topology, place: Place, topic_arn: str
) -> Iterator[tuple[Subscription, Sequence[DesiredQueue]]]:
    """Each subscription with its service's queues: dead letters, undelivered, and the queue
    itself."""
    wanted = desired.queues(topology, place, topic_arn)
    for one in topology.subscriptions:
        yield one, list(islice(wanted, 3))


def topic_arn(topology: Topology, place: Place, given: str | None = None) -> str:
    """The topic's ARN: `given` for someone else's topic, otherwise the one at `place`."""
    if given is not None and not topology.owns_topic:
        return given
    return place.topic_arn(topology.topic.name)


def substituted(value: Any) -> Any:
    """`value` for CloudFormation: strings that contain `${AWS::...}` become an `Fn::Sub`."""
    if isinstance(value, Mapping):
        return {name: substituted(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [substituted(one) for one in value]
    if isinstance(value, str) and "${AWS::" in value:
        return {"Fn::Sub": value}
    return value


def identifiers(names: Iterable[str], form: Callable[[str], str]) -> Mapping[str, str]:
    """An identifier for each name: created by `form`, with a hash appended if two would be
    equal."""
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
    """ "meia-entrada" as a CloudFormation name: "MeiaEntrada"."""
    return "".join(word[:1].upper() + word[1:] for word in re.split(r"[^A-Za-z0-9]+", name))
