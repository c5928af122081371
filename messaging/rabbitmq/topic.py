"""The `TopicTransport` on RabbitMQ: an exchange, published to with confirms."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from messaging.clock import SYSTEM_CLOCK
from messaging.contract.subscribers import Subscriber
from messaging.deadline import CURRENT
from messaging.errors import AccessDenied, NotFound
from messaging.rabbitmq.errors import TOPOLOGY_REMEDY, check_batch, was_closed
from messaging.rabbitmq.link import Link
from messaging.rabbitmq.names import DEFAULT_EXCHANGE
from messaging.rabbitmq.records import subscribers
from messaging.rabbitmq.requests import Requests
from messaging.rabbitmq.session import Answer, Session
from messaging.rabbitmq.wire import keys_of, properties, unfit
from messaging.transport import Delivery, Failure, Outgoing

__all__ = ["Confirming", "RabbitTopic", "copied"]

Entry = tuple[str, str, bytes, Any]
"""Exchange, routing key, body and properties of one message."""
NACKED = "Nacked"
NACKED_PAUSE = 0.2
ELECTION_SECONDS = 20.0
"""Seconds; a queue without a leader for longer has lost the majority of its nodes."""


@dataclass(eq=False)
class _Batch:
    """The messages of one `send` that the broker has not answered yet."""

    answer: Answer
    left: int
    failures: list[Failure] = field(default_factory=list)

    def confirmed(self, failure: Failure | None) -> None:
        self.left -= 1
        if failure is not None:
            self.failures.append(failure)
        if not self.left and not self.answer.done():
            self.answer.set_result(self.failures)


def copied(one: Delivery, queue: str, found: Any) -> Entry:
    """The body of `one` with the properties `found`, for `queue` alone."""
    return DEFAULT_EXCHANGE, queue, one.body.encode(errors="surrogatepass"), found


class Confirming(Session):
    """A channel in confirm mode: batches of several callers are in flight at the same time.

    exchange  checked each time the channel is opened, so that a missing one is reported by name.
    """

    def __init__(self, link: Link, subject: str, *, exchange: str = "") -> None:
        super().__init__(link, subject)
        self._exchange = exchange
        self._next = 1
        self._waiting: dict[int, tuple[_Batch, int, str]] = {}
        self._returned: dict[str, int] = {}

    def send(self, entries: Sequence[tuple[int, Entry]]) -> Answer:
        """Publish `entries`, each with its index; the future's result is the failures."""

        def publish(channel: Any, answer: Answer) -> None:
            batch = _Batch(answer, len(entries))
            for place, (exchange, key, body, found) in entries:
                # Counted once it is sent: a message that the client refuses has no number there.
                channel.basic_publish(exchange, key, body, found, mandatory=True)
                self._waiting[self._next] = (batch, place, found.message_id)
                self._next += 1

        return self.ask(publish)

    def send_copies(self, queue: str, copies: Iterable[tuple[Delivery, Any]]) -> Sequence[Failure]:
        """Publish these bodies, each with its properties, to `queue`, and wait until they stand."""
        entries = [(place, copied(one, queue, found)) for place, (one, found) in enumerate(copies)]
        failures: Sequence[Failure] = self.wait(self.send(entries)) if entries else ()
        if any(one.code == "Unroutable" for one in failures):
            raise NotFound(f"queue {queue} does not exist; {TOPOLOGY_REMEDY}", code="404")
        return failures

    def renew(self) -> None:
        """Use another channel, unless messages are in flight on this one: in RabbitMQ 3.10, a
        channel that met a queue without a leader refuses all later messages."""

        def run(channel: Any) -> None:
            if not self._waiting:
                self._channel, self._ready = None, False
                self._lost()
                channel.close()

        self.say(run)

    def _prepare(self, channel: Any, ready: Callable[[], None]) -> None:
        self._next = 1
        channel.add_on_return_callback(self._on_return)

        def confirming(*_: Any) -> None:
            if self._exchange:
                channel.exchange_declare(self._exchange, passive=True, callback=lambda _: ready())
            else:
                ready()

        channel.confirm_delivery(self._on_confirm, callback=confirming)

    def _on_return(self, _channel: Any, method: Any, found: Any, _body: bytes) -> None:
        # This arrives before the confirmation of the same message.
        self._returned[found.message_id] = method.reply_code

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        tags = [one for one in self._waiting if one <= tag] if method.multiple else [tag]
        for one in tags:
            batch, place, message_id = self._waiting.pop(one)
            batch.confirmed(self._verdict(place, message_id, method.NAME == "Basic.Ack"))

    def _verdict(self, place: int, message_id: str, taken: bool) -> Failure | None:
        if self._returned.pop(message_id, None) is not None:
            said = (
                "no queue accepts it, and there is no alternate exchange; apply the topology again"
            )
            return Failure(place, "Unroutable", said, False)
        if taken:
            return None
        return Failure(place, NACKED, "RabbitMQ could not take the message", True)

    def _lost(self) -> None:
        # Confirmed messages are stored; the fate of the others is unknown.
        waiting, self._waiting, self._returned = self._waiting, {}, {}
        said = "the connection was lost before RabbitMQ confirmed the message"
        for batch, place, _ in waiting.values():
            if not isinstance(self.ended_by, AccessDenied):
                batch.confirmed(Failure(place, "ConnectionLost", said, True, True))
            elif not batch.answer.done():
                # RabbitMQ responds to a publish that is not allowed by closing the channel.
                batch.answer.set_exception(self.ended_by)


