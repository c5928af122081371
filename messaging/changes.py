"""Plans: what stands, what should, and what lies between, as a value."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TopicNotFound

__all__ = ["Action", "Change", "Kind", "Plan", "once_there"]

Action = Literal["create", "change", "leave", "other", "drift", "delete", "keep"]
Kind = Literal["topic", "queue", "subscription", "key"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One thing of a plan.

    Args:
        action: "create": it is missing. "change": it is ours and differs; apply sets it. "leave":
            it is as it should be. "other": it is not managed here: another owner's topic, what
            others subscribed. "drift": something in what is ours that others put there and apply
            does not touch: a statement in a queue's policy, a customer key. "delete": what `remove`
            deletes. "keep": what it refuses to delete, because of messages.
        kind: "topic", "queue" (dead-letter queues, too), "subscription", or "key": the topology's
            KMS key, which is only looked at.
        name: of the topic, queue or key; of a subscription, its endpoint's.
        details: one sentence for each difference: "VisibilityTimeout: 30 -> 60".

    Example:
        ```python
        from messaging.aws import plan

        found = plan(topology, local.settings(topic="alunos", prefix="aws-change-"))
        assert {change.action for change in found.changes} == {"create"}
        ```
    """

    action: Action
    kind: Kind
    name: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What `plan` found, or what `apply` or `remove` did: one `Change` for each, in order.

    Args:
        topic: the topic's name.
        where: which account and region, or which server.
        changes: one for each thing, in the order in which it was looked at.

    Example:
        ```python
        from messaging.aws import plan

        found = plan(topology, local.settings(topic="alunos", prefix="aws-pending-"))
        assert found.pending  # nothing of it is there yet
        assert found.to_dict()["changes"]
        ```
    """

    topic: str
    where: str
    changes: tuple[Change, ...]

    @property
    def pending(self) -> bool:
        """Whether there is (or was) anything to do: a create, a change or a delete."""
        return any(one.action in ("create", "change", "delete") for one in self.changes)

    @property
    def kept(self) -> tuple[Change, ...]:
        """What `remove` refuses to delete, because a queue holds messages."""
        return tuple(one for one in self.changes if one.action == "keep")

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `--json`."""
        return {
            "topic": self.topic,
            "where": self.where,
            "pending": self.pending,
            "changes": [{**asdict(one), "details": list(one.details)} for one in self.changes],
        }


def once_there(apply: Callable[[], Plan], *, wait: float, look_again: float) -> Plan:
    """`apply()`, tried again every `look_again` seconds for `wait` while it raises
    `TopicNotFound`: the topic's owner may be about to make it."""
    until = SYSTEM_CLOCK.monotonic() + wait
    while True:
        try:
            return apply()
        except TopicNotFound:
            left = until - SYSTEM_CLOCK.monotonic()
            if left <= 0:
                raise
            SYSTEM_CLOCK.sleep(min(left, look_again))
