"""Long polls over a FIFO queue: in order within each message group.

The queue has a single active consumer: RabbitMQ sends to one channel at a time, in order, and when
that channel is closed, its unsettled messages go to the next one, in order. So order within the
channel is sufficient. It is kept here: a group with a message in flight waits, and a message that
is put back takes its old place. RabbitMQ would deliver it after those that it has already sent.
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
"""Messages that this program holds, in flight or not. If it dies, the receive count of all of them
goes up, so it holds no more than it needs to stay busy."""

FIRST_SECONDS = 0.1
"""Seconds that even a short poll waits for the first messages of the consumer that it starts."""


@dataclass(eq=False)
class _Placed:
    """A message from the broker, with its place in the order: the delivery tag."""

    method: Any
    properties: Any
    body: bytes = field(repr=False)
    group: str = field(repr=False)
    again: int = 0
    due: float = 0.0


class OrderedIntake(Intake):
    """The only consumer of a FIFO queue. Used in the link's thread only.

    max_receives  receives after which the broker moves a message to the dead letters; 0: never.
    """

    max_receives = 0

    def lost(self) -> None:
        """Reset: the channel is gone, with all its messages."""
        super().lost()
        self._line: dict[int, _Placed] = {}
        self._taken: dict[int, _Placed] = {}
        self._leaving = False

    @property
    def kept(self) -> int:
        """How many messages wait here."""
        return len(self._line)

    def poll(self, channel: Any, answer: Answer, owner: object, limit: int, wait: float) -> None:
        """Set `answer` to at most `limit` deliveries, after at most `wait` seconds."""
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
        """End the polls of `owner`; once nothing is in flight, another program may take over."""
        super().wake(channel, owner)
        self._leaving = True
        self._leave(channel)

    def acknowledge(self, channel: Any) -> None:
        """Collect acknowledgements; the groups of the messages continue."""
        super().acknowledge(channel)
        self._serve(channel)
        self._leave(channel)

    def collect(self) -> list[int]:
        """Take over the delivery tags that other threads have acknowledged."""
        found = super().collect()
        for tag in found:
            self._taken.pop(tag, None)
        return found

    def put_back(self, channel: Any, tags: Sequence[int], seconds: Sequence[float] = ()) -> None:
        """Return these to their old places, to be received after `seconds`. Their groups wait."""
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
        """The broker cancelled the consumer: closing the channel returns the messages in flight, in
        order, before another consumer starts."""
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
        """Never cancels the consumer: another would start with messages still in flight here."""

    def _ensure(self, channel: Any) -> None:
        """Starts no other: there is only one consumer."""

    def _end_of_polls(self, channel: Any) -> None:
        """Expects no poll: an acknowledgement lets its group continue immediately."""

    def _idled(self, channel: Any) -> None:
        """Keeps the consumer when no polls arrive."""

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
