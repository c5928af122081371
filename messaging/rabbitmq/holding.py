"""A program's state for one queue: a channel, its consumers, and the leases of their messages.

All of a broker's objects for the queue share it, so a receipt from one can be settled through
another: a worker receives through one object and settles through another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from messaging.clock import SYSTEM_CLOCK
from messaging.errors import TransportError
from messaging.rabbitmq.in_hand import InHand, Tags
from messaging.rabbitmq.intake import Intake
from messaging.rabbitmq.link import ANSWER_SECONDS, Link, Timers
from messaging.rabbitmq.ordered import OrderedIntake
from messaging.rabbitmq.records import read_record
from messaging.rabbitmq.requests import Requests
from messaging.rabbitmq.session import Answer, Session
from messaging.rabbitmq.wire import delivery
from messaging.transport import Delivery

__all__ = ["Holding"]

DEFAULT_LEASE = 30
"""Seconds, if the topology's record of the queue is missing."""


class Holding(Session):
    """One channel that receives from `name`; `lease` as for `RabbitQueue`."""

    def __init__(self, link: Link, name: str, *, lease: int | None = None) -> None:
        super().__init__(link, f"queue {name}")
        self._name = name
        self._lease = lease
        self.in_hand = InHand()
        self.ordered = name.endswith(".fifo") and lease is None
        kind = OrderedIntake if self.ordered else Intake
        self._intake = kind(link, name, self._take, lambda: self._lease or DEFAULT_LEASE)
        self.in_hand.drop(self._intake.era)
        self._timers = Timers(link)

    def __len__(self) -> int:
        return len(self.in_hand) + self._intake.kept

    def lease(self, asking: Requests) -> int:
        """Lease of a received message in seconds; read once from the topology's record."""
        if self._lease is None:
            found = read_record(asking, self._name)
            self._lease = found.visibility_timeout if found else DEFAULT_LEASE
            if found and isinstance(self._intake, OrderedIntake):
                self._intake.max_receives = found.max_receives
        return self._lease

    def receive(self, owner: object, limit: int, wait: float) -> Sequence[Delivery]:
        """Receive at most `limit` messages; waits `wait` seconds for the first, or until
        `wake(owner)`."""

        def start(channel: Any, answer: Answer) -> None:
            self._intake.poll(channel, answer, owner, limit, wait)

        found: list[Delivery] = self.call(start, wait + ANSWER_SECONDS)
        return found

    def wake(self, owner: object) -> None:
        """End the polls of `owner`."""
        self.say(lambda channel: self._intake.wake(channel, owner))

    def acknowledge(self, settled: Tags) -> None:
        """Acknowledge the messages with these delivery tags."""
        if settled.tags:
            self._intake.acknowledged.append(settled)
            if not self._intake.expecting:
                self.say(self._intake.acknowledge)

    def put_back(self, settled: Tags, seconds: Sequence[float]) -> None:
        """For an ordered queue: these wait here for their `seconds`, each in its old place."""

        def back(channel: Any) -> None:
            if settled.era == self._intake.era:
                self._intake.put_back(channel, settled.tags, seconds)

        self.say(back)

    def put_back_ended(self) -> None:
        """Release the messages whose leases have ended."""
        self.say(self._put_back_ended)

    def close(self) -> None:
        """Close the channel, which releases the messages in flight."""
        self.in_hand.drop()
        with suppress(TransportError):  # the connection is closed, and the channel with it
            self.say(self._flush)
        super().close()

    def _prepare(self, channel: Any, ready: Callable[[], None]) -> None:
        channel.add_on_cancel_callback(
            lambda frame: self._intake.broken_off(channel, frame.method.consumer_tag)
        )
        ready()

    def _lost(self) -> None:
        self._timers.stop_all()
        self._intake.lost()
        self.in_hand.drop(self._intake.era)

    def _take(self, method: Any, found: Any, body: bytes, again: int = 0) -> Delivery:
        receipt = self.in_hand.take(method.delivery_tag, self._lease or DEFAULT_LEASE)
        if "lease" not in self._timers:
            self._watch()
        return delivery(self._name, receipt, found, body, SYSTEM_CLOCK.now(), again=again)

    def _flush(self, channel: Any) -> None:
        self._intake.collect()
        self._intake.flush(channel)

    def _watch(self) -> None:
        left = self.in_hand.next_end()
        if left is not None:
            self._timers.start("lease", left, self.put_back_ended)

    def _put_back_ended(self, channel: Any) -> None:
        self._intake.put_back(channel, self.in_hand.ended())
        self._timers.stop("lease")
        self._watch()
