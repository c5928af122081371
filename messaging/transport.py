"""The two transport protocols, a topic and a queue, and the values that pass through them.

Every transport (`aws`, `memory`, an outbox) implements one of these protocols and passes the same
test suite (`tests/contracts/`). Partial failures of a batch are normal: methods return the failures
of single entries as values, and only raise `TransportError` if there was no answer or the whole
request was refused.
"""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar, NamedTuple, Protocol, runtime_checkable

from messaging.clock import utc

__all__ = [
    "BATCH_ENTRIES",
    "Attribute",
    "Broker",
    "CancelToken",
    "DeadLetter",
    "DeadLetterReason",
    "Delivery",
    "Failure",
    "Outgoing",
    "QueueDepth",
    "QueueTransport",
    "Receive",
    "TopicTransport",
    "epoch_seconds",
    "name_of",
    "system_of",
    "receives",
    "text_or_none",
]

BATCH_ENTRIES = 10
"""Entries in one SNS or SQS batch request.

https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html
"""


MOST_RECEIVES = 1_000_000
"""SQS never counts that far, and a retry policy may compute 2 to the power of the count."""
LAST_SECOND = 253_402_300_799
"""The last second of the year 9999: `datetime` has no later ones."""


class Attribute(NamedTuple):
    """One SNS/SQS message attribute: its DataType and its value, as on the wire.

    `type` is "String", "String.Array", "Number", "Binary" or one of these with a custom label
    ("Number.int"). The value of a "String.Array" is a JSON list.

    Args:
        type: the DataType: "String", "Number", "Binary", "String.Array".
        value: the value, as on the wire.

    Example:
        ```python
        from messaging.transport import Attribute

        broker.send("marketing", "{}", attributes={"audience": Attribute.string("marketing")})
        (message,) = broker.messages("marketing")
        assert message.attributes["audience"].value == "marketing"
        ```
    """

    type: str
    value: str | bytes

    def __repr__(self) -> str:  # it may contain personal data from a producer
        return f"Attribute(type={self.type!r})"

    @classmethod
    def string(cls, value: str) -> Attribute:
        """An attribute of type String.

        Args:
            value: its text.
        """
        return cls("String", value)

    @classmethod
    def array(cls, values: Iterable[str]) -> Attribute:
        """An attribute of type String.Array, whose members a filter policy matches.

        Args:
            values: its strings.
        """
        return cls("String.Array", json.dumps(list(values), ensure_ascii=False))

    @classmethod
    def received(cls, kind: object, text: object, binary: object) -> Attribute:
        """An attribute as received from a queue, whatever its content.

        `binary` is bytes, or base64; if there is neither it nor `text`, the value is "".

        Args:
            kind: the type given by the queue.
            text: its text, if any.
            binary: its bytes, if any.
        """
        named = kind if isinstance(kind, str) and kind else "String"
        if isinstance(text, str) and text:
            return cls(named, text)
        if isinstance(binary, str) and binary:
            try:
                return cls(named, b64decode(binary, validate=True))
            except ValueError:
                return cls(named, binary.encode(errors="surrogatepass"))
        return cls(named, binary if isinstance(binary, bytes) else "")

    @property
    def strings(self) -> tuple[str, ...]:
        """The value as strings: the members of an array, or the single value. Empty for bytes, and
        for an array that is not a JSON list, which anyone can send."""
        if isinstance(self.value, bytes):
            return ()
        if not self.type.startswith("String.Array"):
            return (self.value,)
        try:
            members = json.loads(self.value)
        except (ValueError, RecursionError):
            return ()
        return tuple(map(str, members)) if isinstance(members, list) else ()

    def size(self, name: str) -> int:
        """Bytes that count towards the size limit: name, type and value, in UTF-8.

        Args:
            name: the attribute's name.
        """
        value = self.value if isinstance(self.value, bytes) else _utf8(self.value)
        return len(_utf8(name)) + len(_utf8(self.type)) + len(value)


