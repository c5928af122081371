"""The `QueueTransport` on RabbitMQ."""

from __future__ import annotations

from collections.abc import Sequence

from messaging.clock import SYSTEM_CLOCK
from messaging.dead_letters import reason
from messaging.rabbitmq.errors import check_batch, was_closed
from messaging.rabbitmq.holding import Holding
from messaging.rabbitmq.in_hand import void
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import delay_arguments, delay_queue, rounded_delay
from messaging.rabbitmq.requests import Requests
from messaging.rabbitmq.topic import Confirming, Entry, copied
from messaging.rabbitmq.wire import properties
from messaging.transport import DeadLetter, Delivery, Failure, QueueDepth, Receive

__all__ = ["RabbitQueue"]


class RabbitQueue:
    """One quorum queue with its dead letters: a `QueueTransport`.

    A message belongs to this program's connection from its receive until it is settled, its lease
    ends, or the connection is lost: then RabbitMQ redelivers it to any consumer.

    holding  the program's state for the queue, shared by all its objects.
    sending  the link for messages that it publishes: letters, and messages put back with a delay.
    """

    receipts_travel = False

    def __init__(self, holding: Holding, sending: Link, name: str, dead_letters: str) -> None:
        self.name = name
        self._dead_letters = dead_letters
        self._holding = holding
        # Not on the publishing link, from which a broker short of memory reads nothing.
        self._asking = Requests(holding.link, f"queue {name}")
        self._sending = Confirming(sending, f"the dead letters of queue {name}")
        self._delays: set[int] = set()
        self._closed = False

    def __repr__(self) -> str:
        return f"RabbitQueue({self.name!r})"

    @property
    def visibility_timeout(self) -> int:
        """Seconds, from the topology's record; read once."""
        self._ready()
        return self._holding.lease(self._asking)

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        """Receive at most `limit` messages; waits `wait` seconds for the first."""
        self._ready()
        self._holding.lease(self._asking)  # read here, because the connection's thread cannot wait
        started = SYSTEM_CLOCK.now()
        found = self._holding.receive(self, limit, wait)
        receive = Receive(started=started, ended=SYSTEM_CLOCK.now(), count=len(found))
        for one in found:
            vars(one)["receive"] = receive
        return found

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Acknowledge. AMQP sends no response: if the connection is lost now, they come back."""
        self._ready(deliveries)
        tags, failures = self._holding.in_hand.settle(deliveries)
        self._holding.acknowledge(tags)
        return failures

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """0 puts a message back immediately; otherwise it is held that long, and then put back."""
        self._ready(deliveries)
        failures = self._holding.in_hand.hold(deliveries, seconds)
        if deliveries:
            self._holding.put_back_ended()
        return failures

    def release(self, deliveries: Sequence[Delivery], seconds: Sequence[int]) -> Sequence[Failure]:
        """Put back with a delay: the broker keeps each in a delay queue for its `seconds`.

        The receive count is kept in a header. The message is acknowledged once the copy is
        confirmed; if the acknowledgement is lost, the message arrives twice.
        """
        self._ready(deliveries)
        if self._holding.ordered:
            return self._release_in_order(deliveries, seconds)
        now = [place for place, one in enumerate(seconds) if one <= 0]
        delays = {place: rounded_delay(one) for place, one in enumerate(seconds) if one > 0}
        has = self._holding.in_hand.has
        failures = {place: void(place) for place in delays if not has(deliveries[place])}
        later = [place for place in delays if place not in failures]
        self._declare_delays({delays[place] for place in later})
        entries = [(place, self._copy(deliveries[place], delays[place])) for place in later]
        if entries:
            refused = self._sending.wait(self._sending.send(entries))
            failures |= {one.index: one for one in refused}
        self.delete([deliveries[place] for place in later if place not in failures])
        back = self.change_visibility([deliveries[place] for place in now], [0] * len(now))
        failures |= {now[one.index]: one._replace(index=now[one.index]) for one in back}
        return sorted(failures.values())

    def _release_in_order(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        # Not to a delay queue: later messages of its group would overtake it.
        tags, failures = self._holding.in_hand.settle(deliveries)
        void_places = {one.index for one in failures}
        pauses = [float(one) for place, one in enumerate(seconds) if place not in void_places]
        self._holding.put_back(tags, pauses)
        return failures

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        """Publish copies to the dead-letter queue, and wait for the broker to confirm them."""
        self._ready(letters, "the dead letters of ")
        copies = []
        for one in letters:
            group, sent_at = one.delivery.group, one.delivery.sent_at
            found = properties(reason.attributes(one), group=group, sent_at=sent_at)
            copies.append((one.delivery, found))
        return self._sending.send_copies(self._dead_letters, copies)

    def depth(self) -> QueueDepth:
        """Counted by the broker. It does not report what others have in flight: `in_flight` counts
        this program's messages; `delayed` counts those in delay queues that this object has
        used."""
        self._ready()
        visible, _ = self._asking.look(self.name)
        delayed = 0
        for seconds in list(self._delays):
            waiting = self._asking.messages(delay_queue(self.name, seconds))
            if waiting is None:
                self._delays.discard(seconds)
            else:
                delayed += waiting
        return QueueDepth(
            visible=visible,
            in_flight=len(self._holding),
            delayed=delayed,
            oldest=None,
            dead_letters=self._asking.look(self._dead_letters)[0],
            undelivered=0,
        )

    def close(self) -> None:
        """Refuse further use; wake a waiting `receive`. Leases of messages in flight continue."""
        if not self._closed:
            self._closed = True
            self._holding.wake(self)
            for session in (self._asking, self._sending):
                session.close()

    def _declare_delays(self, delays: set[int]) -> None:
        for seconds in delays:
            # Every time: it keeps the queue from expiring.
            arguments = delay_arguments(self.name, seconds)
            self._asking.declare_queue(delay_queue(self.name, seconds), arguments)
            self._delays.add(seconds)

    def _copy(self, one: Delivery, seconds: int) -> Entry:
        found = properties(
            one.attributes,
            group=one.group,
            receives=one.receive_count,
            message_id=one.message_id,
            sent_at=one.sent_at,
        )
        return copied(one, delay_queue(self.name, seconds), found)

    def _ready(self, batch: Sequence[object] = (), what: str = "queue ") -> None:
        if self._closed:
            raise was_closed(f"queue {self.name}")
        check_batch(len(batch), what + self.name)
