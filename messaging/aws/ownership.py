"""Tags that say whose a topic or a queue is, and what follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from messaging.errors import OwnershipError

__all__ = ["BEFORE", "CONTRACT", "OWNER", "SERVICE", "TOPIC", "Ownership", "TagChanges"]

TOPIC = "messaging:topic"
SERVICE = "messaging:service"
OWNER = "messaging:owner"
CONTRACT = "messaging:contract"
BEFORE = "messaging:topology"
"""The one tag of versions before owners. It is taken away: by it `topology apply --delete` of such
a version finds the queues that it deletes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChanges:
    """What makes standing tags into those of a claim. `details` says it in words."""

    values: Mapping[str, str]
    removed: tuple[str, ...]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """What a topology says of one topic (`service` is empty) or one queue: whose it is."""

    topic: str
    owner: str
    service: str = ""
    contract: str = ""

    @property
    def tags(self) -> Mapping[str, str]:
        """At most 256 characters each, as SNS and SQS take them."""
        said = {
            TOPIC: self.topic,
            SERVICE: self.service,
            OWNER: self.owner,
            CONTRACT: self.contract,
        }
        return {name: value for name, value in said.items() if value}

    def check(self, what: str, standing: Mapping[str, str], *, take_over: bool) -> None:
        """Raises `OwnershipError` if `what` ("queue alunos-bi") is somebody else's by its tags.

        What carries no owner's tag belongs to nobody yet: a version before owners made it, or an
        apply that ended half-way. Whose service has the name takes it.
        """
        self._same_thing(what, standing)
        owner = standing.get(OWNER)
        if owner not in (None, self.owner) and not take_over:
            raise OwnershipError(
                f"{what} is owned by {owner!r}, and this topology by {self.owner!r}: nothing was "
                f"changed. If {self.owner!r} takes it over, say so once with --take-over "
                "(take_over=True); if both are one team, give the topology "
                f"owner={owner!r}; else rename your service or topic"
            )

    def changes(self, standing: Mapping[str, str]) -> TagChanges:
        """What the tags lack. Tags of others stay."""
        values = {name: one for name, one in self.tags.items() if standing.get(name) != one}
        removed = (BEFORE,) if BEFORE in standing else ()
        details = [
            f"tag {name}: {standing.get(name) or 'not set'} -> {one}"
            for name, one in values.items()
        ]
        details += [f"tag {name}: removed, it is of a version before owners" for name in removed]
        return TagChanges(values=values, removed=removed, details=tuple(details))

    def _same_thing(self, what: str, standing: Mapping[str, str]) -> None:
        # "alunos" has a service "2-bi", and "alunos-2" a service "bi": one queue name of two.
        topic = standing.get(TOPIC) or standing.get(BEFORE) or self.topic
        service = standing.get(SERVICE) or self.service
        if topic != self.topic or service != self.service:
            whose = f"service {service!r} of topic {topic!r}" if service else f"topic {topic!r}"
            raise OwnershipError(
                f"{what} belongs to {whose} by its tags, and only happens to have the name that "
                f"this topology gives: nothing was changed. Rename your service or topic"
            )
