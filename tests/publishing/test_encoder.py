"""One event becomes one encoded message for each distinct view; or an error, before any call."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, computed_field

from messaging.clock import utc
from messaging.codec import JsonCodec
from messaging.envelope import Envelope
from messaging.errors import EventError, EventTooLarge, InvalidCharacters, PublishError
from messaging.event import Event
from messaging.projection import Projection
from messaging.publishing import encoder as encoder_module
from messaging.publishing.encoder import Encoder, EnvelopeFrame
from messaging.testing import FakeClock
from messaging.transport import Outgoing

TRACE = "00-" + "a" * 32 + "-" + "b" * 16 + "-01"


class Address(BaseModel):
    street: str


class Enrolled(Event, type="student.enrolled", version=2, subject="id"):
    id: int
    name: str
    fee: Decimal | None = None
    home: Address | None = None
    consent: bool = False
    private: str = "private"


class ForMail(Projection, of=Enrolled, audience="mail"):
    name: str

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.consent


class ForBooks(Projection, of=Enrolled, audience="books"):
    id: int
    fee: Decimal | None


class ForAudit(Projection, of=Enrolled, audience="audit"):
    fee: Decimal | None
    id: int


class Open(Event, type="open", version=1):
    text: Any = None
    home: Address | None = None


BOTH = '["books", "audit"]'


def encoder(max_bytes: int = 262_144, **keywords: Any) -> Encoder:
    return Encoder(source="/s", max_bytes=max_bytes, **keywords)


def documents(messages: list[Outgoing]) -> list[dict[str, Any]]:
    return [json.loads(one.body) for one in messages]


def test_one_copy_for_each_distinct_view_with_only_its_fields_and_one_id() -> None:
    event = Enrolled(id=7, name="Ana", fee=Decimal("10.50"), consent=True)
    messages = encoder(clock=FakeClock())(event, traceparent=TRACE)
    mail, books = documents(messages)
    assert mail["data"] == {"name": "Ana"}
    assert books["data"] == {"id": 7, "fee": "10.50"}
    assert mail["id"] == books["id"] == messages[0].id == messages[1].id
    for document in (mail, books):
        assert document["type"] == "student.enrolled"
        assert document["dataversion"] == 2
        assert document["time"] == "2026-01-05T12:00:00Z"
        assert document["traceparent"] == TRACE
    assert [dict(one.attributes) for one in messages] == [
        {"type": ("String", "student.enrolled"), "audience": ("String.Array", '["mail"]')},
        {
            "type": ("String", "student.enrolled"),
            "audience": ("String.Array", '["books", "audit"]'),
        },
    ]


def test_the_subject_travels_only_where_the_view_declares_its_field() -> None:
    mail, books = documents(encoder()(Enrolled(id=7, name="Ana", consent=True)))
    assert "subject" not in mail
    assert books["subject"] == "7"


def test_a_field_that_no_view_names_is_nowhere_in_what_is_sent() -> None:
    messages = encoder()(Enrolled(id=7, name="Ana", consent=True))
    assert not any("private" in f"{one.body}{one.attributes}" for one in messages)


def test_a_declined_view_is_no_copy() -> None:
    assert len(encoder()(Enrolled(id=7, name="Ana"))) == 1


def test_an_event_without_views_goes_whole_to_everyone() -> None:
    [message] = encoder()(Open(text="x"))
    assert json.loads(message.body)["data"] == {"text": "x", "home": None}
    assert message.attributes["audience"].strings == ("*",)


def test_id_time_and_trace_may_be_given() -> None:
    time = datetime(2026, 1, 5, 9, tzinfo=timezone(timedelta(hours=-3)))
    [document] = documents(encoder()(Open(), id="mine", time=time))
    assert document["id"] == "mine"
    assert datetime.fromisoformat(document["time"]) == time


def test_an_enum_as_subject_is_its_value() -> None:
    class Level(StrEnum):
        first = "1st"

    class Reached(Event, type="reached", version=1, subject="level"):
        level: Level | None = None

    assert documents(encoder()(Reached(level=Level.first)))[0]["subject"] == "1st"
    assert "subject" not in documents(encoder()(Reached()))[0]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"id": ""}, "id: 1 to 100 printable"),
        ({"id": "x" * 101}, "id: 1 to 100 printable"),
        ({"id": "a\nb"}, "id: 1 to 100 printable"),
        ({"id": "\ud800"}, "id: 1 to 100 printable"),
        ({"time": datetime(2026, 1, 5)}, "time: an aware datetime is needed"),  # noqa: DTZ001
        ({"traceparent": "abc"}, "traceparent: not of the form"),
        ({"traceparent": TRACE + "-\x00"}, "traceparent: not of the form"),
        ({"traceparent": TRACE.upper()}, "traceparent: not of the form"),
    ],
)
def test_what_cannot_stand_in_an_envelope_is_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(EventError, match=said):
        encoder()(Open(), **wrong)


def test_what_is_no_event_is_refused() -> None:
    class Abstract(Event):
        x: int

    for wrong in (Abstract(x=1), Address(street="x"), {"x": 1}):
        with pytest.raises(EventError, match="cannot be published: declare it with"):
            encoder()(wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("source", ["", "a\x00b"])
def test_a_source_is_text(source: str) -> None:
    with pytest.raises(EventError, match="a URI reference"):
        Encoder(source=source, max_bytes=1024)


def test_another_codec_writes_the_body() -> None:
    class Loud:
        def encode(self, envelope: Envelope, data: bytes) -> str:
            return f"{envelope.type}!{data.decode()}"

        def decode(self, body: str) -> Envelope:
            raise NotImplementedError

    [message] = encoder(codec=Loud())(Open(text=1))
    assert message.body == 'open!{"text":1,"home":null}'


# size


def test_the_size_is_utf8_bytes_of_body_and_attributes() -> None:
    for text in ("plain", "ção 🎓"):
        [message] = encoder()(Open(text=text))
        attributes = sum(one.size(name) for name, one in message.attributes.items())
        assert message.size == len(message.body.encode()) + attributes
        assert attributes == len("typeStringopen") + len('audienceString.Array["*"]')


@pytest.mark.parametrize("text", ["x", "é", "🎓"])
def test_an_event_may_have_exactly_what_the_topic_takes_and_no_byte_more(text: str) -> None:
    event = Open(text=text * 2000)
    [message] = encoder()(event, id="1")
    assert encoder(message.size)(event, id="1")[0].size == message.size
    with pytest.raises(EventTooLarge) as caught:
        encoder(message.size - 1)(event, id="1")
    said = str(caught.value)
    assert f"needs {message.size:,} bytes" in said
    assert f"takes {message.size - 1:,}" in said
    assert f"largest field is 'text' with {2000 * len(text.encode()):,} bytes" in said
    assert "MESSAGING_MAX_BYTES" in said
    assert text * 10 not in said


def test_only_the_view_that_is_too_large_is_named() -> None:
    with pytest.raises(EventTooLarge, match=r"Enrolled for mail needs .* largest field is 'name'"):
        encoder(1024)(Enrolled(id=1, name="x" * 2000, private="y" * 9000, consent=True))
    encoder(1024)(Enrolled(id=1, name="x" * 2000, private="y" * 9000))


# characters


BAD = ["\x00", "\x08", "\x0b", "\x0c", "\x1f", "\ufffe", "\uffff", "\ud800", "\udfff"]
GOOD = [
    "\t",
    "\n",
    "\r",
    " ",
    "\\u0000",
    "a\\",
    '"',
    "\x7f",
    "\x85",
    "\ue000",
    "\ufffd",
    "\ud7ff",
    "🎓",
    "\U0010ffff",
    "\\ud800",
    "\\\\u0000",
    "</script>",
    "\u2028",
]


@pytest.mark.parametrize("good", GOOD, ids=ascii)
def test_whatever_xml_takes_is_sent_as_it_is(good: str) -> None:
    for event in (Open(text=good), Open(text=[{good: good}]), Open(text="é" + good)):
        [document] = documents(encoder()(event))
        assert Open(**document["data"]) == event


@pytest.mark.parametrize("bad", BAD, ids=ascii)
@pytest.mark.parametrize("around", ["", "plain ", "ação\\u0000 \n"], ids=ascii)
def test_a_character_that_sns_refuses_is_refused_with_its_field(bad: str, around: str) -> None:
    text = around + bad
    point = f"U\\+{ord(bad):04X} at position {len(around)}"
    for event, place in [
        (Open(text=text), r"Open\.text"),
        (Open(text=["a", text]), r"Open\.text\[1\]"),
        (Open(text={"k": text}), r"Open\.text\[key\]"),
        (Open(text={text: "v"}), r"Open\.text\[key\]"),
        (Open(home=Address(street=text)), r"Open\.home\.street"),
        (Enrolled(id=1, name=text, consent=True), r"Enrolled\.name"),
    ]:
        with pytest.raises(InvalidCharacters, match=f"^{place} holds {point}: outside XML 1.0"):
            encoder()(event)


def test_a_bad_character_in_a_field_that_is_not_sent_does_no_harm() -> None:
    assert len(encoder()(Enrolled(id=1, name="Ana\x00", private="\ud800"))) == 1


def test_a_bad_character_in_bytes_or_an_enum_is_found_too() -> None:
    class Odd(StrEnum):
        odd = "a\x00"

    class Either(Event, type="either", version=1):
        raw: bytes = b""
        odd: Odd | None = None

    for name, event in {"raw": Either(raw=b"a\x00"), "odd": Either(odd=Odd.odd)}.items():
        with pytest.raises(InvalidCharacters, match=rf"Either\.{name} holds U\+0000 at position 1"):
            encoder()(event)


@given(st.text(st.characters(codec=None, categories=None), max_size=6))
def test_any_text_is_sent_whole_or_refused(text: str) -> None:
    fine = all(
        c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff"
        for c in text
    )
    if fine:
        [document] = documents(encoder()(Open(text=text)))
        assert document["data"]["text"] == text
    else:
        with pytest.raises(InvalidCharacters, match=r"Open\.text holds"):
            encoder()(Open(text=text))


def test_what_json_cannot_say_is_an_error_of_that_event_that_quotes_nothing() -> None:
    class Odd:
        def __repr__(self) -> str:
            return "Ana"

    class Loose(Event, type="loose", version=1):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        odd: Any

    for value in (Odd(), b"\xff Ana"):
        with pytest.raises(PublishError, match=r"Loose\.odd cannot be written as JSON") as caught:
            encoder()(Loose(odd=value))
        assert "Ana" not in str(caught.value)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("wrong", [{"fee": "Ana"}, {"fee": object()}, {"home": "Ana"}])
def test_a_value_that_is_not_of_its_type_is_an_error_that_names_the_field(
    wrong: dict[str, Any],
) -> None:
    event = Enrolled(id=1, name="Bia").model_copy(update=wrong)
    (field,) = wrong
    if field == "home":  # no view shows it: what is not sent is not looked at
        assert len(encoder()(event)) == 1
        return
    with pytest.raises(PublishError, match=f"Enrolled.{field} cannot be written") as caught:
        encoder()(event)
    assert "Ana" not in str(caught.value)


# FIFO


class Ordered(Event, type="ordered", version=1, group="who"):
    who: str
    what: int = 0


class Shared(Event, type="shared", version=1, group="who"):
    who: str
    what: int = 0


class SharedForMail(Projection, of=Shared, audience="mail"):
    who: str


class SharedForBooks(Projection, of=Shared, audience="books"):
    what: int


def test_a_group_orders_and_copies_are_not_taken_for_repetitions() -> None:
    [message] = encoder()(Ordered(who="ana"), id="1")
    assert (message.group, message.deduplication) == ("ana", "1:*")
    mail, books = encoder()(Shared(who="ana"), id="1")
    assert mail.deduplication != books.deduplication
    assert encoder()(Shared(who="ana"), id="1")[0].deduplication == mail.deduplication


def test_without_a_group_there_is_neither() -> None:
    [message] = encoder()(Open())
    assert (message.group, message.deduplication) == (None, None)


def test_the_group_is_shown_only_to_those_who_may_see_its_field() -> None:
    mail, books = encoder()(Shared(who="ana"))
    other = encoder()(Shared(who="bia"))[1]
    assert mail.group == "ana"
    assert books.group
    assert "ana" not in books.group
    assert books.group == encoder()(Shared(who="ana"))[1].group != other.group


@pytest.mark.parametrize("who", ["", "Ana Souza", "ação", "x" * 129])
def test_a_group_that_sns_would_refuse_is_sent_as_a_digest(who: str) -> None:
    [message] = encoder()(Ordered(who=who))
    assert message.group == encoder()(Ordered(who=who, what=2))[0].group
    assert message.group
    assert message.group.isalnum()
    assert len(message.group) <= 128


@pytest.mark.parametrize("id", ["é", "two words", "x" * 100])
def test_a_deduplication_id_is_one_that_sns_takes(id: str) -> None:
    class Long(Event, type="long", version=1, group="who"):
        who: str

    class LongForOne(Projection, of=Long, audience="s" * 50):
        who: str

    [message] = encoder()(Long(who="a"), id=id)
    assert message.deduplication
    assert message.deduplication.isascii()
    assert " " not in message.deduplication
    assert len(message.deduplication) <= 128


def test_an_alias_is_for_others_and_never_on_the_wire() -> None:
    class Named(Event, type="named", version=1):
        model_config = ConfigDict(populate_by_name=True)
        name: str = Field(alias="nome")

    [document] = documents(encoder()(Named(nome="Ana")))
    assert document["data"] == {"name": "Ana"}


def test_a_field_with_an_alias_is_looked_at_under_its_own_name() -> None:
    class Heard(Event, type="heard", version=1):
        model_config = ConfigDict(populate_by_name=True)
        said: str = Field(alias="dito")

    class HeardByMail(Projection, of=Heard, audience="mail"):
        said: str

    with pytest.raises(InvalidCharacters, match=r"Heard\.said holds U\+0000"):
        encoder()(Heard(dito="a\0"))
    with pytest.raises(EventTooLarge, match=r"largest field is 'said' with 1,000 bytes"):
        encoder(1000)(Heard(dito="a" * 1000))


def test_an_event_whose_computed_field_is_no_json_is_named_without_the_value() -> None:
    class Computing(Event, type="computing", version=1):
        secret: str

        @computed_field  # type: ignore[prop-decorator]  # as pydantic's own manual has it
        @property
        def made(self) -> Any:
            return type(self.secret, (), {})()

    with pytest.raises(PublishError, match=r"Computing cannot be written as JSON") as caught:
        encoder()(Computing(secret="Ana"))
    assert "Ana" not in str(caught.value)


def test_the_time_is_that_of_the_clock() -> None:
    clock = FakeClock(datetime(2026, 3, 1, tzinfo=UTC))
    clock.advance(1.5)
    assert documents(encoder(clock=clock)(Open()))[0]["time"] == "2026-03-01T00:00:01.500000Z"


# the same text, however it is written


class Slowly(JsonCodec):
    """Not exactly JsonCodec, so every envelope is handed to it."""


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@given(
    source=texts.filter(bool),
    type=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,20}", fullmatch=True),
    version=st.integers(1, 2**31 - 1),
    id=texts.filter(bool),
    time=st.datetimes(
        timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3)), timezone(timedelta(0, 61))])
    ),
    subject=st.none() | texts,
    traceparent=st.none() | texts,
    data=st.dictionaries(texts, texts | st.integers() | st.none(), max_size=3),
)
def test_a_frame_is_the_very_text_of_the_codec(
    source: str,
    type: str,
    version: int,
    id: str,
    time: datetime,
    subject: str | None,
    traceparent: str | None,
    data: dict[str, Any],
) -> None:
    written = json.dumps(data, ensure_ascii=False).encode()
    envelope = Envelope(
        id=id,
        source=source,
        type=type,
        version=version,
        time=time,
        subject=subject,
        traceparent=traceparent,
    )
    frame = EnvelopeFrame(source, type, version)
    body = frame.around(frame.head(id, time), written, subject, traceparent)
    assert body == JsonCodec().encode(envelope, written)


@given(
    st.floats(-1e9, 4e9)
    | st.integers(0, 4_000_000_000).map(float)
    | st.integers(0, 4 * 10**15).map(lambda micros: micros / 1e6)
    | st.just(1_790_000_000 - 1e-7)
)
def test_a_moment_is_the_very_text_of_the_codec(now: float) -> None:
    frame = EnvelopeFrame("/s", "t", 1)
    for moment in (now, now + 0.25, now + 1):
        assert frame.fresh("a-b", moment) == frame.head("a-b", utc(moment))


@given(
    id=st.none() | st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=9),
    name=texts,
    fee=st.none() | st.decimals(allow_nan=False, allow_infinity=False),
    consent=st.booleans(),
    traced=st.booleans(),
)
def test_both_ways_make_the_same_messages_or_the_same_complaint(
    id: str | None, name: str, fee: Decimal | None, consent: bool, traced: bool
) -> None:
    events = [Enrolled(id=7, name=name, fee=fee, consent=consent), Open(text=name), Both(who=name)]
    for event in events:
        made: list[Any] = []
        for codec in (JsonCodec(), Slowly()):
            encode = Encoder(source="/ção", max_bytes=900, codec=codec, clock=FakeClock())
            try:
                messages = encode(event, id=id or "1", traceparent=TRACE if traced else None)
                made.append(messages)
            except PublishError as error:
                made.append((type(error), str(error)))
        assert made[0] == made[1]


class Both(Event, type="both", version=3, subject="who", group="who"):
    who: str


@pytest.mark.parametrize("text", ["a\nb", 'said "so"', "c:\\bin\\users", "tab\tand\r\n"])
def test_only_an_escape_that_may_be_a_control_character_is_looked_at_twice(
    text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[Event] = []
    monkeypatch.setattr(encoder_module, "check_texts", lambda event, fields: looked.append(event))
    encoder()(Open(text=text))
    assert looked == ([Open(text=text)] if "\\bin" in text else [])


def test_a_view_that_is_declared_later_is_sent_from_then_on() -> None:
    class Grows(Event, type="grows", version=1):
        a: int = 1
        b: int = 2

    encode = encoder()
    assert documents(encode(Grows()))[0]["data"] == {"a": 1, "b": 2}

    class GrowsForOne(Projection, of=Grows, audience="one"):
        a: int

    assert [one["data"] for one in documents(encode(Grows()))] == [{"a": 1}]

    class GrowsForTwo(Projection, of=Grows, audience="two"):
        b: int

        @classmethod
        def wanted(cls, event: Grows) -> bool:
            return event.b > 2

    assert len(encode(Grows())) == 1
    assert [one["data"] for one in documents(encode(Grows(b=3)))] == [{"a": 1}, {"b": 3}]


def test_views_that_share_their_fields_share_a_copy_only_when_both_want_it() -> None:
    class Told(Event, type="told", version=1):
        a: int

    class ToldOne(Projection, of=Told, audience="one"):
        a: int

    class ToldTwo(Projection, of=Told, audience="two"):
        a: int

        @classmethod
        def wanted(cls, event: Told) -> bool:
            return event.a > 0

    encode = encoder()
    for a, audience in [(1, ("one", "two")), (0, ("one",)), (2, ("one", "two"))]:
        [message] = encode(Told(a=a))
        assert message.attributes["audience"].strings == audience
        assert message.size == encoder()(Told(a=a))[0].size


def test_classes_without_end_do_not_fill_the_memory() -> None:
    encode = encoder()
    for _ in range(encoder_module._KNOWN + 10):

        class Passing(Event, type="passing", version=1):
            pass

        encode(Passing())
    assert len(encode._plans) <= encoder_module._KNOWN
