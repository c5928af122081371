"""Requests about exchanges, queues and bindings, each answered before the next is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from messaging.errors import NotFound
from messaging.rabbitmq.session import Answer, Session

__all__ = ["Requests"]


class Requests(Session):
    """A channel for what is asked and declared: a request that is refused ends it."""

    def look(self, queue: str) -> tuple[int, int]:
        """How many messages `queue` holds that nobody has in hand, and how many consumers it has.

        Raises `NotFound` where it does not exist.
        """
        frame = self._ask(lambda channel, done: channel.queue_declare(
            queue, passive=True, callback=done))  # fmt: skip
        return int(frame.method.message_count), int(frame.method.consumer_count)

    def counts(self, queue: str) -> tuple[int, int] | None:
        """The same; None where it does not exist."""
        try:
            return self.look(queue)
        except NotFound:
            return None

    def messages(self, queue: str) -> int | None:
        """The first of the two."""
        found = self.counts(queue)
        return None if found is None else found[0]

    def exchange_stands(self, exchange: str) -> bool:
        """Whether `exchange` exists."""
        try:
            self._ask(lambda channel, done: channel.exchange_declare(
                exchange, passive=True, callback=done))  # fmt: skip
        except NotFound:
            return False
        return True

    def declare_exchange(self, exchange: str, kind: str, arguments: Mapping[str, Any]) -> None:
        """Create it, or see that it stands just so."""
        self._ask(lambda channel, done: channel.exchange_declare(
            exchange, kind, durable=True, arguments=dict(arguments), callback=done))  # fmt: skip

    def declare_queue(self, queue: str, arguments: Mapping[str, Any]) -> None:
        """Create it, or see that it stands just so."""
        self._ask(lambda channel, done: channel.queue_declare(
            queue, durable=True, arguments=dict(arguments), callback=done))  # fmt: skip

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """What is published to `exchange` with `key` goes to `queue`, too."""
        self._ask(lambda channel, done: channel.queue_bind(queue, exchange, key, callback=done))

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """The opposite of `bind`."""
        self._ask(lambda channel, done: channel.queue_unbind(queue, exchange, key, callback=done))

    def delete_queue(self, queue: str) -> None:
        """Delete it with its messages; nothing where there is none."""
        self._ask(lambda channel, done: channel.queue_delete(queue, callback=done))

    def _ask(self, request: Callable[[Any, Callable[[Any], None]], Any]) -> Any:
        def work(channel: Any, answer: Answer) -> None:
            request(channel, answer.set_result)

        return self.call(work)
