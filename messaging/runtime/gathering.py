"""Collects messages for handlers that take batches, before they wait for a free slot.

In the ready queue, a batch is represented by its first message; `batch` returns all of them. Only
consumers with such a handler use these queues, so others pay nothing for them.
"""

from __future__ import annotations

import queue as queues
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from messaging.clock import Clock
from messaging.consuming.batch_dispatch import handler_of, largest_batch
from messaging.consuming.consumer import Consumer, Handler
from messaging.runtime.in_flight import Disposition, InFlightMessage
from messaging.runtime.ready_queue import FifoReadyQueue, ReadyQueue, ready_queue_for
from messaging.settlement import group_of, is_ordered

__all__ = ["BatchFifoReadyQueue", "BatchReadyQueue", "prefetch_of", "line_for"]

LONGEST_NAP = 1.0
"""Seconds between two checks of a clock that may not be the system's."""


@dataclass(slots=True, repr=False)
class _Pile:
    """The messages collected so far for one handler. `due`: when they are passed on, full or
    not."""

    due: float
    size: int
    messages: dict[InFlightMessage, None] = field(default_factory=dict)


class BatchReadyQueue(ReadyQueue):
    """A ready queue in which messages for a batch wait until the batch is full or due.

    `run` is the body of the thread that passes on batches that have waited long enough.
    """

    def __init__(self, slots: int, consumer: Consumer, clock: Clock) -> None:
        super().__init__(slots)
        self._consumer = consumer
        self._now = clock.monotonic
        self._piling = threading.RLock()
        self._piles: dict[str, _Pile] = {}
        self._batches: dict[InFlightMessage, list[InFlightMessage]] = {}
        self._woken: queues.SimpleQueue[None] = queues.SimpleQueue()
        self._closed = False

    def __len__(self) -> int:
        return super().__len__() + sum(len(pile.messages) for pile in self._piles.copy().values())

    def batch(self, message: InFlightMessage) -> list[InFlightMessage] | None:
        """Remove and return the batch represented by `message`; None if the message is alone."""
        return self._batches.pop(message, None)

    def flush(self) -> None:
        """Pass on all batches, full or not."""
        with self._piling:
            for name in tuple(self._piles):
                self._hand_over(name)

    def close(self) -> None:
        """Pass on all batches to free handlers, and end the thread."""
        self._closed = True
        self.flush()
        self._woken.put(None)

    def get_nowait(self) -> InFlightMessage | None:
        self._look()
        return super().get_nowait()

    def run(self) -> None:
        while not self._closed:
            soonest = self._look()
            nap = None if soonest is None else min(LONGEST_NAP, max(0.0, soonest - self._now()))
            try:
                self._woken.get(timeout=nap)
            except queues.Empty:
                continue

    def drain(self) -> list[InFlightMessage]:
        taken: list[InFlightMessage] = []
        with self._piling:
            piles = [pile.messages for pile in self._piles.values()]
            self._piles.clear()
        with self._gate:
            kept: list[InFlightMessage | None] = []
            while not self._ready.empty():
                message = super().get_nowait()
                if message is None:
                    continue
                if self._closed and message in self._batches:
                    kept.append(message)  # it has a slot: a handler takes it before we end
                    continue
                self.slots += 1
                taken.append(message)
            for one in kept:
                self._ready.put(one)
            taken += self._waiting
            self._waiting.clear()
        whole = [one for leader in taken for one in self._batches.pop(leader, None) or [leader]]
        return [*whole, *(message for pile in piles for message in pile)]

    def _offer(self, message: InFlightMessage) -> None:
        handler = handler_of(self._consumer, message.delivery)
        if handler is None:
            super()._offer(message)
        else:
            self._pile(handler, message)

    def _pile(self, handler: Handler, message: InFlightMessage) -> None:
        gathering = handler.batch
        if gathering is None:
            return
        with self._piling:
            pile = self._piles.get(handler.name)
            if pile is None:
                pile = _Pile(self._now() + gathering.wait, gathering.batch)
                self._piles[handler.name] = pile
                self._woken.put(None)
            pile.messages[message] = None
            if len(pile.messages) >= pile.size:
                self._hand_over(handler.name)

    def _look(self) -> float | None:
        """Pass on what has waited long enough; returns when the next is due, None for never."""
        with self._piling:
            now = self._now()
            for name in [name for name, pile in self._piles.items() if pile.due <= now]:
                self._hand_over(name)
            return min((pile.due for pile in self._piles.values()), default=None)

    def _hand_over(self, name: str) -> None:
        messages = list(self._piles.pop(name).messages)
        self._batches[messages[0]] = messages
        super()._offer(messages[0])


