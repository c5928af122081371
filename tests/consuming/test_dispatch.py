"""One delivery in, one outcome out; never an exception, and never a value in a reason."""

from __future__ import annotations

import asyncio
import inspect
import json
import logging
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, field_validator
from tenacity import wait_fixed

from messaging.codec import JsonCodec
from messaging.consuming.consumer import Consumer, handles
from messaging.consuming.dispatch import Call, Dispatcher
from messaging.envelope import Envelope
from messaging.event import Event, upcast
from messaging.outcome import Ack, Discard, Outcome, Reject, Retry, RetryPolicy
from messaging.projection import Projection
from messaging.transport import Delivery


class Address(BaseModel):
    street: str
    number: int = 0


class Enrolled(Event, type="student.enrolled", version=2):
    model_config = ConfigDict(strict=True)

    name: str
    born: date | None = None
    fee: Decimal | None = None
    home: Address | None = None
    marks: dict[str, int] = Field(default_factory=dict)
    course: str = "none"

    @upcast(1)
    def _class_is_a_course(data: dict[str, Any]) -> dict[str, Any]:
        data["course"] = data.pop("class")
        return data


class Left(Event, type="student.left", version=1):
    name: str = Field(alias="nome")

    @field_validator("name")
    @classmethod
    def _breaks(cls, name: str) -> str:
        if name == "break":
            raise RuntimeError("the validator is broken by " + name)
        return name


class Noted(Event, type="student.noted", version=2):
    name: str
    note: str

    @upcast(1)
    def _no_note(data: dict[str, Any]) -> dict[str, Any]:
        return {"note": "", **data}


class NotedForMail(Projection, of=Noted, audience="mail"):
    name: str


class Mail(Consumer):
    retry = RetryPolicy(max_attempts=3, wait=wait_fixed(7), never=(ZeroDivisionError,), outage=0)

    def __init__(self, does: Callable[[Any], Any] = lambda view: None) -> None:
        self.does = does
        self.seen: list[Any] = []

    @handles
    def enrolled(self, student: Enrolled, delivery: Delivery, envelope: Envelope) -> Any:
        self.seen.append((student, envelope, delivery))
        return self.does(student)

    @handles
    async def left(self, student: Left, *, envelope: Envelope) -> Any:
        await asyncio.sleep(0)
        self.seen.append((student, envelope))
        return self.does(student)

    @handles
    def noted(self, student: NotedForMail) -> None:
        self.seen.append(student)


def delivery(
    data: Any = None,
    type: str = "student.enrolled",
    version: Any = 2,
    receives: int = 1,
    **changes: Any,
) -> Delivery:
    document = {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/s",
        "type": type,
        "dataversion": version,
        "data": data,
        **changes,
    }
    return Delivery(
        queue="q", message_id="m-1", receipt="r", body=json.dumps(document), receive_count=receives
    )


def outcome(consumer: Mail, given_: Delivery, **keywords: Any) -> Outcome:
    result = Dispatcher(consumer, **keywords)(given_)
    if inspect.iscoroutine(result):
        return asyncio.run(result)
    assert isinstance(result, Outcome)
    return result


SYNC: dict[str, Any] = {"data": {"name": "Ana"}}
ASYNC: dict[str, Any] = {"data": {"name": "Ana"}, "type": "student.left", "version": 1}
both = pytest.mark.parametrize("message", [SYNC, ASYNC], ids=["sync", "async"])


def raises(error: BaseException) -> Callable[[Any], Any]:
    def does(_view: Any) -> Any:
        raise error

    return does


def test_returning_acknowledges_and_the_handler_has_all_it_asked_for() -> None:
    mail = Mail()
    message = delivery({"name": "Ana", "born": "2010-02-03", "fee": "10.50"})
    assert isinstance(outcome(mail, message), Ack)
    [(student, envelope, given_)] = mail.seen
    assert student == Enrolled(name="Ana", born=date(2010, 2, 3), fee=Decimal("10.50"))
    assert (envelope.id, given_) == ("id-1", message)


