"""Requests about exchanges, queues and bindings, each answered before the next is sent."""

from __future__ import annotations

from collections.abc import Mapping
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
        method = self._ask("queue_declare", queue, passive=True).method
        return int(method.message_count), int(method.consumer_count)

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
            self._ask("exchange_declare", exchange, passive=True)
        except NotFound:
            return False
        return True

    def declare_exchange(self, exchange: str, kind: str, arguments: Mapping[str, Any]) -> None:
        """Create it, or check that it exists exactly like this."""
        self._ask("exchange_declare", exchange, kind, durable=True, arguments=dict(arguments))

    def declare_queue(self, queue: str, arguments: Mapping[str, Any]) -> None:
        """Create it, or check that it exists exactly like this."""
        self._ask("queue_declare", queue, durable=True, arguments=dict(arguments))

    def bind(self, queue: str, exchange: str, key: str) -> None:
        """Bind `queue` to `exchange` with `key`."""
        self._ask("queue_bind", queue, exchange, key)

    def unbind(self, queue: str, exchange: str, key: str) -> None:
        """The opposite of `bind`."""
        self._ask("queue_unbind", queue, exchange, key)

    def delete_queue(self, queue: str) -> None:
        """Delete it with its messages; does nothing if it does not exist."""
        self._ask("queue_delete", queue)

    def _ask(self, request: str, *arguments: Any, **more: Any) -> Any:
        """The answer to this request of the client's, which names its method of a channel."""

        def work(channel: Any, answer: Answer) -> None:
            getattr(channel, request)(*arguments, **more, callback=answer.set_result)

        return self.call(work)