@dataclass(frozen=True, kw_only=True, init=False)
class Outgoing:
    """One message to the topic: one copy of one event.

    `id` is the event's id, the same in each of its copies. `size` is the size that SNS counts:
    UTF-8 bytes of the body plus attribute names, types and values. `group` and `deduplication` are
    SNS's MessageGroupId and MessageDeduplicationId, for FIFO topics.

    Args:
        id: the event's id, the same in each of its copies.
        body: the text of the message.
        attributes: the message attributes.
        size: the size that SNS counts: UTF-8 bytes of the body, plus attribute names, types and
            values.
        group: SNS's MessageGroupId, on a FIFO topic.
        deduplication: SNS's MessageDeduplicationId, on a FIFO topic.

    Example:
        ```python
        from messaging.transport import Attribute, Outgoing

        message = Outgoing("1", '{"id": "1"}', {"type": Attribute("String", "a.b")}, size=11 + 13)
        assert broker.topic().publish([message]) == []  # nothing was refused
        ```
    """

    id: str
    body: str
    attributes: Mapping[str, Attribute]
    size: int
    group: str | None = None
    deduplication: str | None = None

    def __init__(
        self,
        id: str,
        body: str,
        attributes: Mapping[str, Attribute],
        size: int,
        group: str | None = None,
        deduplication: str | None = None,
    ) -> None:
        # Like dataclass, which sets each field of a frozen class with a separate call. One is
        # created for every copy: this takes half the time, and a quarter with positional arguments.
        fields = self.__dict__
        fields["id"] = id
        fields["body"] = body
        fields["attributes"] = attributes
        fields["size"] = size
        fields["group"] = group
        fields["deduplication"] = deduplication

    def __repr__(self) -> str:  # a body is personal data, and a group may be: only show the id
        return f"Outgoing(id={self.id!r}, size={self.size})"


class CancelToken:
    """Tells a handler that its result is no longer wanted, and why.

    `reason` is "" until then, and afterwards one of

    "lease lost"       the message is visible again, or another worker has received it.
    "max_lease"        the lease is no longer renewed (`Consumer.max_lease`), or SQS's 12 h are
                       over.
    "handler_timeout"  the handler has run for longer than `Consumer.handler_timeout`.
    "stopping"         the worker is stopping, and the time that it gives handlers is over.

    `watched` is True once the handler has checked: a stopping worker gives such handlers a moment.

    Example:
        ```python
        from messaging import Delivery


        class Plataforma(Consumer):
            @handles
            def cancel(self, matricula: MatriculaCancelada, delivery: Delivery) -> None:
                for _ in range(1000):
                    if delivery.cancelled:
                        print("not finished:", delivery.cancel_token.reason)
                        return
        ```
    """

    # Class attributes: a token is created for every message, and few are ever set.
    _reason = ""
    watched = False

    def is_set(self) -> bool:
        """Whether the handler's result is no longer wanted."""
        self.watched = True
        return self._reason != ""

    @property
    def reason(self) -> str:
        return self._reason

    def set(self, reason: str) -> None:
        """Cancel; for code that runs handlers. The first reason is kept.

        Args:
            reason: why, for the handler.
        """
        self._reason = self._reason or reason


@dataclass(eq=False, kw_only=True)
class Receive:
    """A request that returned messages. Its deliveries share one object.

    Args:
        started: when it was made, in seconds since the epoch.
        ended: when it was answered, in seconds since the epoch.
        count: how many messages it returned.

    Example:
        ```python
        publisher.publish_many([ana, ana])
        first, second = broker.queue("marketing").receive(10, wait=0)
        assert first.receive is second.receive
        assert first.receive.count == 2
        ```
    """

    started: float
    ended: float
    count: int


