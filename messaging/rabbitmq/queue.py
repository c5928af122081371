"""The `QueueTransport` on RabbitMQ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from messaging.clock import SYSTEM_CLOCK, Clock
from messaging.dead_letters import reason
from messaging.errors import NotFound, TransportError
from messaging.rabbitmq.errors import check_batch
from messaging.rabbitmq.in_hand import InHand, void
from messaging.rabbitmq.intake import Intake
from messaging.rabbitmq.link import ANSWER_SECONDS, Answer, Link, Session
from messaging.rabbitmq.names import (
    DEFAULT_EXCHANGE,
    delay_arguments,
    delay_queue,
    rounded_delay,
)
from messaging.rabbitmq.records import read_record
from messaging.rabbitmq.topic import Confirming
from messaging.rabbitmq.wire import delivery, properties
from messaging.transport import DeadLetter, Delivery, Failure, QueueDepth

__all__ = ["RabbitQueue"]

DEFAULT_LEASE = 30
"""Seconds, where the topology's record of the queue is gone."""


class RabbitQueue:
    """One quorum queue with its dead letters: a `QueueTransport`.

    A message belongs to this object from its receive until it is settled, its lease ends, this
    object is closed, or the connection is lost: then RabbitMQ gives it to whoever asks next.

    sending    the link for messages that it publishes: letters, and what is put back for later.
    in_flight  how many messages all objects of this program have in hand (`depth`).
    lease      the visibility timeout in seconds; None: what the topology's record says.
    """

    receipts_travel = False

    def __init__(
        self,
        link: Link,
        sending: Link,
        name: str,
        dead_letters: str,
        *,
        in_flight: Callable[[], int] | None = None,
        lease: int | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._link = link
        self._name = name
        self._dead_letters = dead_letters
        self._clock = clock
        subject = f"queue {name}"
        self.in_hand = InHand(clock)
        self._in_flight = in_flight or (lambda: self.held)
        self._session = Session(link, subject, setup=self._prepare, lost=self._lost)
        self._asking = Session(sending, subject)
        self._sending = Confirming(sending, f"the dead letters of queue {name}")
        self._intake = Intake(link, name, self._take, lambda: self._lease or DEFAULT_LEASE)
        self._timer: object = None
        self._lease = lease
        self._delays: set[int] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"RabbitQueue({self._name!r})"

    @property
    def name(self) -> str:
        return self._name

    @property
    def visibility_timeout(self) -> int:
        """Seconds, as the topology has it; read once."""
        if self._lease is None:
            self._ready()
            found = read_record(self._asking, self._name)
            self._lease = found.visibility_timeout if found else DEFAULT_LEASE
        return self._lease

    @property
    def held(self) -> int:
        """How many messages RabbitMQ has given to this object and still counts as unsettled."""
        return len(self.in_hand) + self._intake.kept

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        """At most `limit` messages; waits `wait` seconds for the first."""
        self._ready()
        _ = self.visibility_timeout  # asked for once, here: the connection's thread cannot wait

        def start(channel: Any, answer: Answer) -> None:
            self._intake.poll(channel, answer, limit, wait)

        answer = self._session.ask(start)
        found: list[Delivery] = self._session.wait(answer, wait + ANSWER_SECONDS)
        return found

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Acknowledge. AMQP does not answer: if the connection is lost now, they come again."""
        self._ready()
        check_batch(len(deliveries), f"queue {self._name}")
        tags, failures = self.in_hand.settle(deliveries)
        if tags:
            self._session.say(partial(self._acknowledge, tags))
        return failures

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """0 puts a message back at once; otherwise it stays in hand for so long, and goes then."""
        self._ready()
        check_batch(len(deliveries), f"queue {self._name}")
        failures = self.in_hand.hold(deliveries, seconds)
        if deliveries:
            self._session.say(self._put_back_ended)
        return failures

    def release(self, deliveries: Sequence[Delivery], seconds: Sequence[int]) -> Sequence[Failure]:
        """Put back for later: the broker keeps each in a delay queue for its `seconds`.

        The receive count goes with it, in a header. The message is acknowledged when the copy
        stands; if that is lost, it comes twice.
        """
        self._ready()
        check_batch(len(deliveries), f"queue {self._name}")
        now = [place for place, one in enumerate(seconds) if one <= 0]
        later = [place for place, one in enumerate(seconds) if one > 0]
        failures = {
            place: void(place) for place in later if not self.in_hand.has(deliveries[place])
        }
        later = [place for place in later if place not in failures]
        self._declare_delays({rounded_delay(seconds[place]) for place in later})
        entries = [
            (place, self._copy(deliveries[place], rounded_delay(seconds[place]))) for place in later
        ]
        if entries:
            refused = self._sending.session.wait(self._sending.send(entries))
            failures |= {one.index: one for one in refused}
        settled = [place for place in later if place not in failures]
        tags, _ = self.in_hand.settle([deliveries[place] for place in settled])
        self._session.say(partial(self._acknowledge, tags))
        back = self.change_visibility([deliveries[place] for place in now], [0] * len(now))
        failures |= {now[one.index]: one._replace(index=now[one.index]) for one in back}
        return sorted(failures.values())

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        """Publish copies to the dead-letter queue, and wait until the broker has confirmed them."""
        self._ready()
        check_batch(len(letters), f"the dead letters of {self._name}")
        if not letters:
            return ()
        entries = []
        for place, one in enumerate(letters):
            found = properties(
                reason.attributes(one), group=one.delivery.group, sent_at=one.delivery.sent_at
            )
            body = one.delivery.body.encode(errors="surrogatepass")
            entries.append((place, (DEFAULT_EXCHANGE, self._dead_letters, body, found)))
        failures: Sequence[Failure] = self._sending.session.wait(self._sending.send(entries))
        missing = [one for one in failures if one.code == "Unroutable"]
        if missing:
            raise NotFound(f"queue {self._dead_letters} does not exist", code="404")
        return failures

    def depth(self) -> QueueDepth:
        """Counted by the broker. It tells nobody what others have in hand: `in_flight` is what this
        program has; `delayed` is what waits in delay queues that this object has used."""
        self._ready()
        visible = self._count(self._name)
        delayed = 0
        for seconds in list(self._delays):
            try:
                delayed += self._count(delay_queue(self._name, seconds))
            except NotFound:
                self._delays.discard(seconds)
        return QueueDepth(
            visible=visible,
            in_flight=self._in_flight(),
            delayed=delayed,
            oldest=None,
            dead_letters=self._count(self._dead_letters),
            undelivered=0,
        )

    def close(self) -> None:
        """Refuse further use; wake a waiting `receive`; what is in hand goes back at once."""
        if not self._closed:
            self._closed = True
            self.in_hand.drop()
            for session in (self._session, self._asking, self._sending.session):
                session.close()

    def _count(self, queue: str) -> int:
        def ask(channel: Any, answer: Answer) -> None:
            channel.queue_declare(
                queue, passive=True, callback=lambda frame: answer.set_result(frame.method)
            )

        return int(self._asking.call(ask).message_count)

    def _declare_delays(self, delays: set[int]) -> None:
        for seconds in delays:
            arguments = delay_arguments(self._name, seconds)

            def declare(channel: Any, answer: Answer, seconds: int = seconds) -> None:
                channel.queue_declare(
                    delay_queue(self._name, seconds),
                    durable=True,
                    arguments=arguments,  # noqa: B023 - called before the next round
                    callback=lambda frame: answer.set_result(frame),
                )

            # Each time: that is what keeps a queue which expires.
            self._asking.call(declare)
            self._delays.add(seconds)

    def _copy(self, one: Delivery, seconds: int) -> tuple[str, str, bytes, Any]:
        found = properties(
            one.attributes,
            group=one.group,
            receives=one.receive_count,
            message_id=one.message_id,
            sent_at=one.sent_at,
        )
        body = one.body.encode(errors="surrogatepass")
        return DEFAULT_EXCHANGE, delay_queue(self._name, seconds), body, found

    def _ready(self) -> None:
        if self._closed:
            raise TransportError(
                f"queue {self._name} was closed; ask the broker for another",
                code="Closed",
                retryable=False,
            )

    def _prepare(self, channel: Any, ready: Callable[[], None]) -> None:
        channel.add_on_cancel_callback(self._consumer_ended)
        ready()

    def _consumer_ended(self, frame: Any) -> None:
        self._intake.broken_off(frame.method.consumer_tag)

    def _lost(self) -> None:
        self.in_hand.drop()
        self._intake.lost()

    def _take(self, method: Any, found: Any, body: bytes) -> Delivery:
        receipt = self.in_hand.take(method.delivery_tag, self._lease or DEFAULT_LEASE)
        if self._timer is None:
            self._watch()
        return delivery(self._name, receipt, found, body, self._clock.now())

    def _watch(self) -> None:
        left = self.in_hand.next_end()
        self._timer = None if left is None else self._link.later(left, self._look)

    def _look(self) -> None:
        self._timer = None
        self._session.say(self._put_back_ended)

    def _put_back_ended(self, channel: Any) -> None:
        for tag in self.in_hand.ended():
            self._intake.settled(tag)
            channel.basic_nack(tag, requeue=True)
        if self._timer is not None:
            self._link.forget(self._timer)
        self._watch()

    def _acknowledge(self, tags: Sequence[int], channel: Any) -> None:
        for tag in tags:
            self._intake.settled(tag)
            channel.basic_ack(tag)
