"""Tags that say who owns a topic or a queue, and their consequences."""

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
"""The tag used before owners existed. It is removed, because `topology apply --delete` of such a
version uses it to find the queues to delete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TagChanges:
    """The changes that turn existing tags into those of a claim. `details` describes them."""

    values: Mapping[str, str]
    removed: tuple[str, ...]
    details: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """A topology's claim of ownership for one topic (`service` is empty) or one queue."""

    topic: str
    owner: str
    service: str = ""
    contract: str = ""

    @property
    def tags(self) -> Mapping[str, str]:
        """At most 256 characters each, the limit of SNS and SQS."""
        said = {
            TOPIC: self.topic,
            SERVICE: self.service,
            OWNER: self.owner,
            CONTRACT: self.contract,
        }
        return {name: value for name, value in said.items() if value}

    def check(self, what: str, standing: Mapping[str, str], *, take_over: bool) -> None:
        """Raise `OwnershipError` if `what` ("queue alunos-bi") has another owner's tags.

        A resource without an owner's tag has no owner yet: it was created by a version before
        owners, or by an interrupted apply. The topology whose service has its name takes it.
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
        """The missing tags. Tags of others are kept."""
        values = {name: one for name, one in self.tags.items() if standing.get(name) != one}
        removed = (BEFORE,) if BEFORE in standing else ()
        details = [
            f"tag {name}: {standing.get(name) or 'not set'} -> {one}"
            for name, one in values.items()
        ]
        details += [f"tag {name}: removed, it is of a version before owners" for name in removed]
        return TagChanges(values=values, removed=removed, details=tuple(details))

    def _same_thing(self, what: str, standing: Mapping[str, str]) -> None:
        # Topic "alunos" with service "2-bi", and "alunos-2" with "bi", would share one queue name.
        topic = standing.get(TOPIC) or standing.get(BEFORE) or self.topic
        service = standing.get(SERVICE) or self.service
        if topic != self.topic or service != self.service:
            whose = f"service {service!r} of topic {topic!r}" if service else f"topic {topic!r}"
            raise OwnershipError(
                f"{what} belongs to {whose} by its tags, and only happens to have the name that "
                f"this topology gives: nothing was changed. Rename your service or topic"
            )
