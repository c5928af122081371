"""Long polls over RabbitMQ's consumers, which send by themselves for as long as they have credit.

A poll starts a consumer whose prefetch is the poll's limit. One that has sent so many sends no more
until some are acknowledged: what is in hand takes the place of the prefetch, and nobody is sent
what nobody asked for. Acknowledgements wait for a moment. If a poll comes, they are its credit, and
nothing else need be said; else the consumer is ended before they go.

Polls that are filled and follow each other at once have messages sent ahead, as many as a few polls
take: else each of them waits for the broker. Those that a slow worker is left with go back when a
lease is over.

A consumer that has sent fewer serves the next poll. Ending it may hit messages on their way, which
RabbitMQ takes back and counts as received: so that is done only when no poll follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import count, takewhile
from typing import Any, Protocol

from messaging.errors import TransportError
from messaging.rabbitmq.link import Answer, Link
from messaging.transport import Delivery

__all__ = ["GATHER_SECONDS", "Intake", "Take", "WaitingReceive"]

GATHER_SECONDS = 0.002
"""After the first message of a poll: the others that are there follow at once."""
IDLE_SECONDS = 0.25
"""Without a poll: then the consumers are ended."""
QUICK, AHEAD = 5, 40
"""After so many filled polls in a row, so many messages are sent ahead."""
ACK_SECONDS = 0.02
"""For which an acknowledgement waits for a poll to go with."""


class Take(Protocol):
    """Makes a delivery of what the broker sent, received `again` times here; its lease begins."""

    def __call__(self, method: Any, found: Any, body: bytes, again: int = 0) -> Delivery: ...


@dataclass(eq=False)
class WaitingReceive:
    """One `receive` that waits, and what it has so far."""

    limit: int
    answer: Answer
    owner: object
    short: bool
    found: list[Delivery] = field(default_factory=list)
    timer: int = 0


@dataclass(eq=False)
class _Consumer:
    prefetch: int
    unsettled: int = 0

    @property
    def credit(self) -> int:
        return self.prefetch - self.unsettled


class Intake:
    """The consumers of one queue object, and who waits for their messages. In the link's thread.

    hold  seconds after which messages go back that arrived when nobody asked any more.
    """

    def __init__(self, link: Link, queue: str, take: Take, hold: Callable[[], float]) -> None:
        self._link = link
        self._queue = queue
        self._take = take
        self._hold = hold
        self._timers: dict[int, object] = {}
        self._numbers = count(1)
        self.lost()

    def lost(self) -> None:
        """The channel is gone, with its consumers and all that they sent."""
        for timer in list(self._timers):
            self._forget(timer)
        self._consumers: dict[str, _Consumer] = {}
        self._of: dict[int, _Consumer | None] = {}
        """Who sent each message that is not settled, by its delivery tag, in order."""
        self._done: set[int] = set()
        self._flushing = 0
        self._prefetch = 0
        self._filled = 0
        self._owners: frozenset[object] = frozenset()
        self._polls: deque[WaitingReceive] = deque()
        self._kept: deque[tuple[Any, Any, bytes]] = deque()
        self._idle = 0

    @property
    def kept(self) -> int:
        """How many messages arrived that nobody has asked for yet."""
        return len(self._kept)

    def poll(self, channel: Any, answer: Answer, owner: object, limit: int, wait: float) -> None:
        """`answer` gets at most `limit` deliveries, after at most `wait` seconds."""
        self._forget_idle()
        if owner not in self._owners:
            self._owners |= {owner}
        if self._kept:
            some = [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]
            answer.set_result([self._take(*one) for one in some])
            self._filled = self._filled + 1 if len(some) == limit else 0
            if self._filled >= QUICK:
                self.flush(channel)
            self._end_of_polls(channel)
            return
        poll = WaitingReceive(limit, answer, owner, wait <= 0)
        self._polls.append(poll)
        if wait > 0:
            poll.timer = self._later(wait, lambda: self._end(channel, poll))
            self.flush(channel)
            self._ensure(channel)
            return
        self._polls.pop()  # acknowledgements are no credit for it: it waits for no answer to them
        self.flush(channel)
        self._polls.append(poll)
        if self._credit() <= self._wanted() - limit:
            self._start(channel, limit, poll)
        else:
            self._end(channel, poll)

    def wake(self, channel: Any, owner: object) -> None:
        """The polls of `owner` end with what they have."""
        for poll in [one for one in self._polls if one.owner is owner]:
            self._end(channel, poll)
        asked, self._owners = owner in self._owners, self._owners - {owner}
        if asked and not self._owners:
            self._idled(channel)
            self._give_back(channel)

    def acknowledge(self, channel: Any, tags: Sequence[int]) -> None:
        """Messages with these delivery tags are done."""
        self._done.update(tags)
        if self._wanted() > self._credit():
            self.flush(channel)
            self._ensure(channel)
        elif not self._flushing:
            self._flushing = self._later(ACK_SECONDS, lambda: self._slow(channel))

    def flush(self, channel: Any) -> None:
        """The acknowledgements that wait are sent, as few as say it."""
        self._forget(self._flushing)
        self._flushing = 0
        if self._done:
            self._make_room(channel)
            in_order = list(takewhile(self._done.__contains__, self._of))
            if in_order:
                channel.basic_ack(in_order[-1], multiple=True)
            for tag in self._done:
                self._settled(tag)
            for tag in self._done.difference(in_order):
                channel.basic_ack(tag)
            self._done.clear()

    def _slow(self, channel: Any) -> None:
        self._filled = 0
        self.flush(channel)

    def put_back(self, channel: Any, tags: Sequence[int], _seconds: Sequence[float] = ()) -> None:
        """The broker gives these to whoever asks next: to nobody here while no poll waits."""
        if not self._polls:
            self._idled(channel)
        for tag in tags:
            self._settled(tag)
            channel.basic_nack(tag, requeue=True)

    def broken_off(self, channel: Any, tag: str) -> None:
        """The broker has ended a consumer, as it does when the queue is deleted."""
        if self._consumers.pop(tag, None) is None:
            return
        polls, self._polls = self._polls, deque()
        for poll in polls:
            self._forget(poll.timer)
            if not poll.answer.done():
                poll.answer.set_exception(
                    TransportError(
                        f"queue {self._queue}: RabbitMQ ended the consumer; was the queue deleted?",
                        code="ConsumerCancelled",
                    )
                )

    def _credit(self) -> int:
        return sum(one.credit for one in self._consumers.values())

    def _wanted(self) -> int:
        return sum(one.limit - len(one.found) for one in self._polls)

    def _make_room(self, channel: Any) -> None:
        """Before acknowledgements: consumers that would then send more than polls ask for end."""
        freed: dict[str, int] = {}
        for tag, one in self._consumers.items():
            if not one.credit:  # nothing of it can be on its way
                freed[tag] = sum(self._of.get(done) is one for done in self._done)
        room = self._wanted() + self._ahead() - self._credit()
        for tag, number in freed.items():
            if number > room:
                self._cancel(channel, tag)
            else:
                room -= number

    def _ahead(self) -> int:
        return max(0, AHEAD - len(self._kept)) if self._filled >= QUICK else 0

    def _ensure(self, channel: Any) -> None:
        missing = self._wanted() - self._credit()
        if missing > 0:
            self._start(channel, missing + self._ahead())

    def _start(self, channel: Any, limit: int, short: WaitingReceive | None = None) -> None:
        def started(_frame: Any, poll: WaitingReceive | None = short) -> None:
            if poll is not None:
                # What was in the queue is sent before the answer to this.
                self._cancel(channel, tag, partial(self._end, channel, poll))

        if limit != self._prefetch:
            channel.basic_qos(prefetch_count=limit)
            self._prefetch = limit
        tag = channel.basic_consume(self._queue, self._arrived, callback=started)
        self._consumers[tag] = _Consumer(limit)

    def _settled(self, tag: int) -> None:
        consumer = self._of.pop(tag, None)
        if consumer is not None:
            consumer.unsettled -= 1

    def _arrived(self, channel: Any, method: Any, found: Any, body: bytes) -> None:
        consumer = self._consumers.get(method.consumer_tag)
        self._of[method.delivery_tag] = consumer
        if consumer is not None:
            consumer.unsettled += 1
        if not self._polls:
            if not self._kept:
                self._later(self._hold(), lambda: self._give_back(channel))
            self._kept.append((method, found, body))
            return
        poll = self._polls[0]
        poll.found.append(self._take(method, found, body))
        if len(poll.found) >= poll.limit:
            self._end(channel, poll)
        elif len(poll.found) == 1 and not poll.short:
            self._forget(poll.timer)
            poll.timer = self._later(GATHER_SECONDS, lambda: self._end(channel, poll))

    def _end(self, channel: Any, poll: WaitingReceive) -> None:
        if poll not in self._polls:
            return
        self._polls.remove(poll)
        self._forget(poll.timer)
        self._filled = self._filled + 1 if len(poll.found) >= poll.limit else 0
        if not poll.answer.done():
            poll.answer.set_result(poll.found)
        self._end_of_polls(channel)

    def _end_of_polls(self, channel: Any) -> None:
        if not self._polls and self._consumers and not self._idle:
            self._idle = self._later(IDLE_SECONDS, lambda: self._idled(channel))

    def _idled(self, channel: Any) -> None:
        self._forget_idle()
        for tag in list(self._consumers):
            self._cancel(channel, tag)

    def _cancel(self, channel: Any, tag: str, then: Callable[[], None] = lambda: None) -> None:
        if self._consumers.pop(tag, None) is None or not channel.is_open:
            then()
            return
        channel.basic_cancel(tag, callback=lambda _: then())
        # The client would send back what still arrives for a consumer that is being ended, and the
        # broker would count that as a receive. It is as good as any other message.
        channel._cancelled.discard(tag)

    def _give_back(self, channel: Any) -> None:
        kept, self._kept = self._kept, deque()
        for method, _, _ in kept:
            self._settled(method.delivery_tag)
            if channel.is_open:
                channel.basic_nack(method.delivery_tag, requeue=True)

    def _later(self, seconds: float, work: Callable[[], None]) -> int:
        number = next(self._numbers)

        def run() -> None:
            del self._timers[number]
            work()

        self._timers[number] = self._link.later(seconds, run)
        return number

    def _forget(self, timer: int) -> None:
        found = self._timers.pop(timer, None)
        if found is not None:
            self._link.forget(found)

    def _forget_idle(self) -> None:
        self._forget(self._idle)
        self._idle = 0
