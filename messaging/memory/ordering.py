"""Chooses the next visible message of a standard or FIFO queue."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from messaging.transport import Attribute

__all__ = ["FifoOrder", "Message", "StandardOrder", "State", "StoredMessage"]

State = Literal["visible", "in flight", "delayed", "gone"]


@dataclass(slots=True, eq=False)
class Message:
    """One message in one queue, with its mutable state. Times are of the monotonic clock.

    `until` is when it becomes visible again; `received` is when it was last received.
    """

    message_id: str
    body: str
    attributes: Mapping[str, Attribute]
    group: str | None
    sent_at: float
    sent: float
    receive_count: int = 0
    state: State = "visible"
    until: float = 0.0
    received: float = 0.0

    def __repr__(self) -> str:  # a body is personal data
        return f"Message({self.message_id}, {self.state}, received {self.receive_count})"

    @property
    def receipt(self) -> str:
        """The receipt of the last receive; each receive has a different one."""
        return f"{self.message_id}/{self.receive_count}"

    def stored(self) -> StoredMessage:
        return StoredMessage(
            message_id=self.message_id,
            body=self.body,
            attributes=dict(self.attributes),
            group=self.group,
            sent_at=self.sent_at,
            receive_count=self.receive_count,
            state=self.state,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMessage:
    """A message in a queue, for tests to inspect. `sent_at` is in seconds since the epoch.

    Args:
        message_id: the message's id.
        body: its text.
        attributes: its message attributes.
        group: its message group, on a FIFO queue.
        sent_at: seconds since the epoch.
        receive_count: how often it was received.
        state: whether it is visible, in flight or delayed.

    Example:
        ```python
        publisher.publish(ana)
        (message,) = broker.messages("marketing")
        assert message.receive_count == 0
        assert '"aluno.cadastrado"' in message.body
        ```
    """

    message_id: str
    body: str
    attributes: Mapping[str, Attribute]
    group: str | None
    sent_at: float
    receive_count: int
    state: State

    def __repr__(self) -> str:  # a body is personal data
        return f"StoredMessage({self.message_id}, {self.state}, received {self.receive_count})"


class StandardOrder:
    """First come, first served; a message that becomes visible again is put last.

    Order only: the store owns the messages' states and calls in its own lock.
    """

    def __init__(self) -> None:
        self._visible: deque[Message] = deque()

    def add(self, message: Message) -> None:
        """Add a message that becomes visible for the first time."""
        self._visible.append(message)

    def pick(self, limit: int) -> list[Message]:
        """The next visible messages; the caller takes or removes each of them."""
        picked: list[Message] = []
        while self._visible and len(picked) < limit:
            message = self._visible.popleft()
            if message.state == "visible":
                picked.append(message)
        return picked

    def take(self, message: Message) -> None:
        """Note that a picked message is in flight."""

    def back(self, message: Message) -> None:
        """Note that a message that was in flight is visible again."""
        self._visible.append(message)

    def remove(self, message: Message) -> None:
        """A message is gone, its state still says what it was; `pick` passes over it."""


class FifoOrder:
    """In order within each group; a group with a message in flight waits.

    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[Message]] = {}
        self._in_flight: dict[str, int] = {}

    def add(self, message: Message) -> None:
        self._lines.setdefault(message.group or "", deque()).append(message)

    def pick(self, limit: int) -> list[Message]:
        picked: list[Message] = []
        for group, line in self._lines.items():
            if group not in self._in_flight:
                picked.extend(islice(line, limit - len(picked)))
                if len(picked) == limit:
                    break
        return picked

    def take(self, message: Message) -> None:
        group = message.group or ""
        self._in_flight[group] = self._in_flight.get(group, 0) + 1

    def back(self, message: Message) -> None:
        group = message.group or ""
        self._in_flight[group] -= 1
        if not self._in_flight[group]:
            del self._in_flight[group]

    def remove(self, message: Message) -> None:
        group = message.group or ""
        if message.state == "in flight":
            self.back(message)
        line = self._lines[group]
        line.remove(message)
        if not line:
            del self._lines[group]
