"""Waiting: what is to be handled next, and in a FIFO queue, what must wait for it."""

from __future__ import annotations

import queue as queues
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from messaging.runtime.in_flight import Disposition, InFlightMessage
from messaging.settlement import group_of, is_ordered

__all__ = ["FifoReadyQueue", "ReadyQueue", "ready_queue_for"]


Takes = Callable[[], Callable[[InFlightMessage], None] | None]


def _nobody() -> None:
    return None


class ReadyQueue:
    """Receipts that wait for a handler; first come, first served. Safe to use from any thread.

    slots  handlers that may run at once. A receipt that `get` or `next` gives has one, until
           `next` or `free` gives it on.
    """

    def __init__(self, slots: int) -> None:
        self._gate = threading.Lock()
        self.slots = slots
        """How many are free."""
        self.behind = 0
        """Of those here, so many wait for another one, whatever slots are free."""
        # While there is a free slot nothing waits for one.
        self._waiting: deque[InFlightMessage] = deque()
        # Those that have a slot, and None for a thread that shall end. In C: a queue of
        # `threading` would cost as much as the rest of a message's way.
        self._ready: queues.SimpleQueue[InFlightMessage | None] = queues.SimpleQueue()
        self.get = self._ready.get

    def __len__(self) -> int:
        return self._ready.qsize() + len(self._waiting)

    def put(self, message: InFlightMessage, *, has_turn: bool = False) -> bool:
        """It is to be handled when those before it are, and a slot is free. False: one before it
        is on its way back, and so must this one be.

        has_turn  it was put here before, and waits for no other any more.
        """
        self._offer(message)
        return True

    def next(self) -> InFlightMessage | None:
        """A handler has ended: what its thread has to do next. None: nothing waits."""
        with self._gate:
            if self._waiting:
                return self._waiting.popleft()
            self.slots += 1
            return None

    def free(self) -> None:
        """A handler has ended whose thread does not go on."""
        with self._gate:
            if self._waiting:
                self._ready.put(self._waiting.popleft())
            else:
                self.slots += 1

    def take_slot(self) -> bool:
        """A slot for a receipt that was never put here. False: none is free."""
        with self._gate:
            if not self.slots:
                return False
            self.slots -= 1
            return True

    def get_nowait(self) -> InFlightMessage | None:
        """The next one that has a slot; None if nothing is ready."""
        try:
            return self._ready.get_nowait()
        except queues.Empty:
            return None

    def wake(self, threads: int) -> None:
        """Let so many threads that wait in `get` have None, and end."""
        for _ in range(threads):
            self._ready.put(None)

    def drain(self) -> list[InFlightMessage]:
        """Take out all that wait, in order."""
        taken = []
        with self._gate:
            while (message := self.get_nowait()) is not None:
                self.slots += 1
                taken.append(message)
            taken += self._waiting
            self._waiting.clear()
        return taken

    def held_up(self, message: InFlightMessage) -> bool:
        """True: it may not be handled now, because one before it is on its way back."""
        return False

    def busy(self, message: InFlightMessage) -> bool:
        """True: another one must end before this one may be handled."""
        return False

    def sent_back(self, messages: Sequence[InFlightMessage]) -> None:
        """These were not put here and go back to the queue: none may overtake them."""

    def failed(self, message: InFlightMessage) -> Sequence[InFlightMessage]:
        """Its handler did not do it: take out those that may not be handled before it."""
        return ()

    def left(self, message: InFlightMessage, account: Disposition) -> Sequence[InFlightMessage]:
        """It is settled. Take out those that may not be handled before it, if it comes again."""
        return ()

    def _offer(self, message: InFlightMessage) -> None:
        with self._gate:
            if self.slots:
                self.slots -= 1
                self._ready.put(message)
            else:
                self._waiting.append(message)


@dataclass(slots=True, repr=False)
class _Group:
    head: InFlightMessage
    """The one that is ready, in a handler, or being settled."""
    waiting: deque[InFlightMessage] = field(default_factory=deque)


