"""Single cases of what is compared before an event is sent, each by its own value."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer

from messaging.declaration import Doubts
from messaging.errors import PublishError, RoundTripError
from messaging.event import Event, EventData, downcast
from messaging.projection import Copy, Projection
from messaging.publishing.roundtrip import RoundTrip, _Differences, _readers, pinned_data

NONE = Doubts(each=False, nan=False, sequence=False, classes=frozenset())
ALL = Copy(audience=("*",), fields=None)


def first(sent: Any, got: Any, *, known: frozenset[type] | None = None) -> str | None:
    return _Differences(NONE, known).first(sent, got, "x")


class Numbered(Event, type="numbered", version=1):
    number: Annotated[int, PlainSerializer(lambda value: min(value, 1000))]


def dues(trip: RoundTrip, times: int) -> list[int]:
    found = []
    for number in range(times):
        trip(Numbered(number=number), b'{"number":%d}' % number)
        found.append(trip.due)
    return found


RARER = [0] * 7 + [1, 2, 4, 8, 16, 32, 64, 128, 256, 256, 256]


def test_the_first_eight_are_looked_at_and_then_one_in_twice_as_many_up_to_256() -> None:
    assert dues(RoundTrip(Numbered, ALL), len(RARER)) == RARER


def test_after_a_refusal_the_next_eight_are_looked_at_as_the_first_were() -> None:
    trip = RoundTrip(Numbered, ALL)
    assert dues(trip, 12) == RARER[:12]
    with pytest.raises(RoundTripError, match=r"Numbered\.number would arrive as another value"):
        trip(Numbered(number=2000), b'{"number":1000}')
    assert dues(trip, len(RARER)) == RARER


class Open(Event, type="open", version=1):
    model_config = ConfigDict(extra="allow")

    number: int


def test_an_event_with_extra_fields_is_refused_where_the_event_itself_is_read() -> None:
    trip = RoundTrip(Open, ALL)
    trip(Open(number=1), b'{"number":1}')
    with pytest.raises(RoundTripError, match="Open would arrive without its extra fields"):
        trip(Open.model_validate({"number": 1, "y": 2}), b'{"number":1,"y":2}')


class Grown(Event, type="grown", version=2):
    full: str
    day: date

    @downcast(2)
    def without_day(data: EventData) -> EventData:
        del data["day"]
        return data.rename("full", "name")


class GrownForOld(Projection, of=Grown, audience="old", pinned=1):
    name: str = Field(serialization_alias="nome")


class GrownForOdd(Projection, of=Grown, audience="odd", pinned=1):
    name: Annotated[str, PlainSerializer(lambda value: object(), when_used="json")]


def test_an_older_version_is_written_by_the_names_of_its_fields() -> None:
    event = Grown(full="Ana", day=date(2026, 11, 29))
    assert pinned_data(event, GrownForOld) == b'{"name":"Ana"}'


def test_an_older_version_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(PublishError, match="Grown"):
        pinned_data(Grown(full="Ana", day=date(2026, 11, 29)), GrownForOdd)


class Seen(Event, type="seen", version=1):
    a: int
    b: int


class SeenByOne(Projection, of=Seen, audience="one"):
    a: int


class SeenByTwo(Projection, of=Seen, audience="two"):
    a: int
    b: int


class SeenByThree(Projection, of=Seen, audience="three"):
    a: int


def test_a_copy_is_read_as_the_views_of_its_audience_have_it() -> None:
    of_one = Copy(audience=("one", "three"), fields=frozenset({"a"}))
    assert _readers(Seen, of_one) == [SeenByOne, SeenByThree]
    assert _readers(Seen, replace(of_one, audience=("one",))) == [SeenByOne]
    assert _readers(Seen, ALL) == (Seen,)


class Street(BaseModel):
    name: str


def test_a_model_that_would_arrive_as_a_mapping_is_told() -> None:
    sent = Street(name="a")
    told = "x would arrive as dict where Street is sent"
    assert first(sent, {"name": "a"}, known=frozenset()) == told


class Level(StrEnum):
    LOW = "low"


def test_a_name_of_a_text_is_as_good_as_the_text() -> None:
    assert first(Level.LOW, "low") is None
    assert first(Level.LOW, "high") == "x would arrive as another value"


def test_members_of_a_set_that_are_equal_and_of_another_class_are_told() -> None:
    assert first({1}, {True}) == "x[member] would arrive as bool where int is sent"
    assert first({1}, {2}) == "x would arrive with other members"
    assert first({1}, {1}) is None


@dataclass
class Point:
    n: int


def test_fields_of_a_dataclass_that_are_equal_and_of_another_class_are_told() -> None:
    assert first(Point(1), Point(True)) == "x.n would arrive as bool where int is sent"
    assert first(Point(1), Point(1)) is None


class Own:
    """Compares by its number alone, whatever else it holds."""

    def __init__(self, number: int, note: str) -> None:
        self.number, self.note = number, note

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own) and self.number == other.number

    __hash__ = None  # type: ignore[assignment]


def test_a_class_that_says_what_is_equal_is_asked_and_not_looked_into() -> None:
    assert first(Own(1, "a"), Own(1, "b")) is None
    assert first(Own(1, "a"), Own(2, "a")) == "x would arrive as another value"


class Bare:
    __slots__ = ()


def test_what_cannot_be_compared_or_looked_into_is_another_value() -> None:
    assert first(Bare(), Bare()) == "x would arrive as another value"


class Hostile:
    def __eq__(self, other: object) -> bool:
        raise RuntimeError

    __hash__ = None  # type: ignore[assignment]


def test_a_class_that_raises_when_it_is_compared_is_another_value() -> None:
    assert first(Hostile(), Hostile()) == "x would arrive as another value"
