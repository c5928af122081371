"""The consumers of one channel: their remaining credit, and the messages that they have sent."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

__all__ = ["Consumers"]


@dataclass(eq=False)
class _Consumer:
    prefetch: int
    unsettled: int = 0

    @property
    def credit(self) -> int:
        return self.prefetch - self.unsettled


class Consumers:
    """The consumers that RabbitMQ serves from `queue`. Used in the link's thread only."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._running: dict[str, _Consumer] = {}
        self._of: dict[int, _Consumer | None] = {}
        """The consumer of each unsettled message, by delivery tag, in order."""
        self._prefetch = 0

    def __len__(self) -> int:
        return len(self._running)

    @property
    def credit(self) -> int:
        """How many messages may still arrive."""
        return sum(one.credit for one in self._running.values())

    @property
    def prefetch(self) -> int:
        """How many messages may be unsettled in total."""
        return sum(one.prefetch for one in self._running.values())

    def start(
        self,
        channel: Any,
        limit: int,
        arrived: Callable[[Any, Any, Any, bytes], None],
        started: Callable[[str], None] = lambda _tag: None,
    ) -> None:
        """Start another consumer, which has at most `limit` unsettled messages."""
        if limit != self._prefetch:
            channel.basic_qos(prefetch_count=limit)
            self._prefetch = limit
        tag: str = channel.basic_consume(self._queue, arrived, callback=lambda _: started(tag))
        self._running[tag] = _Consumer(limit)

    def cancel(self, channel: Any, tag: str, then: Callable[[], None] = lambda: None) -> None:
        """Cancel this consumer. `then` is called when it sends no more."""
        if not self.ended(tag) or not channel.is_open:
            then()
            return
        channel.basic_cancel(tag, callback=lambda _: then())
        # The client would reject messages that still arrive for a consumer being cancelled, and the
        # broker would count that as a receive. So they are delivered like any others.
        channel._cancelled.discard(tag)

    def cancel_all(self, channel: Any) -> None:
        """Cancel all consumers."""
        for tag in list(self._running):
            self.cancel(channel, tag)

    def ended(self, tag: str) -> bool:
        """Note that this consumer sends no more. Returns False if that was known already."""
        return self._running.pop(tag, None) is not None

    def sent(self, consumer: str, message: int) -> None:
        """Note that a message arrived, with this delivery tag."""
        found = self._of[message] = self._running.get(consumer)
        if found is not None:
            found.unsettled += 1

    def settled(self, message: int) -> None:
        """Note that the message is acknowledged, or was put back."""
        consumer = self._of.pop(message, None)
        if consumer is not None:
            consumer.unsettled -= 1

    def first(self, done: Collection[int]) -> list[int]:
        """The tags in `done` that have no other unsettled message before them, in order."""
        return list(takewhile(done.__contains__, self._of))

    def freed(self, done: Collection[int]) -> dict[str, int]:
        """The credit that consumers without any will have once `done` are settled."""
        return {
            tag: sum(self._of.get(message) is one for message in done)
            for tag, one in self._running.items()
            if not one.credit  # none of its messages can be on their way
        }
