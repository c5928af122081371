"""Dead letters of the in-process broker: lists them, and sends them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from messaging.dead_letters.letter import Kind
from messaging.dead_letters.source import OnProgress
from messaging.memory.store import Store, failures
from messaging.memory.topic import SubscriptionState, TopicState
from messaging.transport import Delivery, Failure

__all__ = ["MemoryDeadLetters"]


class MemoryDeadLetters:
    """A `DeadLetterSource` in this process. Thread-safe."""

    def __init__(self, line: SubscriptionState, topic: TopicState, kind: Kind) -> None:
        self._queue = line.queue
        self._letters: Store = line.dead_letters if kind == "dead" else line.undelivered
        self._topic = topic
        self._kind: Kind = kind

    @property
    def kind(self) -> Kind:
        return self._kind

    @property
    def name(self) -> str:
        return self._letters.name

    @property
    def origin(self) -> str:
        return self._queue.name

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        """Receive immediately: in one process there is nothing to wait for."""
        found = self._letters.receive(limit, 0, lambda: False)
        for one in found:
            self._letters.change_visibility(one.receipt, hold)
        return found

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Make them visible again."""
        return failures([self._letters.change_visibility(one.receipt, 0) for one in deliveries])

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Send them to the service's queue as new messages."""
        self._queue.check_exists()
        self._queue.put(
            [self._topic.message(one.body, dict(one.attributes), one.group) for one in deliveries]
        )
        return ()

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Delete them."""
        return failures([self._letters.delete(one.receipt) for one in deliveries])

    def move_all(self, on_progress: OnProgress, stop: Callable[[], bool]) -> int | None:
        """None: moving letter by letter is quick enough here."""
        return None