class RabbitTopic:
    """One exchange: a `TopicTransport`. Confirms of several requests are awaited together."""

    deduplicates = False
    system = "rabbitmq"

    def __init__(self, link: Link, name: str, *, max_bytes: int, publish_timeout: float) -> None:
        self._link = link
        self.name = name
        self.fifo = name.endswith(".fifo")
        self.max_bytes = max_bytes
        self.publish_timeout = publish_timeout
        self._confirming = Confirming(link, f"topic {name}", exchange=name)
        self._closed = False

    def __repr__(self) -> str:
        return f"RabbitTopic({self.name!r})"

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Publish `batch` in one go, and wait for the broker to confirm each message."""
        steps = self.begin(batch)
        try:
            while True:
                next(steps)
        except StopIteration as end:
            failures: Sequence[Failure] = end.value
            return failures

    def begin(self, batch: Sequence[Outgoing]) -> Generator[None, None, Sequence[Failure]]:
        """`publish` in two steps: the messages have been sent when it yields."""
        if self._closed:
            raise was_closed(f"topic {self.name}")
        check_batch(len(batch), f"topic {self.name}")
        refused: list[Failure] = []
        entries: list[tuple[int, Entry]] = []
        for place, one in enumerate(batch):
            wrong = unfit(one.body, one.attributes)
            if self.fifo and not one.group:
                wrong = "it has no message group, which a FIFO topic needs"
            if wrong is None:
                try:
                    entries.append((place, self._entry(one)))
                    continue
                except UnicodeEncodeError:
                    wrong = "half of a surrogate pair, which UTF-8 does not have"
            refused.append(Failure(place, "InvalidParameter", wrong, False))
        if not entries:
            return refused
        answer = self._confirming.send(entries)
        yield
        failures: Sequence[Failure] = self._confirming.wait(answer, self.publish_timeout)
        if any(one.code == NACKED for one in failures):
            failures = self._send_again(failures, entries)
        return sorted([*refused, *failures]) if refused or failures else ()

    def subscribers(self) -> Sequence[Subscriber]:
        """The bound services and their keys, as recorded by `apply`. For startup only."""
        with closing(Requests(self._link, f"topic {self.name}")) as requests:
            return subscribers(requests, self.name)

    def close(self) -> None:
        """Refuse further use."""
        if not self._closed:
            self._closed = True
            self._confirming.close()

    def _entry(self, one: Outgoing) -> Entry:
        keys = keys_of(one.attributes)
        found = properties(one.attributes, keys=keys, group=one.group)
        return self.name, keys[0], one.body.encode(), found

    def _send_again(
        self, failures: Sequence[Failure], entries: Sequence[tuple[int, Entry]]
    ) -> Sequence[Failure]:
        """Retry refused messages until the broker accepts them: after the loss of a node, its
        queues elect another leader, and refuse everything meanwhile."""
        left = min(self.publish_timeout, ELECTION_SECONDS)
        until = SYSTEM_CLOCK.monotonic() + left
        deadline = CURRENT.get()
        while again := {one.index for one in failures if one.code == NACKED}:
            if deadline is not None:
                left = deadline.left()
            if min(left, until - SYSTEM_CLOCK.monotonic()) <= NACKED_PAUSE:
                break
            SYSTEM_CLOCK.sleep(NACKED_PAUSE)
            self._confirming.renew()
            others = [one for one in failures if one.index not in again]
            answer = self._confirming.send([one for one in entries if one[0] in again])
            failures = others + self._confirming.wait(answer, self.publish_timeout)
        return failures
