"""Long polls over RabbitMQ's consumers, which send on their own for as long as they have credit.

A poll starts a consumer whose prefetch is the poll's limit. Once it has sent that many, it sends no
more until some are acknowledged: messages in flight use up the prefetch, so no message is sent that
was not asked for. Acknowledgements are held back briefly. If a poll arrives, they become its
credit, and nothing else need be sent; otherwise the consumer is cancelled before they are sent.

If full polls follow each other closely, messages are sent ahead, enough for a few polls, and more
if this goes on for some time; otherwise each poll would wait for the broker. Those that a slow
worker does not take are put back after the time of a lease.

A worker that gets messages is expected back shortly: messages that it acknowledges until then are
put in a list, and wait for its next poll or the end of that time. So it wakes this thread once per
poll instead of twice.

A consumer with credit left serves the next poll. Cancelling it may affect messages on their way,
which RabbitMQ takes back and counts as received, so it is cancelled only when no poll follows.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.rabbitmq.consumers import Consumers
from messaging.rabbitmq.in_hand import Tags
from messaging.rabbitmq.link import Link, Timers
from messaging.rabbitmq.session import Answer
from messaging.transport import Delivery

__all__ = ["GATHER_SECONDS", "Intake", "WaitingReceive"]

GATHER_SECONDS = 0.002
"""Wait after the first message of a poll: others in the queue follow immediately."""
IDLE_SECONDS = 0.25
"""Time without a poll after which the consumers are cancelled."""
QUICK, AHEAD = 5, 40
"""Number of full polls in a row after which messages are sent ahead, and how many."""
QUICKER, FURTHER = 20, 100
"""The same for a receiver that keeps this up: as many as other clients prefetch from the start."""
ACK_SECONDS, QUICK_SECONDS = 0.02, 0.1
"""How long an acknowledgement waits for a poll; the second is for receivers known to be quick."""


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


class Intake:
    """The consumers of one queue object, and the polls waiting for messages. In the link's thread.

    hold  seconds after which messages that no poll has taken are put back.
    """

    def __init__(self, link: Link, queue: str, take: Take, hold: Callable[[], float]) -> None:
        self._queue = queue
        self._take = take
        self._hold = hold
        self._timers = Timers(link)
        self.acknowledged: deque[Tags] = deque()
        """Tags that other threads have acknowledged; `collect` takes them from here."""
        self.era = 0
        """Number of the open channel: see `Tags`."""
        self.lost()

    def lost(self) -> None:
        """Reset: the channel is gone, with its consumers and their messages."""
        self._timers.stop_all()
        self.era += 1
        self._consumers = Consumers(self._queue)
        self._done: set[int] = set()
        self._filled = 0
        self._owners: frozenset[object] = frozenset()
        self._polls: deque[WaitingReceive] = deque()
        self._kept: deque[tuple[Any, Any, bytes]] = deque()
        self._served = 0.0

    @property
    def expecting(self) -> bool:
        """Whether this thread looks soon by itself for what others have acknowledged."""
        return "expected" in self._timers

    @property
    def kept(self) -> int:
        """How many messages have arrived that no poll has taken yet."""
        return len(self._kept)

    def poll(self, channel: Any, answer: Answer, owner: object, limit: int, wait: float) -> None:
        """Set `answer` to at most `limit` deliveries, after at most `wait` seconds."""
        self.collect()
        if owner not in self._owners:
            self._owners |= {owner}
        if self._kept:
            some = [self._kept.popleft() for _ in range(min(limit, len(self._kept)))]
            answer.set_result([self._take(*one) for one in some])
            self._filled += len(some) == limit
            if self._filled >= QUICK:
                self.flush(channel)
                self._send_further(channel)
            self._end_of_polls(channel)
            return
        self._timers.stop(
            "expected"
        )  # from here on acknowledgements are sent immediately: they are credit
        self.collect()
        poll = WaitingReceive(limit, answer, owner, wait <= 0)
        self._polls.append(poll)
        if wait > 0:
            self._timers.start(poll, wait, lambda: self._end(channel, poll))
            self.flush(channel)
            self._ensure(channel)
            return
        self._polls.pop()  # acknowledgements give it no credit: it does not wait for their effect
        self.flush(channel)
        self._polls.append(poll)
        if self._consumers.credit <= self._wanted() - limit:
            self._start(channel, limit, poll)
        else:
            self._end(channel, poll)

    def wake(self, channel: Any, owner: object) -> None:
        """End the polls of `owner` with the messages they have."""
        for poll in [one for one in self._polls if one.owner is owner]:
            self._end(channel, poll)
        asked, self._owners = owner in self._owners, self._owners - {owner}
        if asked and not self._owners:
            self._idled(channel)
            self._give_back(channel)

    def collect(self) -> list[int]:
        """Take over the delivery tags that other threads have acknowledged."""
        found: list[int] = []
        while self.acknowledged:
            era, tags = self.acknowledged.popleft()
            if era == self.era:
                found += tags
        self._done.update(found)
        return found

    def acknowledge(self, channel: Any) -> None:
        """Collect acknowledgements; send them now if polls need the credit, else after a moment."""
        self.collect()
        if not self._done:
            return
        if self._wanted() > self._consumers.credit:
            self.flush(channel)
            self._ensure(channel)
        elif "flush" not in self._timers:
            seconds = ACK_SECONDS if self._filled < QUICK else QUICK_SECONDS
            self._timers.start("flush", seconds, lambda: self._slow(channel))

    def flush(self, channel: Any) -> None:
        """Send the held-back acknowledgements in as few frames as possible."""
        self._timers.stop("flush")
        if self._done:
            self._make_room(channel)
            in_order = self._consumers.first(self._done)
            if in_order:
                channel.basic_ack(in_order[-1], multiple=True)
            for tag in self._done:
                self._consumers.settled(tag)
            for tag in self._done.difference(in_order):
                channel.basic_ack(tag)
            self._done.clear()

    def _slow(self, channel: Any) -> None:
        self._filled = 0
        self.flush(channel)

    def put_back(self, channel: Any, tags: Sequence[int], _seconds: Sequence[float] = ()) -> None:
        """Return these to the queue, and not to one of our own consumers if no poll waits."""
        if not self._polls:
            self._idled(channel)
        for tag in tags:
            self._consumers.settled(tag)
            channel.basic_nack(tag, requeue=True)

    def broken_off(self, channel: Any, tag: str) -> None:
        """The broker cancelled a consumer, as it does when the queue is deleted."""
        if not self._consumers.ended(tag):
            return
        polls, self._polls = self._polls, deque()
        for poll in polls:
            self._timers.stop(poll)
            if not poll.answer.done():
                poll.answer.set_exception(
                    TransportError(
                        f"queue {self._queue}: RabbitMQ ended the consumer; was the queue deleted?",
                        code="ConsumerCancelled",
                    )
                )

    def _wanted(self) -> int:
        return sum(one.limit - len(one.found) for one in self._polls)

    def _make_room(self, channel: Any) -> None:
        """Before acknowledging, cancel consumers that would then send more than polls ask for."""
        room = self._wanted() + self._ahead() - self._consumers.credit
        for tag, number in self._consumers.freed(self._done).items():
            if number > room:
                self._consumers.cancel(channel, tag)
            else:
                room -= number

    def _ahead(self) -> int:
        if self._filled < QUICK:
            return 0
        return max(0, (AHEAD if self._filled < QUICKER else FURTHER) - len(self._kept))

    def _send_further(self, channel: Any) -> None:
        if self._filled >= QUICKER:
            missing = FURTHER - self._consumers.prefetch
            if missing >= AHEAD:
                self._start(channel, missing)

    def _ensure(self, channel: Any) -> None:
        missing = self._wanted() - self._consumers.credit
        if missing > 0:
            self._start(channel, missing + self._ahead())

    def _start(self, channel: Any, limit: int, short: WaitingReceive | None = None) -> None:
        def started(tag: str) -> None:
            if short is not None:
                # Messages that were in the queue are sent before the response to this.
                self._consumers.cancel(channel, tag, partial(self._end, channel, short))

        self._consumers.start(channel, limit, self._arrived, started)

    def _arrived(self, channel: Any, method: Any, found: Any, body: bytes) -> None:
        self._consumers.sent(method.consumer_tag, method.delivery_tag)
        if not self._polls:
            if "kept" not in self._timers:
                self._timers.start("kept", self._hold(), lambda: self._look_kept(channel))
            self._kept.append((method, found, body))
            return
        poll = self._polls[0]
        poll.found.append(self._take(method, found, body))
        if len(poll.found) >= poll.limit:
            self._end(channel, poll)
        elif len(poll.found) == 1 and not poll.short:
            self._timers.start(poll, GATHER_SECONDS, lambda: self._end(channel, poll))

    def _end(self, channel: Any, poll: WaitingReceive) -> None:
        if poll not in self._polls:
            return
        self._polls.remove(poll)
        self._timers.stop(poll)
        if len(poll.found) >= poll.limit:
            self._filled += 1
        elif not poll.found and not poll.short:
            self._filled = 0  # it got nothing
        if not poll.answer.done():
            poll.answer.set_result(poll.found)
        self._end_of_polls(channel)

    def _end_of_polls(self, channel: Any) -> None:
        self._served = SYSTEM_CLOCK.monotonic()
        if self._polls:
            return
        if not self.expecting:
            self._timers.start("expected", ACK_SECONDS, lambda: self._expected(channel))
        if self._consumers and "idle" not in self._timers:
            self._timers.start("idle", IDLE_SECONDS, lambda: self._look_idle(channel))

    def _expected(self, channel: Any) -> None:
        """Acknowledgements wake us from now on; earlier ones relied on this to be collected."""
        self.acknowledge(channel)

    def _look_idle(self, channel: Any) -> None:
        left = self._served + IDLE_SECONDS - SYSTEM_CLOCK.monotonic()
        if self._polls:
            return
        if left > 0:
            self._timers.start("idle", left, lambda: self._look_idle(channel))
        else:
            self._idled(channel)

    def _idled(self, channel: Any) -> None:
        self._timers.stop("idle")
        self._consumers.cancel_all(channel)

    def _look_kept(self, channel: Any) -> None:
        """Put back messages that no poll takes. The next poll takes the oldest first."""
        left = self._served + self._hold() - SYSTEM_CLOCK.monotonic()
        if left <= 0:
            self._give_back(channel)
        elif self._kept:
            self._timers.start("kept", left, lambda: self._look_kept(channel))

    def _give_back(self, channel: Any) -> None:
        kept, self._kept = self._kept, deque()
        for method, _, _ in kept:
            self._consumers.settled(method.delivery_tag)
            if channel.is_open:
                channel.basic_nack(method.delivery_tag, requeue=True)
