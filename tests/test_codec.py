"""An envelope to text and back; what can never be read, and what is said of it."""

from __future__ import annotations

import json
from base64 import b64encode
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Union
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, EmailStr, Field, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from messaging.codec import JsonCodec, first_mistake
from messaging.envelope import Envelope
from messaging.errors import CodecError

CODEC = JsonCodec()
FULL = Envelope(
    id="42",
    source="/enrolment",
    type="student.enrolled",
    version=3,
    time=datetime(2026, 1, 5, 12, 30, tzinfo=UTC),
    subject="7",
    traceparent="00-" + "a" * 32 + "-" + "b" * 16 + "-01",
    extensions={"correlationid": "c"},
    data={"name": "Zoë 🎓"},
)
LEAST = {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"}


def body(**changes: Any) -> str:
    return json.dumps(
        {name: value for name, value in {**LEAST, **changes}.items() if value != "LEAVE OUT"}
    )


def test_what_is_written_is_cloudevents_as_anybody_reads_it() -> None:
    text = CODEC.encode(FULL, b'{"name":"Zo\xc3\xab"}')
    assert json.loads(text) == {
        "specversion": "1.0",
        "id": "42",
        "source": "/enrolment",
        "type": "student.enrolled",
        "dataversion": 3,
        "datacontenttype": "application/json",
        "time": "2026-01-05T12:30:00Z",
        "subject": "7",
        "traceparent": FULL.traceparent,
        "correlationid": "c",
        "data": {"name": "Zoë"},
    }


def test_what_is_not_known_is_left_out() -> None:
    text = CODEC.encode(Envelope(id="1", source="/s", type="t"), b"{}")
    assert json.loads(text).keys() == {
        *("specversion", "id", "source", "type", "dataversion", "datacontenttype", "data")
    }


def test_an_envelope_comes_back_as_it_was() -> None:
    text = CODEC.encode(FULL, json.dumps(FULL.data).encode())
    assert CODEC.decode(text) == FULL


@given(
    data=st.dictionaries(st.text(), st.text() | st.integers(-(2**60), 2**60) | st.none()),
    id=st.text(min_size=1),
)
def test_any_data_comes_back_as_it_was(data: dict[str, Any], id: str) -> None:
    envelope = Envelope(id=id, source="/s", type="t", data=data)
    assert CODEC.decode(CODEC.encode(envelope, json.dumps(data).encode())) == envelope


# what foreign producers send


def test_a_plain_cloudevent_is_version_1() -> None:
    envelope = CODEC.decode(body(data={"a": 1}))
    assert (envelope.version, envelope.time, envelope.data) == (1, None, {"a": 1})


def test_an_event_without_data_has_none() -> None:
    assert CODEC.decode(body()).data is None


def test_extensions_come_through() -> None:
    envelope = CODEC.decode(body(partitionkey="k", sampledrate=3))
    assert envelope.extensions == {"partitionkey": "k", "sampledrate": 3}


def test_a_version_may_be_a_text_of_digits() -> None:
    assert CODEC.decode(body(dataversion="2")).version == 2


@pytest.mark.parametrize(
    "content",
    [
        "application/json",
        "application/json; charset=utf-8",
        "Application/JSON",
        "application/problem+json",
        None,
    ],
)
def test_json_under_any_of_its_names_is_read(content: str | None) -> None:
    assert CODEC.decode(body(datacontenttype=content, data=[1])).data == [1]


def test_json_in_base64_is_read() -> None:
    encoded = b64encode(b'{"a": 1}').decode()
    assert CODEC.decode(body(data_base64=encoded)).data == {"a": 1}


def test_a_notification_of_sns_is_unwrapped() -> None:
    wrapped = json.dumps(
        {
            "Type": "Notification",
            "MessageId": "m",
            "TopicArn": "arn:...",
            "Timestamp": "now",
            "Message": CODEC.encode(FULL, b'{"name":"Zoe"}'),
            "UnsubscribeURL": "https://...",
        }
    )
    assert CODEC.decode(wrapped).id == "42"
    assert CODEC.decode(wrapped).data == {"name": "Zoe"}


# what can never be read

UNREADABLE = [
    ("", "body: not JSON"),
    ("nome,email", "body: not JSON"),
    ("[]", "body: a JSON object was expected"),
    ("null", "body: a JSON object was expected"),
    ('"text"', "body: a JSON object was expected"),
    ("[" * 100_000, "body: not JSON"),
    ('{"a":' * 500 + "1" + "}" * 500, "body: not JSON"),
    (body()[:-1] + ', "data": NaN}', "body: not JSON"),
    (body()[:-1] + ', "data": -Infinity}', "body: not JSON"),
    (body()[:-1] + ', "data": ' + "9" * 5000 + "}", "body: not JSON"),
    ("{}", "specversion: missing"),
    (body(specversion="0.3"), 'specversion: "1.0" was expected'),
    (body(specversion=1.0), 'specversion: "1.0" was expected'),
    (body(id="LEAVE OUT"), "id: missing"),
    (body(id=None), "id: missing"),
    (body(id=""), "id: a text was expected"),
    (body(id=3), "id: a text was expected"),
    (body(source="LEAVE OUT"), "source: missing"),
    (body(source=["/s"]), "source: a text was expected"),
    (body(type="LEAVE OUT"), "type: missing"),
    (body(type={}), "type: a text was expected"),
    (body(subject=3), "subject: a text was expected"),
    (body(traceparent=3), "traceparent: a text was expected"),
    (body(time="yesterday"), "time: an RFC 3339 date and time was expected"),
    (body(time="2026-01-05T12:00:00"), "time: the offset from UTC is missing"),
    (body(time=12), "time: a text was expected"),
    (body(dataversion=0), "dataversion: a whole number from 1"),
    (body(dataversion=-1), "dataversion: a whole number from 1"),
    (body(dataversion=1.5), "dataversion: a whole number from 1"),
    (body(dataversion=True), "dataversion: a whole number from 1"),
    (body(dataversion="two"), "dataversion: a whole number from 1"),
    (body(dataversion="²"), "dataversion: a whole number from 1"),
    (body(dataversion=None), "dataversion: a whole number from 1"),
    (body(dataversion=10**4000), "dataversion: a whole number from 1"),
    (body(dataversion="9" * 5000), "dataversion: a whole number from 1"),
    (body(datacontenttype="application/xml"), "datacontenttype: only JSON"),
    (body(datacontenttype=3), "datacontenttype: only JSON"),
    (body(data_base64="%%%"), "data_base64: JSON in base64"),
    (body(data_base64=b64encode(b"\xff\xfe").decode()), "data_base64: JSON in base64"),
    (body(data_base64=3), "data_base64: a text was expected"),
    (
        json.dumps({"Type": "Notification", "MessageId": "m", "TopicArn": "a", "Message": "hello"}),
        "Message: not JSON",
    ),
    (
        json.dumps({"Type": "Notification", "MessageId": "m", "TopicArn": "a", "Message": {}}),
        "Message: a JSON text was expected",
    ),
    (
        json.dumps(
            {
                "Type": "SubscriptionConfirmation",
                "MessageId": "m",
                "TopicArn": "a",
                "Message": "You have chosen",
            }
        ),
        "body: an SNS SubscriptionConfirmation",
    ),
    ("\ud800", "body: not JSON"),
]


@pytest.mark.parametrize(("text", "reason"), UNREADABLE, ids=[one[1] for one in UNREADABLE])
def test_what_cannot_be_read_names_the_field(text: str, reason: str) -> None:
    with pytest.raises(CodecError) as caught:
        CODEC.decode(text)
    assert caught.value.reason.startswith(reason)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    with pytest.raises(CodecError):
        CODEC.decode(text)


SECRET = "Maria-das-Dores"
ANYTHING = st.recursive(
    st.sampled_from([SECRET, SECRET + "\x00", None, 7, True]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([SECRET, "nome"]), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.dictionaries(
        st.sampled_from(
            [
                "specversion",
                "id",
                "source",
                "type",
                "time",
                "subject",
                "dataversion",
                "datacontenttype",
                "data",
                "data_base64",
                "traceparent",
                "Type",
                SECRET,
            ]
        ),
        ANYTHING,
    )
)
def test_what_is_said_of_an_unreadable_document_holds_no_value(changes: dict[str, Any]) -> None:
    said = ""
    try:
        CODEC.decode(json.dumps({**LEAST, **changes}))
    except CodecError as error:
        said = str(error)
    assert SECRET not in said


def test_the_place_in_broken_json_is_told_but_not_what_stands_there() -> None:
    with pytest.raises(CodecError, match="line 1 column") as caught:
        CODEC.decode('{"nome": Maria}')
    assert "Maria" not in str(caught.value)


# what is said of data that does not validate


class Cat(BaseModel):
    kind: Literal["cat"]
    name: str


class Dog(BaseModel):
    kind: Literal["dog"]
    name: str


class Home(BaseModel):
    street: str
    tags: dict[str, int] = {}


class Student(BaseModel):
    name: str
    email: EmailStr = "a@example.com"
    age: int = Field(default=7, ge=0, le=150)
    key: UUID = UUID(int=0)
    home: Home | None = None
    homes: list[Home] = []
    marks: dict[str, int] = {}
    pet: Annotated[Union[Cat, Dog], Field(discriminator="kind")] | None = None  # noqa: UP007
    level: Literal["a", "b"] = "a"

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        if name == "assert":
            raise AssertionError(name)
        if name == "custom":
            raise PydanticCustomError("unknown_student", "nobody knows {name}", {"name": name})
        if name != "Ana":
            raise ValueError(f"nobody knows {name}")
        return name


def mistake(**data: Any) -> str:
    with pytest.raises(ValidationError) as caught:
        Student.model_validate(data)
    return first_mistake(caught.value, model=Student)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({}, "data.name: field required"),
        ({"name": 3}, "data.name: input should be a valid string"),
        ({"name": "Bia"}, "data.name: refused by its validator (value_error)"),
        ({"name": "assert"}, "data.name: refused by its validator (assertion_error)"),
        ({"name": "custom"}, "data.name: refused by its validator (unknown_student)"),
        ({"name": "Ana", "email": "x"}, "data.email: refused by its validator (value_error)"),
        ({"name": "Ana", "age": 151}, "data.age: input should be less than or equal to 150"),
        ({"name": "Ana", "key": "nobody"}, "data.key: refused (uuid_parsing)"),
        (
            {"name": "Ana", "key": 3},
            "data.key: UUID input should be a string, bytes or UUID object",
        ),
        ({"name": "Ana", "level": "z"}, "data.level: input should be 'a' or 'b'"),
        ({"name": "Ana", "home": {}}, "data.home.street: field required"),
        ({"name": "Ana", "homes": [{"street": "x"}, {}]}, "data.homes.1.street: field required"),
        (
            {"name": "Ana", "marks": {"Bia": []}},
            "data.marks.[key]: input should be a valid integer",
        ),
        ({"name": "Ana", "pet": {"kind": "Bia"}}, "data.pet: refused (union_tag_invalid)"),
        ({"name": 1, "age": -1}, "data.name: input should be a valid string (1 of 2 mistakes)"),
    ],
)
def test_the_first_mistake_names_the_field_and_not_the_value(
    data: dict[str, Any], said: str
) -> None:
    assert mistake(**data) == said


def test_without_a_model_only_the_outermost_name_is_told() -> None:
    with pytest.raises(ValidationError) as caught:
        Student.model_validate({"name": "Ana", "home": {}})
    assert first_mistake(caught.value, "row") == "row.home.[key]: field required"


def test_a_mistake_of_the_whole_is_told_of_the_whole() -> None:
    with pytest.raises(ValidationError) as caught:
        Student.model_validate([SECRET])
    assert first_mistake(caught.value).startswith("data: input should be a valid dictionary")


@given(st.dictionaries(st.sampled_from([*Student.model_fields, SECRET]), ANYTHING, min_size=1))
def test_what_is_said_of_wrong_data_holds_no_value(data: dict[str, Any]) -> None:
    said = ""
    try:
        Student.model_validate(data, extra="forbid")
    except ValidationError as error:
        said = first_mistake(error, model=Student)
    assert SECRET not in said