class BatchFifoReadyQueue(FifoReadyQueue, BatchReadyQueue):
    """The same for a FIFO queue: a batch may contain several messages of one group, in order.

    While it is handled, no other message of these groups is. The next ones continue when all
    messages of the group in the batch have been deleted.
    """

    def __init__(self, slots: int, consumer: Consumer, clock: Clock) -> None:
        BatchReadyQueue.__init__(self, slots, consumer, clock)
        self._make_groups()
        self._under_way: dict[str, list[InFlightMessage]] = {}
        """By group: the messages that are collected, handled or being settled together."""

    def failed(self, message: InFlightMessage) -> Sequence[InFlightMessage]:
        with self._lock:
            name = group_of(message.delivery)
            if message not in self._under_way.get(name, ()):
                return ()
            return self._take_out(self._groups[name], message)

    def left(self, message: InFlightMessage, account: Disposition) -> Sequence[InFlightMessage]:
        with self._lock:
            name = group_of(message.delivery)
            self._is_back(name, message)
            group = self._groups.get(name)
            if group is None:
                return ()
            under_way = self._under_way[name]
            if message not in under_way:
                self._forget(group, message)
                return ()
            under_way.remove(message)
            taken: list[InFlightMessage] = []
            if account not in (Disposition.ACKNOWLEDGED, Disposition.DEAD_LETTERED):
                taken = self._take_out(group)
            if not under_way:
                waiting = group.waiting
                del self._groups[name], self._under_way[name]
                if waiting:
                    self._begin(name, self._next_of(group))
                    self._groups[name].waiting = waiting
                    while waiting and self._join(name, waiting[0]):
                        self._next_of(group)
            return taken

    def _put(self, name: str, message: InFlightMessage) -> None:
        group = self._groups.get(name)
        if group is None:
            self._begin(name, message)
        elif group.waiting or not self._join(name, message):
            self._wait(group, message)

    def _begin(self, name: str, message: InFlightMessage) -> None:
        self._new_group(name, message)
        self._under_way[name] = [message]
        self._offer(message)

    def _join(self, name: str, message: InFlightMessage) -> bool:
        """Add it to the batch of its group's last message, unless that has been passed on."""
        handler = handler_of(self._consumer, message.delivery)
        if handler is None:
            return False
        with self._piling:
            pile = self._piles.get(handler.name)
            if pile is None or self._under_way[name][-1] not in pile.messages:
                return False
            self._under_way[name].append(message)
            self._pile(handler, message)
            return True


def prefetch_of(consumer: Consumer, concurrency: int, prefetch: int | None) -> int | None:
    """`prefetch`, raised to have room for the largest batch that a handler of `consumer` takes.

    A batch counts once in `concurrency`, whatever its size.
    """
    largest = largest_batch(consumer)
    return max(concurrency if prefetch is None else prefetch, largest) if largest else prefetch


def line_for(queue: str, slots: int, consumer: Consumer, clock: Clock) -> ReadyQueue:
    """The ready queue of `consumer` for the queue of this name."""
    if not largest_batch(consumer):
        return ready_queue_for(queue, slots)
    make = BatchFifoReadyQueue if is_ordered(queue) else BatchReadyQueue
    return make(slots, consumer, clock)