def test_an_async_handler_gives_a_coroutine() -> None:
    mail = Mail()
    result = Dispatcher(mail)(delivery(**ASYNC))
    assert isinstance(result, Coroutine)
    assert mail.seen == []
    assert isinstance(asyncio.run(result), Ack)
    assert mail.seen[0][1].type == "student.left"


def test_what_a_newer_producer_adds_is_ignored_where_it_is_read() -> None:
    mail = Mail()
    data = {"name": "Ana", "new": 1, "home": {"street": "x", "new": 2}}
    assert isinstance(outcome(mail, delivery(data)), Ack)
    assert mail.seen[0][0] == Enrolled(name="Ana", home=Address(street="x"))


def test_fields_are_read_by_their_names_and_not_by_an_alias() -> None:
    assert isinstance(outcome(Mail(), delivery(**ASYNC)), Ack)
    refused = outcome(Mail(), delivery({"nome": "Ana"}, "student.left", 1))
    assert isinstance(refused, Reject)


def test_old_data_is_brought_up() -> None:
    mail = Mail()
    assert isinstance(outcome(mail, delivery({"name": "Ana", "class": "p"}, version=1)), Ack)
    assert mail.seen[0][0].course == "p"


def test_an_old_view_is_brought_up_though_fields_are_missing() -> None:
    mail = Mail()
    assert isinstance(outcome(mail, delivery({"name": "Ana"}, "student.noted", 1)), Ack)
    assert mail.seen == [NotedForMail(name="Ana")]


# what a handler says


@both
@pytest.mark.parametrize("raised", [Reject("no seats"), Discard("not ours"), Ack("done before")])
def test_what_a_handler_raises_is_the_outcome(raised: Outcome, message: dict[str, Any]) -> None:
    assert outcome(Mail(raises(raised)), delivery(**message)) is raised
    assert outcome(Mail(lambda _: raised), delivery(**message)) is raised, "returned is the same"


@both
def test_a_retry_has_its_own_delay_or_that_of_the_policy(message: dict[str, Any]) -> None:
    asked = outcome(Mail(raises(Retry(3, "busy"))), delivery(**message))
    assert isinstance(asked, Retry)
    assert (asked.delay, asked.reason) == (3, "busy")
    left = outcome(Mail(raises(Retry(reason="busy"))), delivery(**message))
    assert isinstance(left, Retry)
    assert (left.delay, left.reason) == (7, "busy")


def test_a_retry_that_is_raised_again_and_again_is_not_written_to() -> None:
    later = Retry()
    outcome(Mail(raises(later)), delivery(**SYNC))
    assert later.delay is None


def test_a_retry_does_not_count_against_max_attempts_but_ends_before_sqs_ends_it() -> None:
    mail = Mail(raises(Retry(3, "busy")))
    assert isinstance(outcome(mail, delivery(**SYNC, receives=9)), Retry)
    ended = outcome(mail, delivery(**SYNC, receives=Mail.max_receives))
    assert isinstance(ended, Reject)
    assert ended.reason == "still asked to be retried after 10 receives: busy"


@both
def test_another_exception_follows_the_policy(message: dict[str, Any]) -> None:
    mail = Mail(raises(ValueError("Ana")))
    first, last = (outcome(mail, delivery(**message, receives=n)) for n in (1, 3))
    assert isinstance(first, Retry)
    assert (first.delay, first.error) == (7, "ValueError")
    assert isinstance(last, Reject)
    assert (last.reason, last.error) == ("ValueError after 3 attempts", "ValueError")
    never = outcome(Mail(raises(ZeroDivisionError())), delivery(**message))
    assert isinstance(never, Reject)


@both
def test_a_handler_cannot_end_the_process_but_an_interrupt_can(message: dict[str, Any]) -> None:
    assert isinstance(outcome(Mail(raises(SystemExit(3))), delivery(**message)), Retry)
    with pytest.raises(KeyboardInterrupt):
        outcome(Mail(raises(KeyboardInterrupt())), delivery(**message))


def test_a_cancelled_handler_is_cancelled() -> None:
    with pytest.raises(asyncio.CancelledError):
        outcome(Mail(raises(asyncio.CancelledError())), delivery(**ASYNC))


