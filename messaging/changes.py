"""Plans: the differences between the current and the desired state, as values."""

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
    """One resource in a plan.

    Args:
        action: "create": it is missing. "change": it is ours and differs; apply sets it. "leave":
            it is as it should be. "other": it is not managed here: another owner's topic, or
            others' subscriptions. "drift": others added something to our resource that apply leaves
            alone: a statement in a queue's policy, a customer key. "delete": `remove` deletes it.
            "keep": `remove` refuses to delete it, because of messages.
        kind: "topic", "queue" (including dead-letter queues), "subscription", or "key": the
            topology's KMS key, which is only read.
        name: of the topic, queue or key; for a subscription, the name of its endpoint.
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
    """The result of `plan`, `apply` or `remove`: one `Change` for each resource, in order.

    Args:
        topic: the topic's name.
        where: the account and region, or the server.
        changes: one for each resource, in the order in which they were checked.

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
        """Whether there is (or was) anything to create, change or delete."""
        return any(one.action in ("create", "change", "delete") for one in self.changes)

    @property
    def kept(self) -> tuple[Change, ...]:
        """What `remove` refuses to delete, because a queue has messages."""
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
    """Call `apply()`, and retry it every `look_again` seconds for `wait` seconds while it raises
    `TopicNotFound`: the topic's owner may be about to create it."""
    until = SYSTEM_CLOCK.monotonic() + wait
    while True:
        try:
            return apply()
        except TopicNotFound:
            left = until - SYSTEM_CLOCK.monotonic()
            if left <= 0:
                raise
            SYSTEM_CLOCK.sleep(min(left, look_again))
