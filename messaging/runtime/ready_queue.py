"""Ready queues: which message is handled next, and in a FIFO queue, which must wait for it."""

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
    """Messages that wait for a handler, first come, first served. Thread-safe.

    slots  handlers that may run at the same time. A message that `get` or `next` returns has a
           slot, until `next` or `free` passes it on.
    """

    def __init__(self, slots: int) -> None:
        self._gate = threading.Lock()
        self.slots = slots
        """How many are free."""
        self.behind = 0
        """Number of messages that wait for another one, even if slots are free."""
        # While a slot is free, nothing waits for one.
        self._waiting: deque[InFlightMessage] = deque()
        # Messages that have a slot, and None for a thread that should end. Implemented in C: a
        # `queue.Queue` would cost as much as the rest of a message's way.
        self._ready: queues.SimpleQueue[InFlightMessage | None] = queues.SimpleQueue()
        self.get = self._ready.get

    def __len__(self) -> int:
        return self._ready.qsize() + len(self._waiting)

    def put(self, message: InFlightMessage, *, has_turn: bool = False) -> bool:
        """Queue it until those before it are handled and a slot is free. Returns False if one
        before it is being released, so that this one must be released too.

        has_turn  it was queued before, and no longer waits for another one.
        """
        self._offer(message)
        return True

    def next(self) -> InFlightMessage | None:
        """A handler has ended: return its thread's next message, or None if nothing waits."""
        with self._gate:
            if self._waiting:
                return self._waiting.popleft()
            self.slots += 1
            return None

    def free(self) -> None:
        """A handler has ended, and its thread does not continue: pass its slot on."""
        with self._gate:
            if self._waiting:
                self._ready.put(self._waiting.popleft())
            else:
                self.slots += 1

    def take_slot(self) -> bool:
        """Take a slot for a message that was not queued here. Returns False if none is free."""
        with self._gate:
            if not self.slots:
                return False
            self.slots -= 1
            return True

    def get_nowait(self) -> InFlightMessage | None:
        """Return the next message that has a slot; None if nothing is ready."""
        try:
            return self._ready.get_nowait()
        except queues.Empty:
            return None

    def wake(self, threads: int) -> None:
        """Give so many threads that wait in `get` None, so that they end."""
        for _ in range(threads):
            self._ready.put(None)

    def drain(self) -> list[InFlightMessage]:
        """Remove and return all waiting messages, in order."""
        taken = []
        with self._gate:
            while (message := self.get_nowait()) is not None:
                self.slots += 1
                taken.append(message)
            taken += self._waiting
            self._waiting.clear()
        return taken

    def held_up(self, message: InFlightMessage) -> bool:
        """True if it may not be handled now, because one before it is being released."""
        return False

    def busy(self, message: InFlightMessage) -> bool:
        """True if another one must end before this one may be handled."""
        return False

    def sent_back(self, messages: Sequence[InFlightMessage]) -> None:
        """These were not queued here and are being released: none may overtake them."""

    def failed(self, message: InFlightMessage) -> Sequence[InFlightMessage]:
        """Its handler did not complete it: remove and return those that may not be handled before
        it."""
        return ()

    def left(self, message: InFlightMessage, account: Disposition) -> Sequence[InFlightMessage]:
        """It is settled. If it will be redelivered, remove and return those that may not overtake
        it."""
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
    """The message that is ready, in a handler, or being settled."""
    waiting: deque[InFlightMessage] = field(default_factory=deque)


class FifoReadyQueue(ReadyQueue):
    """The same for a FIFO queue: only the first message of each group is ready.

    The next one is ready when the first is deleted, with or without a dead letter. If the first
    will be redelivered, the messages behind it must be released: SQS then delivers the group in
    order from the first one on.
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
        """Where the calling thread takes ready messages; None: they are queued."""
        self._groups: dict[str, _Group] = {}
        self._back: dict[str, set[InFlightMessage]] = {}
        """By group, messages being released: arriving messages must not overtake them."""
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
    """The ready queue for the queue of this name; the name of a FIFO queue ends in ".fifo"."""
    return (FifoReadyQueue if is_ordered(queue) else ReadyQueue)(slots)
