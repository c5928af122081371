"""Long polls over a FIFO queue: in order within each message group.

The queue has a single active consumer: RabbitMQ sends to one channel at a time, in order, and all
that it has not settled goes to the next one, in order, when it is gone. So order within the channel
is order altogether. It is kept here: a group of which something is in hand waits, and a message
that is put back takes its old place. RabbitMQ would give it behind what it has sent already.
https://www.rabbitmq.com/docs/consumers#single-active-consumer
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from messaging.clock import SYSTEM_CLOCK
from messaging.rabbitmq.intake import GATHER_SECONDS, Intake, WaitingReceive
from messaging.rabbitmq.session import Answer
from messaging.rabbitmq.wire import group_of, receives
from messaging.transport import BATCH_ENTRIES

__all__ = ["OrderedIntake"]

PREFETCH = 2 * BATCH_ENTRIES
"""Messages that this program holds, handed out or not. When it dies, all of them have been received
once more: so no more than keep it busy."""

FIRST_SECONDS = 0.1
"""That even a short poll waits for the first messages of the consumer that it starts."""


@dataclass(eq=False)
class _Placed:
    """A message of the broker's, with its place in the order: the delivery tag."""

    method: Any
    properties: Any
    body: bytes = field(repr=False)
    group: str = field(repr=False)
    again: int = 0
    due: float = 0.0


class OrderedIntake(Intake):
    """The one consumer of a FIFO queue. In the link's thread.

    max_receives  after which the broker moves a message to the dead letters; 0: never.
    """

    max_receives = 0

    def lost(self) -> None:
        """The channel is gone, with all that it sent."""
        super().lost()
        self._line: dict[int, _Placed] = {}
        self._taken: dict[int, _Placed] = {}
        self._leaving = False

    @property
    def kept(self) -> int:
        """How many messages wait here."""
        return len(self._line)

    def poll(self, channel: Any, answer: Answer, owner: object, limit: int, wait: float) -> None:
        """`answer` gets at most `limit` deliveries, after at most `wait` seconds."""
        self._leaving = False
        self.flush(channel)
        if not self._consumers:
            wait = max(wait, FIRST_SECONDS)
            self._start(channel, PREFETCH)
        poll = WaitingReceive(limit, answer, owner, wait <= 0)
        self._polls.append(poll)
        self._timers.start(poll, max(0.0, wait), lambda: self._end(channel, poll))
        self._serve(channel)

    def wake(self, channel: Any, owner: object) -> None:
        """The polls of `owner` end; when nothing is in hand, another program may have the queue."""
        super().wake(channel, owner)
        self._leaving = True
        self._leave(channel)

    def acknowledge(self, channel: Any) -> None:
        """Their groups go on."""
        super().acknowledge(channel)
        self._serve(channel)
        self._leave(channel)

    def collect(self) -> list[int]:
        """The delivery tags that other threads have acknowledged: they are done."""
        found = super().collect()
        for tag in found:
            self._taken.pop(tag, None)
        return found

    def put_back(self, channel: Any, tags: Sequence[int], seconds: Sequence[float] = ()) -> None:
        """They take their old places, and may be received after `seconds`. Their groups wait."""
        now = SYSTEM_CLOCK.monotonic()
        for place, tag in enumerate(tags):
            held = self._taken.pop(tag, None)
            if held is None:
                continue
            held.again += 1
            received = receives(held.properties.headers or {}) + held.again
            if self.max_receives and received >= self.max_receives:
                self._consumers.settled(tag)
                channel.basic_reject(tag, requeue=False)
                continue
            pause = seconds[place] if seconds else 0.0
            held.due = now + pause
            self._line[tag] = held
            if pause > 0:
                self._timers.start(held, pause, lambda: self._serve(channel))
        self._line = dict(sorted(self._line.items()))
        self._serve(channel)
        self._leave(channel)

    def broken_off(self, channel: Any, tag: str) -> None:
        """The broker has ended the consumer: what is in hand goes back with the channel, in order,
        before another consumer begins."""
        super().broken_off(channel, tag)
        if channel.is_open:
            channel.close()

    def _arrived(self, channel: Any, method: Any, found: Any, body: bytes) -> None:
        tag = method.delivery_tag
        self._consumers.sent(method.consumer_tag, tag)
        self._line[tag] = _Placed(method, found, body, group_of(found))
        # Those that follow at once may be of its group.
        if self._polls and "serve" not in self._timers:
            self._timers.start("serve", GATHER_SECONDS, lambda: self._serve(channel))

    def _make_room(self, channel: Any) -> None:
        """Nothing ends the consumer: what is in hand would still be here when another begins."""

    def _ensure(self, channel: Any) -> None:
        """One consumer is all there is."""

    def _end_of_polls(self, channel: Any) -> None:
        """Nobody is expected: what is acknowledged lets its group go on at once."""

    def _idled(self, channel: Any) -> None:
        """Nor does it end for want of polls."""

    def _serve(self, channel: Any) -> None:
        self._timers.stop("serve")
        while self._polls and (ready := next(self._ready(), None)) is not None:
            poll = self._polls[0]
            group, limit = ready.group, poll.limit - len(poll.found)
            now = SYSTEM_CLOCK.monotonic()
            for one in [one for one in self._line.values() if one.group == group][:limit]:
                if one.due > now:
                    break
                tag = one.method.delivery_tag
                self._taken[tag] = self._line.pop(tag)
                poll.found.append(self._take(one.method, one.properties, one.body, one.again))
            if len(poll.found) >= poll.limit:
                self._end(channel, poll)
        for poll in [one for one in self._polls if one.found]:
            self._end(channel, poll)

    def _ready(self) -> Iterator[_Placed]:
        """The first message of each group that may be received now."""
        now = SYSTEM_CLOCK.monotonic()
        waiting = {one.group for one in self._taken.values()}
        for one in self._line.values():
            if one.group not in waiting and one.due <= now:
                yield one
            waiting.add(one.group)

    def _leave(self, channel: Any) -> None:
        if self._leaving and not self._polls and not self._taken and self._consumers:
            self.flush(channel)
            channel.close()
