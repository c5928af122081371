"""Hidden messages, in the order in which they become visible again."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from itertools import count

from messaging.memory.ordering import Message

__all__ = ["InvisibleMessages"]

_Entry = tuple[float, int, Message]


class InvisibleMessages:
    """Messages in flight or delayed, each until its time. Guarded by the store's lock."""

    def __init__(self) -> None:
        self._heap: list[_Entry] = []
        self._ticket = count()  # so that messages with equal times are not compared
        self._room = 64

    def change_visibility(self, message: Message, until: float) -> None:
        """Hide `message` until `until`, replacing any earlier time."""
        message.until = until
        heappush(self._heap, (until, next(self._ticket), message))
        if len(self._heap) > self._room:
            # Renewed and deleted messages leave their entries behind.
            self._heap = [entry for entry in self._heap if _holds(entry)]
            heapify(self._heap)
            self._room = 64 + 2 * len(self._heap)

    def woken(self, now: float) -> Iterator[Message]:
        """Yield the messages that are due. The caller must change each one's state before the
        next."""
        while self._heap and self._heap[0][0] <= now:
            entry = heappop(self._heap)
            if _holds(entry):
                yield entry[2]

    def soonest(self, otherwise: float) -> float:
        """The earliest time at which a message may become visible, at most `otherwise`."""
        return min(self._heap[0][0], otherwise) if self._heap else otherwise


def _holds(entry: _Entry) -> bool:
    until, _, message = entry
    return message.until == until and message.state in ("in flight", "delayed")