@dataclass(frozen=True, kw_only=True, init=False)
class Delivery:
    """One receipt of one message, which a handler may take in addition to its view.

    `receive_count` is 1 the first time. `sent_at` and `received_at` are seconds since the epoch.
    `receipt` only settles this receipt; a later receive of the same message has another. A long
    handler should check `cancelled` from time to time; an async one is cancelled automatically.

    Args:
        queue: the queue's name.
        message_id: the message's id in its queue.
        receipt: the receipt handle, which settles only this receipt.
        body: the text of the message.
        attributes: the message attributes.
        receive_count: how often it has been received, including this time.
        sent_at: seconds since the epoch.
        received_at: seconds since the epoch.
        group: its message group, on a FIFO queue.
        cancel_token: tells the handler that its result is no longer wanted.
        trace_header: X-Ray's trace header, if SQS provided one.
        receive: the request that returned it; None if its transport does not say, as in Lambda.

    Example:
        ```python
        from messaging import Delivery


        class Plataforma(Consumer):
            @handles
            def cancel(self, matricula: MatriculaCancelada, delivery: Delivery) -> None:
                if delivery.receive_count > 3 or delivery.cancelled:
                    print(delivery.queue, delivery.message_id)
        ```
    """

    system: ClassVar[str] = "aws_sqs"
    """The queue's messaging system, in OpenTelemetry's terms."""

    queue: str
    message_id: str
    receipt: str
    body: str
    attributes: Mapping[str, Attribute] = field(default_factory=dict)
    receive_count: int = 1
    sent_at: float = 0.0
    received_at: float = 0.0
    group: str | None = None
    cancel_token: CancelToken = field(default_factory=CancelToken, compare=False)
    trace_header: str | None = field(default=None, compare=False)
    receive: Receive | None = field(default=None, compare=False)

    def __init__(
        self,
        *,
        queue: str,
        message_id: str,
        receipt: str,
        body: str,
        attributes: Mapping[str, Attribute] | None = None,
        receive_count: int = 1,
        sent_at: float = 0.0,
        received_at: float = 0.0,
        group: str | None = None,
        cancel_token: CancelToken | None = None,
        trace_header: str | None = None,
        receive: Receive | None = None,
    ) -> None:
        # Written by hand for the same reason as `Outgoing`.
        self.__dict__.update(
            queue=queue,
            message_id=message_id,
            receipt=receipt,
            body=body,
            attributes={} if attributes is None else attributes,
            receive_count=receive_count,
            sent_at=sent_at,
            received_at=received_at,
            group=group,
            cancel_token=CancelToken() if cancel_token is None else cancel_token,
            trace_header=trace_header,
            receive=receive,
        )

    @property
    def cancelled(self) -> bool:
        """True if the result is no longer wanted; `cancel_token.reason` says why."""
        return self.cancel_token.is_set()

    @property
    def event_type(self) -> str | None:
        """The message attribute `type`, which filters use; None if there is none."""
        said = self.attributes.get("type")
        return said.value if said is not None and isinstance(said.value, str) else None

    @cached_property
    def received(self) -> datetime:
        """`received_at` as an aware datetime in UTC."""
        return utc(self.received_at)

    def __repr__(self) -> str:  # a body is personal data: only show ids
        return (
            f"Delivery(queue={self.queue!r}, message_id={self.message_id!r}, "
            f"receive_count={self.receive_count})"
        )


class Failure(NamedTuple):
    """One entry of a batch that was not accepted: its index in the batch, and why.

    `unknown` means that its result is not known: it may have been accepted anyway.

    Args:
        index: its index in the batch.
        code: the service's own error code.
        message: the service's error message.
        retryable: whether the same entry may be accepted later.
        unknown: whether it may have been accepted anyway.

    Example:
        ```python
        from messaging import PublishError
        from messaging.transport import Failure

        refused = Failure(0, "InvalidParameter", "no such attribute", retryable=False)
        broker = MemoryBroker(topology, faults=lambda operation: [refused])
        with Publisher(broker.topic(), source="/cadastro") as publisher:
            try:
                publisher.publish(ana)
            except PublishError as error:
                (failed,) = error.result.failed
        assert failed.code == "InvalidParameter"
        ```
    """

    index: int  # type: ignore[assignment]  # hides tuple.index, which nobody asks of a failure
    code: str
    message: str
    retryable: bool
    unknown: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterReason:
    """Why a message was given up: written with a dead letter, and read from it.

    Args:
        reason: one line, without personal data.
        error: the type name of the last exception; None if there was none.
        attempts: receives before it was given up; None if unknown.
        time: when it was given up, in seconds since the epoch; 0.0 if unknown.
        queue: the queue it comes from; None if unknown.

    Example:
        ```python
        from messaging.transport import DeadLetterReason

        reason = DeadLetterReason(reason="no such course", error="LookupError", attempts=3)
        assert reason.facts()["attempts"] == 3
        ```
    """

    reason: str
    error: str | None = None
    attempts: int | None = None
    time: float = 0.0
    queue: str | None = None

    def facts(self) -> dict[str, Any]:
        """These fields by name, without those of derived classes."""
        return {one.name: getattr(self, one.name) for one in fields(DeadLetterReason)}


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter(DeadLetterReason):
    """A delivery to be moved to the dead-letter queue, and why.

    Args:
        delivery: the message.

    Example:
        ```python
        from messaging.transport import DeadLetter

        publisher.publish(ana)
        queue = broker.queue("marketing")
        (delivery,) = queue.receive(1, wait=0)
        queue.dead_letter([DeadLetter(delivery=delivery, reason="no such course")])
        assert queue.depth().dead_letters == 1
        ```
    """

    delivery: Delivery


