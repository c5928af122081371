"""The consumers of one channel: how much each may still send, and what it has sent."""

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
    """What RabbitMQ was asked to send from `queue`. In the link's thread."""

    def __init__(self, queue: str) -> None:
        self._queue = queue
        self._running: dict[str, _Consumer] = {}
        self._of: dict[int, _Consumer | None] = {}
        """Who sent each message that is not settled, by its delivery tag, in order."""
        self._prefetch = 0

    def __len__(self) -> int:
        return len(self._running)

    @property
    def credit(self) -> int:
        """How many messages may still come."""
        return sum(one.credit for one in self._running.values())

    @property
    def prefetch(self) -> int:
        """How many messages may be unsettled altogether."""
        return sum(one.prefetch for one in self._running.values())

    def start(
        self,
        channel: Any,
        limit: int,
        arrived: Callable[[Any, Any, Any, bytes], None],
        started: Callable[[str], None] = lambda _tag: None,
    ) -> None:
        """Another consumer, which has at most `limit` messages unsettled."""
        if limit != self._prefetch:
            channel.basic_qos(prefetch_count=limit)
            self._prefetch = limit
        tag: str = channel.basic_consume(self._queue, arrived, callback=lambda _: started(tag))
        self._running[tag] = _Consumer(limit)

    def cancel(self, channel: Any, tag: str, then: Callable[[], None] = lambda: None) -> None:
        """End this one. `then` is called when it sends no more."""
        if not self.ended(tag) or not channel.is_open:
            then()
            return
        channel.basic_cancel(tag, callback=lambda _: then())
        # The client would send back what still arrives for a consumer that is being ended, and the
        # broker would count that as a receive. It is as good as any other message.
        channel._cancelled.discard(tag)

    def cancel_all(self, channel: Any) -> None:
        """End every one."""
        for tag in list(self._running):
            self.cancel(channel, tag)

    def ended(self, tag: str) -> bool:
        """This one sends no more. False: it was known already."""
        return self._running.pop(tag, None) is not None

    def sent(self, consumer: str, message: int) -> None:
        """A message came, with this delivery tag."""
        found = self._of[message] = self._running.get(consumer)
        if found is not None:
            found.unsettled += 1

    def settled(self, message: int) -> None:
        """It is acknowledged, or was put back."""
        consumer = self._of.pop(message, None)
        if consumer is not None:
            consumer.unsettled -= 1

    def first(self, done: Collection[int]) -> list[int]:
        """Those of `done` before which nothing is unsettled, in order."""
        return list(takewhile(done.__contains__, self._of))

    def freed(self, done: Collection[int]) -> dict[str, int]:
        """Of consumers without credit: how much they have once `done` are settled."""
        return {
            tag: sum(self._of.get(message) is one for message in done)
            for tag, one in self._running.items()
            if not one.credit  # nothing of it can be on its way
        }