class FifoReadyQueue(ReadyQueue):
    """The same for a FIFO queue: of each group only the first is ready.

    The next one is ready when the first is deleted, or stands in the dead-letter queue and is
    deleted. When the first is to come again, those behind it in hand are to be given back: SQS
    then delivers the group in order from the first on.
    https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-understanding-logic.html
    """

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self._make_groups()

    def _offer(self, message: InFlightMessage) -> None:
        take = self.takes()
        if take is None:
            super()._offer(message)
        else:
            take(message)

    def _make_groups(self) -> None:
        self.takes: Takes = _nobody
        """Where the calling thread takes what is ready; None: into the line."""
        self._groups: dict[str, _Group] = {}
        self._back: dict[str, set[InFlightMessage]] = {}
        """By group, those on their way back to the queue: none that comes now may overtake them."""
        self._lock = threading.Lock()

    def put(self, message: InFlightMessage, *, has_turn: bool = False) -> bool:
        if has_turn:
            super()._offer(message)
            return True
        with self._lock:
            name = group_of(message.delivery)
            if self._back and name in self._back:
                self._go_back([message])
                return False
            self._put(name, message)
            return True

    def drain(self) -> list[InFlightMessage]:
        taken = []
        with self._lock:
            ready = super().drain()
            for message in ready:
                group = self._groups.get(group_of(message.delivery))
                taken.append(message)
                if group is not None:
                    taken += self._empty(group)
            for group in self._groups.values():
                taken += self._empty(group)
            self._go_back(taken)
        return taken

    def held_up(self, message: InFlightMessage) -> bool:
        with self._lock:
            if group_of(message.delivery) not in self._back:
                return False
            self._go_back([message])
            return True

    def busy(self, message: InFlightMessage) -> bool:
        with self._lock:
            return group_of(message.delivery) in self._groups

    def sent_back(self, messages: Sequence[InFlightMessage]) -> None:
        with self._lock:
            self._go_back(messages)

    def failed(self, message: InFlightMessage) -> Sequence[InFlightMessage]:
        with self._lock:
            group = self._groups.get(group_of(message.delivery))
            if group is None or group.head is not message:
                return ()
            return self._take_out(group, message)

    def left(self, message: InFlightMessage, account: Disposition) -> Sequence[InFlightMessage]:
        with self._lock:
            name = group_of(message.delivery)
            if self._back:
                self._is_back(name, message)
            group = self._groups.get(name)
            if group is None:
                return ()
            if group.head is not message:
                self._forget(group, message)
                return ()
            if account in (Disposition.ACKNOWLEDGED, Disposition.DEAD_LETTERED) and group.waiting:
                group.head = self._next_of(group)
                self._offer(group.head)
                return ()
            del self._groups[name]
            return self._take_out(group)

    def _put(self, name: str, message: InFlightMessage) -> None:
        group = self._groups.get(name)
        if group is None:
            self._new_group(name, message)
            self._offer(message)
        else:
            self._wait(group, message)

    def _new_group(self, name: str, head: InFlightMessage) -> None:
        self._groups[name] = _Group(head)

    def _wait(self, group: _Group, message: InFlightMessage) -> None:
        group.waiting.append(message)
        self.behind += 1

    def _next_of(self, group: _Group) -> InFlightMessage:
        self.behind -= 1
        return group.waiting.popleft()

    def _empty(self, group: _Group) -> list[InFlightMessage]:
        taken = list(group.waiting)
        group.waiting.clear()
        self.behind -= len(taken)
        return taken

    def _take_out(self, group: _Group, *first: InFlightMessage) -> list[InFlightMessage]:
        """Those that wait in it, which go back to the queue behind `first`."""
        taken = self._empty(group)
        self._go_back([*first, *taken])
        return taken

    def _forget(self, group: _Group, message: InFlightMessage) -> None:
        if message in group.waiting:
            group.waiting.remove(message)
            self.behind -= 1

    def _go_back(self, messages: Sequence[InFlightMessage]) -> None:
        for message in messages:
            self._back.setdefault(group_of(message.delivery), set()).add(message)

    def _is_back(self, name: str, message: InFlightMessage) -> None:
        back = self._back.get(name)
        if back is not None:
            back.discard(message)
            if not back:
                del self._back[name]


def ready_queue_for(queue: str, slots: int) -> ReadyQueue:
    """The line for the queue of this name; that of a FIFO queue ends in ".fifo"."""
    return (FifoReadyQueue if is_ordered(queue) else ReadyQueue)(slots)