def test_a_plain_method_that_hands_out_a_coroutine_is_not_acknowledged() -> None:
    async def work() -> None: ...

    result = outcome(Mail(lambda _: work()), delivery(**SYNC))
    assert isinstance(result, Retry)
    assert result.error == "InvalidReturn"


# what can never be handled


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (delivery({"name": "A"}, version=3), "dataversion: student.enrolled version 3 is newer"),
        (delivery({"name": "A"}, "student.lost"), "type: mail has no handler for this event type"),
        (delivery({"name": "A"}, "Ana Souza"), "type: mail has no handler for this event type"),
        (delivery(None), "data: input should be an object"),
        (delivery([]), "data: input should be an object"),
        (delivery({}), "data.name: field required"),
        (delivery({"name": None}), "data.name: input should be a valid string"),
        (delivery({"name": "A", "fee": True}), "data.fee: decimal input should be"),
        (delivery({"name": "A", "born": "soon"}), "data.born: input should be a valid date"),
        (delivery({"name": "A", "home": {"street": 1}}), "data.home.street: input should be"),
        (delivery({"name": "A", "marks": {"Ana": "x"}}), "data.marks.[key]: input should be"),
        (delivery({"name": "A", "marks": {"a": 1e400}}), "body: not JSON"),
        (delivery({"name": "A"}, version=1), "data: KeyError (no field 'class') in @upcast(1)"),
        (delivery([], version=1), "data: an object was expected, not a list"),
        (delivery({"name": "A"}, specversion="2.0"), "specversion:"),
        (Delivery(queue="q", message_id="m", receipt="r", body="hello"), "body: not JSON"),
        (Delivery(queue="q", message_id="m", receipt="r", body='{"a":' * 9999), "body: not JSON"),
        (Delivery(queue="q", message_id="m", receipt="r", body=""), "body: not JSON"),
    ],
)
def test_it_is_rejected_at_once_and_the_reason_names_the_field(
    message: Delivery, reason: str
) -> None:
    mail = Mail()
    result = outcome(mail, message)
    assert isinstance(result, Reject)
    assert result.reason.startswith(reason)
    assert result.error == "CodecError"
    assert mail.seen == []


def test_a_number_beyond_what_a_float_holds_is_rejected() -> None:
    body = delivery({"name": "A", "marks": {"a": 1}}).body.replace('"a": 1', '"a": 1e400')
    result = outcome(Mail(), Delivery(queue="q", message_id="m", receipt="r", body=body))
    assert isinstance(result, Reject)
    assert result.reason.startswith("data.marks.[key]:")


@pytest.mark.parametrize("depth", [10, 150, 190, 199, 250, 100_000])
def test_data_of_any_depth_is_handled_or_rejected(depth: int) -> None:
    body = delivery({"name": "A", "deep": "DEEP"}).body.replace('"DEEP"', "[" * depth + "]" * depth)
    result = outcome(Mail(), Delivery(queue="q", message_id="m", receipt="r", body=body))
    assert isinstance(result, Ack | Reject)


def test_a_type_is_told_if_it_looks_like_one() -> None:
    assert "(com.github.push)" in outcome(Mail(), delivery({}, "com.github.push")).reason
    assert "Souza" not in outcome(Mail(), delivery({}, "Ana Souza")).reason
    assert "@" not in outcome(Mail(), delivery({}, "ana@example.com")).reason


