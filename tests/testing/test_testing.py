"""What `messaging.testing` promises to the tests of others."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from datetime import UTC, datetime

import pytest

from messaging.clock import utc
from messaging.consuming.consumer import Consumer, handles
from messaging.envelope import Envelope
from messaging.errors import ConfigurationError
from messaging.event import Event
from messaging.memory import MemoryBroker
from messaging.outcome import Discard, Reject, Retry, RetryPolicy
from messaging.projection import Projection
from messaging.publishing.publisher import Publisher
from messaging.testing import FakeClock, RecordingTopic, deliver, deliver_raw, drain
from messaging.topology import Topology
from messaging.transport import Delivery


class Enrolled(Event, type="student.enrolled", version=1):
    name: str
    email: str
    fee: int = 0
    consent: bool = False


class EnrolledForMail(Projection, of=Enrolled, audience="mail"):
    name: str
    email: str

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.consent


class EnrolledForBooks(Projection, of=Enrolled, audience="books"):
    name: str
    fee: int


class Left(Event, type="student.left", version=1):
    name: str


class Mail(Consumer):
    def __init__(self) -> None:
        self.sent: list[str] = []
        self.loops: set[int] = set()

    @handles
    async def welcome(self, student: EnrolledForMail, envelope: Envelope) -> None:
        self.loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0)
        self.sent.append(student.email)


class Books(Consumer):
    retry = RetryPolicy(max_attempts=2, wait=lambda state: 30.0)

    def __init__(self) -> None:
        self.opened: list[str] = []
        self.broken_for = 0

    @handles
    def opened_account(self, student: EnrolledForBooks, delivery: Delivery) -> None:
        if student.fee < 0:
            raise Reject("fee: negative")
        if student.fee == 1:
            raise Retry(delay=7)
        if student.fee == 2:
            raise Discard("not ours")
        if delivery.receive_count <= self.broken_for:
            raise LookupError("the books are closed")
        self.opened.append(student.name)

    @handles
    def closed(self, student: Left) -> None:
        self.opened.remove(student.name)


TOPOLOGY = Topology.of(Mail, Books, topic="students")


def enrolled(**fields: object) -> Enrolled:
    return Enrolled(**{"name": "Ana", "email": "ana@example.com", "consent": True} | fields)


# FakeClock


def test_the_clock_moves_only_when_told() -> None:
    clock = FakeClock(datetime(2026, 3, 1, tzinfo=UTC))
    assert utc(clock.now()) == datetime(2026, 3, 1, tzinfo=UTC)
    clock.advance(90)
    clock.sleep(30)
    assert utc(clock.now()) == datetime(2026, 3, 1, 0, 2, tzinfo=UTC)
    assert clock.monotonic() == 120


def test_the_clock_refuses_the_past_and_naive_times() -> None:
    with pytest.raises(ConfigurationError, match="only moves forward"):
        FakeClock().advance(-1)
    with pytest.raises(ConfigurationError, match="aware"):
        FakeClock(datetime(2026, 3, 1))  # noqa: DTZ001 - the mistake that is meant


# deliver


def test_a_handled_event_is_acknowledged_and_its_view_is_told() -> None:
    books = Books()
    result = deliver(books, enrolled(fee=350), id="e-1", source="/office", receive_count=1)
    assert result.acknowledged
    assert result.received
    assert result.view == EnrolledForBooks(name="Ana", fee=350)
    assert result.envelope is not None
    assert (result.envelope.id, result.envelope.source) == ("e-1", "/office")
    assert result.delivery is not None
    assert "ana@example.com" not in result.delivery.body
    assert books.opened == ["Ana"]
    assert repr(result) == "Result(Ack)"


def test_an_async_handler_runs_from_a_plain_test() -> None:
    mail = Mail()
    assert deliver(mail, enrolled()).acknowledged
    assert mail.sent == ["ana@example.com"]


def test_an_async_handler_runs_from_an_async_test() -> None:
    mail = Mail()

    async def test() -> bool:
        return deliver(mail, enrolled()).acknowledged

    assert asyncio.run(test())
    assert mail.sent == ["ana@example.com"]


def test_a_declined_copy_is_told_by_the_name_of_its_view() -> None:
    mail = Mail()
    result = deliver(mail, enrolled(consent=False))
    assert not result.received
    assert not result.acknowledged
    assert result.outcome is None
    assert mail.sent == []
    assert "EnrolledForMail.wanted() declined" in repr(result)


def test_an_event_that_is_not_handled_is_told_with_what_is() -> None:
    result = deliver(Mail(), Left(name="Ana"))
    assert not result.received
    assert "Mail does not handle student.left" in result.why
    assert "it handles student.enrolled" in result.why


def test_what_a_handler_says_is_the_outcome_and_not_an_error() -> None:
    rejected = deliver(Books(), enrolled(fee=-5))
    assert rejected.rejected
    assert rejected.why == "fee: negative"
    assert rejected.error is None
    retried = deliver(Books(), enrolled(fee=1))
    assert retried.retried
    assert retried.delay == 7
    discarded = deliver(Books(), enrolled(fee=2))
    assert discarded.discarded
    assert discarded.why == "not ours"
    assert repr(rejected) == "Result(Reject, because 'fee: negative')"


def test_an_exception_is_kept_and_the_retry_policy_decides() -> None:
    books = Books()
    books.broken_for = 5
    first = deliver(books, enrolled())
    assert first.retried
    assert first.delay == 30
    assert isinstance(first.error, LookupError)
    assert "the books are closed" not in repr(first)
    assert "LookupError" in repr(first)
    last = deliver(books, enrolled(), receive_count=2)
    assert last.rejected
    assert last.why == "LookupError after 2 attempts"


def test_an_exception_of_a_middleware_is_kept_too() -> None:
    @contextmanager
    def broken(call: object):  # type: ignore[no-untyped-def] # a middleware that never yields
        raise OSError("no tracing today")
        yield

    result = deliver(Books(), enrolled(), middleware=[broken])
    assert isinstance(result.error, OSError)
    assert result.retried


def test_a_raw_body_reaches_the_consumer_as_it_is() -> None:
    result = deliver_raw(Books(), "{broken")
    assert result.rejected
    assert result.why.startswith("body: not JSON")
    assert result.view is None
    assert result.envelope is None
    foreign = (
        '{"specversion":"1.0","id":"1","source":"/x","type":"student.left","data":{"name":"Bia"}}'
    )
    books = Books()
    books.opened.append("Bia")
    assert deliver_raw(books, foreign).acknowledged
    assert books.opened == []


def test_a_class_instead_of_an_instance_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"deliver\(Books\(\.\.\.\), \.\.\.\)"):
        deliver(Books, enrolled())  # type: ignore[arg-type] # the mistake that is meant
    with pytest.raises(ConfigurationError, match=r"str, \.\.\.\): not a Consumer"):
        deliver("books", enrolled())  # type: ignore[arg-type] # the mistake that is meant


# drain


def play(*events: Event) -> tuple[MemoryBroker, FakeClock]:
    clock = FakeClock()
    broker = MemoryBroker(TOPOLOGY, clock=clock)
    with Publisher(broker.topic(), source="/office", clock=clock) as publisher:
        publisher.publish_many(events)
    return broker, clock


def test_drain_handles_everything_and_counts_it() -> None:
    events = [enrolled(name=f"A{n}", consent=n % 2 == 0) for n in range(25)]
    broker, clock = play(*events, Left(name="A3"), enrolled(fee=-1), enrolled(fee=2))
    mail, books = Mail(), Books()
    drained = drain(broker, mail, books, clock=clock)
    assert len(mail.sent) == 15
    assert len(books.opened) == 24
    assert drained.of["mail"].acknowledged == 15
    assert drained.of["books"].received == 28
    assert drained.of["books"].dead_lettered == 1
    assert drained.of["books"].discarded == 1
    assert drained.received == 43
    assert drained.reasons == ("fee: negative",)
    assert broker.queue("books").depth()[:3] == (0, 0, 0)
    assert broker.queue("books").depth().dead_letters == 1
    assert len(mail.loops) == 1, "the async handlers of one drain share a loop"


def test_drain_waits_for_retries_on_the_clock_alone() -> None:
    broker, clock = play(enrolled())
    books = Books()
    books.broken_for = 1
    drained = drain(broker, books, clock=clock)
    assert (drained.received, drained.retried, drained.acknowledged) == (2, 1, 1)
    assert books.opened == ["Ana"]
    assert clock.monotonic() == 30


def test_drain_ends_what_is_retried_for_ever() -> None:
    broker, clock = play(enrolled(fee=1))
    drained = drain(broker, Books(), clock=clock)
    assert drained.received == Books.max_receives
    assert drained.dead_lettered == 1
    assert broker.queue("books").depth().dead_letters == 1


def test_drain_stops_events_that_go_round_in_circles() -> None:
    class Echo(Consumer):
        service = "echo"

        @handles
        def again(self, student: Left) -> None:
            Publisher(broker.topic(), source="/echo", clock=clock).publish(student)

    clock = FakeClock()
    broker = MemoryBroker(Topology.of(Echo, topic="students"), clock=clock)
    Publisher(broker.topic(), source="/office", clock=clock).publish(Left(name="Ana"))
    with pytest.raises(ConfigurationError, match="still not empty after 50 receipts"):
        drain(broker, Echo(), clock=clock, limit=50)


# RecordingTopic


def test_the_spy_tells_events_copies_and_audiences() -> None:
    topic = RecordingTopic()
    with Publisher(topic, source="/office") as publisher:
        publisher.publish(enrolled(fee=9), id="e-1")
        publisher.publish(enrolled(consent=False), id="e-2")
        publisher.publish(Left(name="Ana"), id="e-3")
    assert [one.id for one in topic.events] == ["e-1", "e-2", "e-3"]
    first, second = topic.published(Enrolled)
    assert first.data == {"name": "Ana", "email": "ana@example.com", "fee": 9}
    assert set(first.audience) == {"mail", "books"}
    assert second.audience == ("books",)
    assert "email" not in second.data
    assert [one.id for one in topic.copies_for("mail")] == ["e-1", "e-3"]
    assert [one.id for one in topic.copies_for(Mail)] == ["e-1"]
    assert [one.type for one in topic.published(Left)] == ["student.left"]
    assert "Ana" not in repr(first)
    topic.clear()
    assert topic.copies == ()