class QueueDepth(NamedTuple):
    """The number of messages in a queue; `oldest` in seconds if the service reports it, otherwise
    None.

    Args:
        visible: messages that wait.
        in_flight: messages that were received and are hidden.
        delayed: messages that are not visible yet.
        oldest: age of the oldest message in seconds; None if unknown.
        dead_letters: messages in its dead-letter queue.
        undelivered: messages that could not be delivered to it.

    Example:
        ```python
        publisher.publish(ana)
        depth = broker.queue("marketing").depth()
        assert (depth.visible, depth.in_flight, depth.dead_letters) == (1, 0, 0)
        ```
    """

    visible: int
    in_flight: int
    delayed: int
    oldest: float | None
    dead_letters: int
    undelivered: int


class TopicTransport(Protocol):
    """The destination of a publisher: an SNS topic, or a substitute.

    A transport may also have these six attributes; a missing one counts as False, unless noted
    otherwise:

    fifo               messages of one group must stay in order: one request at a time, and no two
                       events of a group in it.
    deduplicates       whether a FIFO topic takes a deduplication id that it has seen in the last
                       five minutes without delivering the message again (missing: True).
    in_callers_thread  requests must be made in the thread that publishes (a transaction's outbox).
    begin(batch)       `publish` in two steps, for several concurrent requests without a thread for
                       each: a generator that has sent the request when it yields, and when resumed
                       returns or raises what `publish` would. It yields the number of the socket
                       for the answer, or None. Closing it in between abandons the request: some of
                       it may have been accepted. None instead of a generator: not this time, call
                       `publish`. publish_timeout    seconds, a `Publisher`'s default `timeout`
                       (`Settings.publish_timeout`). system             the messaging system, in
                       OpenTelemetry's terms (missing: "aws.sns").

    A transport that waits checks `messaging.deadline.CURRENT` for how long it may.
    """

    @property
    def max_bytes(self) -> int:
        """Maximum bytes of a request, and so of a message."""
        ...

    def publish(self, batch: Sequence[Outgoing]) -> Sequence[Failure]:
        """Send at most `BATCH_ENTRIES` messages with at most `max_bytes` in total.

        Returns the refused entries; an empty sequence means that all were accepted.

        Args:
            batch: the messages: at most `BATCH_ENTRIES`, with `max_bytes` in total.

        Raises:
            TransportError: if there is no answer (then any of them may have been accepted), or the
                whole request is refused.
        """
        ...

    def close(self) -> None:
        """Close the sockets. A closed transport must not be used again."""
        ...