def test_broken_code_around_the_message_is_retried_for_it_is_not_the_messages_fault(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Away:
        def decode(self, body: str) -> Envelope:
            raise ConnectionError("the store is away: " + body)

        def encode(self, envelope: Envelope, data: bytes) -> str:
            raise NotImplementedError

    for result in (
        outcome(Mail(), delivery(**SYNC), codec=Away()),
        outcome(Mail(), delivery({"name": "break"}, "student.left", 1)),
    ):
        assert isinstance(result, Retry)
    last = outcome(Mail(), delivery(**SYNC, receives=3), codec=Away())
    assert isinstance(last, Reject)
    assert last.reason == "ConnectionError after 3 attempts"
    assert "mail could not read message m-1: ConnectionError at " in caplog.text
    assert "the store is away" not in caplog.text


SECRET = "Maria-das-Dores"
WRONG = st.recursive(
    st.sampled_from([SECRET, -1, 1.5, True, None, 10**30]),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from([SECRET, "street", "number"]), inner, max_size=2)
    ),
    max_leaves=4,
)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    data=st.dictionaries(st.sampled_from([*Enrolled.model_fields, "class", SECRET]), WRONG),
    version=st.sampled_from([1, 2, 3, 0, SECRET]),
    receives=st.sampled_from([1, 3, 10]),
    does=st.sampled_from([ValueError(SECRET), KeyError(SECRET), Retry()]),
)
def test_no_value_reaches_a_reason_or_the_log(
    caplog: pytest.LogCaptureFixture,
    data: dict[str, Any],
    version: Any,
    receives: int,
    does: BaseException,
) -> None:
    caplog.set_level(logging.DEBUG)
    caplog.clear()
    result = outcome(Mail(raises(does)), delivery(data, version=version, receives=receives))
    assert isinstance(result, Reject | Retry)
    assert SECRET not in f"{result!r} {result} {result.reason} {result.error}"
    formatted = logging.Formatter("%(message)s")
    assert not any(SECRET in formatted.format(record) for record in caplog.records)


def test_the_log_says_where_to_look(caplog: pytest.LogCaptureFixture) -> None:
    outcome(Mail(raises(ValueError("Ana"))), delivery(**SYNC))
    outcome(Mail(), delivery({}))
    raised, refused = caplog.messages
    assert "mail.enrolled raised ValueError on event id-1, receive 1: " in raised
    assert "test_dispatch.py:" in raised
    assert " in raises.<locals>.does < " in raised
    assert raised.endswith(" in Mail.enrolled; again in 7.0 s")
    assert refused == "mail refused message m-1: data.name: field required"


# middleware


def test_a_middleware_stands_around_the_handler_and_sees_what_it_raises() -> None:
    seen: list[Any] = []

    def outer(call: Call) -> Any:
        @contextmanager
        def around() -> Iterator[None]:
            seen.append(("in", call.service, call.handler.name, call.envelope.id))
            try:
                yield
            except ValueError:
                seen.append("raised")
                raise
            finally:
                seen.append("out")

        return around()

    mail = Mail(raises(ValueError()))
    for message in (SYNC, ASYNC):
        assert isinstance(outcome(mail, delivery(**message), middleware=[outer]), Retry)
    assert seen == [
        ("in", "mail", "enrolled", "id-1"),
        "raised",
        "out",
        ("in", "mail", "left", "id-1"),
        "raised",
        "out",
    ]


@both
def test_a_middleware_may_keep_the_handler_from_running(message: dict[str, Any]) -> None:
    @contextmanager
    def done_before(_call: Call) -> Iterator[None]:
        raise Discard("done before")
        yield

    mail = Mail()
    result = outcome(mail, delivery(**message), middleware=[done_before])
    assert isinstance(result, Discard)
    assert mail.seen == []


def test_middlewares_are_entered_in_order_and_left_in_reverse() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        @contextmanager
        def around(_call: Call) -> Iterator[None]:
            order.append(name)
            yield
            order.append(name.upper())

        return around

    outcome(Mail(), delivery(**SYNC), middleware=[named("a"), named("b")])
    assert order == ["a", "b", "B", "A"]


def test_a_call_shows_no_personal_data() -> None:
    calls: list[Call] = []

    @contextmanager
    def keep(call: Call) -> Iterator[None]:
        calls.append(call)
        yield

    outcome(Mail(), delivery(**SYNC), middleware=[keep])
    assert repr(calls[0]) == "Call(mail.enrolled, id-1)"


def test_another_codec_may_read_the_body() -> None:
    class Reversed(JsonCodec):
        def decode(self, body: str) -> Envelope:
            return super().decode(body[::-1])

    message = delivery(**SYNC)
    turned = Delivery(queue="q", message_id="m", receipt="r", body=message.body[::-1])
    assert isinstance(outcome(Mail(), turned, codec=Reversed()), Ack)
