"""The `DeadLetterSource` on RabbitMQ: a queue of letters, and how to send them back."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from messaging.dead_letters.letter import Kind
from messaging.dead_letters.source import OnProgress
from messaging.errors import NotFound
from messaging.rabbitmq.holding import Holding
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import unrouted_name
from messaging.rabbitmq.queue import RabbitQueue
from messaging.rabbitmq.topic import Confirming
from messaging.rabbitmq.wire import properties
from messaging.transport import Delivery, Failure

__all__ = ["RabbitDeadLetters"]


class RabbitDeadLetters:
    """The dead letters of one service, for a `Workbench`.

    There are no "undelivered" ones: RabbitMQ confirms a publish once every queue has its copy.
    """

    keeps_undelivered = False

    def __init__(
        self, holding: Holding, sending: Link, origin: str, topic: str, kind: Kind
    ) -> None:
        self.kind: Kind = kind
        self.origin = origin
        self.name = f"{origin}-{'dlq' if kind == 'dead' else 'undelivered'}"
        self._letters = RabbitQueue(holding, sending, self.name, self.name)
        self._sending = Confirming(sending, f"queue {origin}")
        self._topic = topic

    def receive(self, limit: int, wait: float, hold: int) -> Sequence[Delivery]:
        """Receive at most `limit` letters, held for `hold` seconds or until this program ends."""
        if self.kind == "undelivered":
            raise NotFound(
                f"RabbitMQ has no queue {self.name}: a publish fails when a queue does not take "
                "its copy. Messages without a subscriber are in queue "
                f"{unrouted_name(self._topic)}",
                code="NoUndelivered",
            )
        found = self._letters.receive(limit, wait)
        self._letters.change_visibility(found, [hold] * len(found))
        return found

    def release(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Make them visible to others again."""
        return self._letters.change_visibility(deliveries, [0] * len(deliveries))

    def send_back(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Publish them to the service's own queue only, as new messages."""
        return self._sending.send_copies(
            self.origin,
            ((one, properties(one.attributes, group=one.group)) for one in deliveries),
        )

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Delete these letters."""
        return self._letters.delete(deliveries)

    def move_all(self, on_progress: OnProgress, stop: Callable[[], bool]) -> int | None:
        """None: without a plugin, RabbitMQ cannot move messages by itself."""
        return None
