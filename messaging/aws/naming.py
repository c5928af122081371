"""Finds the topic named by settings and topology, and checks that they agree."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from messaging.errors import SettingsError
from messaging.settings import Settings
from messaging.topology import Topology

if TYPE_CHECKING:
    from messaging.aws.clients import Place

__all__ = ["NamedTopic", "named_topic", "topic_of"]

_ARN = re.compile(r"arn:([a-z0-9-]+):sns:([a-z0-9-]+):(\d+):([A-Za-z0-9_-]+(?:\.fifo)?)")


class NamedTopic(NamedTuple):
    """A topic as named in the settings. An ARN also says where the topic is.

    name       including the prefix.
    arn        None if the settings give a name: then it is the caller's own topic. partition,
               region, account of the ARN; empty without one.
    settings   the given settings, in the ARN's region.
    """

    name: str
    settings: Settings
    arn: str | None = None
    partition: str = ""
    region: str = ""
    account: str = ""

    def arn_at(self, place: Place) -> str:
        """Its ARN for a caller with credentials of `place`. Raises `SettingsError` if it has
        none."""
        if self.arn is not None and self.partition != place.partition:
            raise SettingsError(
                f"topic {self.arn!r} is in partition {self.partition!r}, the credentials in "
                f"{place.partition!r}: no account of one reaches the other"
            )
        return self.arn or place.topic_arn(self.name)


def named_topic(settings: Settings) -> NamedTopic:
    """Raises `SettingsError` if no topic is named, or its ARN contradicts the prefix or region."""
    topic = settings.topic
    if not topic:
        raise SettingsError(
            "no topic: set MESSAGING_TOPIC to the SNS topic's name or ARN, or give "
            "Settings(topic=...)"
        )
    if not topic.startswith("arn:"):
        return NamedTopic(settings.prefix + topic, settings)
    found = _ARN.fullmatch(topic)
    if found is None:
        raise SettingsError(
            f"topic {topic!r} is not the ARN of an SNS topic (arn:aws:sns:REGION:ACCOUNT:NAME)"
        )
    partition, region, account, name = found.groups()
    if not name.startswith(settings.prefix):
        raise SettingsError(
            f"topic {topic!r} does not begin with prefix {settings.prefix!r}: an ARN is taken "
            "as it is; clear MESSAGING_PREFIX or give the topic's name"
        )
    if settings.region not in (None, region):
        raise SettingsError(
            f"topic {topic!r} is not in region {settings.region!r}: its queues are in the "
            "topic's region; set MESSAGING_REGION to it"
        )
    there = settings.model_copy(update={"region": region})
    return NamedTopic(name, there, topic, partition, region, account)


def topic_of(topology: Topology, settings: Settings) -> NamedTopic:
    """The topic of `topology`, at the location from `settings` (or the topology, if they name
    none).

    Raises `SettingsError` if they name another one: applying and publishing would use two different
    topics, and events would be lost.
    """
    wanted = topology.prefixed(settings.prefix).topic.name
    if not settings.topic:
        return NamedTopic(wanted, settings)
    named = named_topic(settings)
    if named.name != wanted:
        raise SettingsError(
            f"MESSAGING_TOPIC names topic {named.name!r}, the topology is that of {wanted!r}: "
            "events would go to one and queues listen to the other. Clear MESSAGING_TOPIC, set "
            "it to the topology's topic (MESSAGING_PREFIX is put before a name, not an ARN), or "
            "give the topology of that topic"
        )
    return named