class QueueTransport(Protocol):
    """The source of a worker: one SQS queue with its dead-letter queue.

    Each method takes at most `BATCH_ENTRIES` deliveries and is thread-safe.

    A transport may also have these attributes. The first two are for many concurrent requests in
    one thread, when answers are slow; each returns a generator, or None: not now, call the blocking
    method.

    begin_receive(limit, wait)
                     `receive` in steps: the request has been sent when it yields the number of the
                     socket to wait on. Resumed when that is readable, it returns or raises what
                     `receive` would, or yields once more.
    begin_delete(deliveries)
                     the same for `delete`.
    release(deliveries, seconds)
                     release each for its `seconds`, without renewal: its receipt is then void.
                     `change_visibility` is used if a transport has no `release`.
    receipts_travel  whether a receipt is valid in another process, or for another broker object
                     (missing: True). False: only for the queues of its own broker object.
    """

    @property
    def name(self) -> str:
        """The queue's name."""
        ...

    @property
    def visibility_timeout(self) -> int:
        """Seconds for which a received message is hidden from others."""
        ...

    def receive(self, limit: int, wait: float) -> Sequence[Delivery]:
        """At most `limit` (1 to 10) messages; waits `wait` (0 to 20) seconds for the first.

        If each has the request as its `Delivery.receive`, tracing creates a span for it.

        Args:
            limit: messages, 1 to 10.
            wait: seconds to wait for the first, 0 to 20.

        Raises:
            TransportError: if there is no answer, or the whole request is refused.
        """
        ...

    def delete(self, deliveries: Sequence[Delivery]) -> Sequence[Failure]:
        """Acknowledge these messages.

        Args:
            deliveries: messages from `receive`.
        """
        ...

    def change_visibility(
        self, deliveries: Sequence[Delivery], seconds: Sequence[int]
    ) -> Sequence[Failure]:
        """Hide each delivery for its `seconds` (0 to 43,200) from now; 0 releases it.

        Args:
            deliveries: messages from `receive`.
            seconds: for each delivery, 0 to 43,200.
        """
        ...

    def dead_letter(self, letters: Sequence[DeadLetter]) -> Sequence[Failure]:
        """Copy messages to the dead-letter queue, with body, attributes and the reason.

        It does not delete them from the queue: that follows when the copy has been made.

        Args:
            letters: deliveries, and why each is given up.
        """
        ...

    def depth(self) -> QueueDepth:
        """The number of messages in the queue and its dead-letter queue (approximate on AWS)."""
        ...

    def close(self) -> None:
        """Close the sockets, and wake a waiting `receive` if possible."""
        ...


@runtime_checkable
class Broker(Protocol):
    """One topic and its queues, by service, from `connect()` or `MemoryBroker`."""

    def topic(self) -> TopicTransport:
        """The topic. Each call may return a new transport; close the ones that you get."""
        ...

    def queue(self, service: str) -> QueueTransport:
        """The queue of one service.

        Args:
            service: the name of a service.
        """
        ...

    def close(self) -> None:
        """Close everything that this broker returned."""
        ...


def receives(said: object) -> int:
    """SQS's ApproximateReceiveCount as a number; 1 if it is not one.

    Args:
        said: SQS's value, or None.
    """
    if said == "1":  # nearly always
        return 1
    return min(MOST_RECEIVES, max(1, _whole(said, 1)))


def system_of(topic: TopicTransport) -> str:
    """The messaging system of a topic, in OpenTelemetry's terms.

    Args:
        topic: a transport to a topic.
    """
    return str(getattr(topic, "system", "aws.sns"))


def name_of(topic: TopicTransport) -> str:
    """The readable name of a topic; for a transport without one, the name of its class.

    Args:
        topic: a transport to a topic.
    """
    return str(getattr(topic, "name", "") or type(topic).__qualname__)


def epoch_seconds(said: object) -> float:
    """SQS's SentTimestamp, in milliseconds, as seconds since the epoch; 0.0 if it is not one.

    Args:
        said: SQS's value, or None.
    """
    if type(said) is str and len(said) == 13 and said.isdecimal():  # from 2001 to 2286
        return int(said) / 1000
    return min(float(LAST_SECOND), max(0, _whole(said, 0)) / 1000)


def text_or_none(said: object) -> str | None:
    """A system attribute that is a string; None if it is missing or something else.

    Args:
        said: SQS's value, or None.
    """
    return said if isinstance(said, str) else None


def _whole(said: object, otherwise: int) -> int:
    if type(said) is str and len(said) < 18 and said.isdecimal():  # as SQS writes it
        return int(said)
    try:
        number = int(said)  # type: ignore[call-overload]  # whatever is no number raises
    except (TypeError, ValueError, OverflowError):
        return otherwise
    return number if abs(number) < 10**18 else otherwise


def _utf8(text: str) -> bytes:
    # A lone surrogate is counted too, although SQS would refuse it.
    return text.encode(errors="surrogatepass")
