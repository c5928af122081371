"""An event's declaration, and the road up from older versions."""

from __future__ import annotations

from enum import Enum
from typing import Any, Generic, TypeVar

import pytest
from pydantic import ValidationError

from messaging.errors import CodecError, ConfigurationError, EventError
from messaging.event import Event, upcast

Given = TypeVar("Given")


class Enrolled(Event, type="student.enrolled", version=3, subject="id", group="school"):
    id: int
    school: str
    course: str
    fee: int = 0

    @upcast(1)
    def _class_is_a_course(data: dict[str, Any]) -> dict[str, Any]:
        data["course"] = data.pop("class")
        return data

    @upcast(2)
    def _fee_in_cents(data: dict[str, Any]) -> dict[str, Any]:
        if "fee" in data:
            data["fee"] *= 100
        return data


def test_an_event_says_its_type_version_subject_and_group() -> None:
    assert Enrolled.event_type == "student.enrolled"
    assert Enrolled.event_version == 3
    assert Enrolled.event_subject == "id"
    assert Enrolled.group_of(Enrolled(id=1, school="north", course="piano")) == "north"


def test_an_event_is_frozen() -> None:
    event = Enrolled(id=1, school="north", course="piano")
    with pytest.raises(ValidationError, match="frozen"):
        event.fee = 3  # type: ignore[misc]


def test_a_mistyped_field_is_refused_where_the_event_is_made() -> None:
    with pytest.raises(ValidationError, match="cuorse"):
        Enrolled.model_validate({"id": 1, "school": "n", "course": "p", "cuorse": "x"})


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    class Paid(Event, type="paid", version=1):
        amount: float

    with pytest.raises(ValidationError, match="finite"):
        Paid(amount=number)


@pytest.mark.parametrize(
    "name",
    ["", "two words", "é", ".leading", "trailing.", "two..dots", "x" * 151, 7, "line\n"],
)
def test_a_type_that_is_not_dotted_words_is_refused(name: Any) -> None:
    with pytest.raises(EventError, match=r'Wrong: type=.*like "aluno.cadastrado"'):
        type(Event)("Wrong", (Event,), {"__module__": __name__}, type=name, version=1)


@pytest.mark.parametrize("version", [None, 0, -1, "1", 1.0, True])
def test_a_version_that_is_no_whole_number_from_1_is_refused(version: Any) -> None:
    with pytest.raises(EventError, match=r"version=.* must be a whole number from 1"):

        class Wrong(Event, type="wrong", version=version):
            pass


@pytest.mark.parametrize("keyword", ["subject", "group"])
def test_a_subject_or_group_that_is_no_field_is_refused_with_the_fields_there_are(
    keyword: str,
) -> None:
    named = {keyword: "nome"}
    with pytest.raises(EventError, match=rf"{keyword}='nome' is not one of its fields \(name, id"):

        class Wrong(Event, type="wrong", version=1, **named):  # type: ignore[call-arg, misc]
            name: str
            id: int


@pytest.mark.parametrize("keyword", [{"version": 1}, {"subject": "x"}, {"group": "x"}])
def test_other_keywords_need_a_type(keyword: dict[str, Any]) -> None:
    with pytest.raises(EventError, match="need type="):

        class Wrong(Event, **keyword):
            x: int


def test_a_declaration_error_is_a_configuration_error_and_a_type_error() -> None:
    assert issubclass(EventError, ConfigurationError)
    assert issubclass(EventError, TypeError)


def test_a_class_without_type_is_abstract_and_lends_its_fields_and_upcasts() -> None:
    class WithSchool(Event):
        school: str

        @upcast(1)
        def _town_is_a_school(data: dict[str, Any]) -> dict[str, Any]:
            return {**data, "school": data["town"]}

    class Opened(WithSchool, type="opened", version=2):
        pass

    assert WithSchool.event_type == ""
    assert Opened.bring_up({"town": "Olinda"}, 1)["school"] == "Olinda"


def test_a_subclass_with_a_type_of_its_own_has_a_road_of_its_own() -> None:
    class Changed(Enrolled, type="student.changed", version=1):
        pass

    assert (Changed.event_type, Changed.event_version) == ("student.changed", 1)
    assert Changed.event_subject is None
    with pytest.raises(CodecError, match="newer"):
        Changed.bring_up({}, 2)


def test_a_subclass_without_a_type_is_no_event() -> None:
    class Sketch(Enrolled):
        pass

    assert Sketch.event_type == ""


def test_a_generic_event_is_the_same_event_with_its_parameter_filled_in() -> None:
    class Noted(Event, Generic[Given], type="noted", version=1):
        value: Given

    assert Noted[int].event_type == "noted"
    assert Noted[int](value=3).model_dump() == {"value": 3}


def test_the_group_of_an_enum_is_its_value_and_of_none_a_group_of_its_own() -> None:
    class Level(Enum):
        first = "1st"

    class Moved(Event, type="moved", version=1, group="level"):
        level: Level | None

    assert Moved.group_of(Moved(level=Level.first)) == "1st"
    assert Moved.group_of(Moved(level=None)) == "None"


# the road up


def test_old_data_passes_every_upcast_in_turn() -> None:
    old = {"id": 1, "school": "n", "class": "piano", "fee": 2}
    assert Enrolled.bring_up(old, 1) == {"id": 1, "school": "n", "course": "piano", "fee": 200}
    assert old["class"] == "piano", "the data that came in is not changed"


def test_data_of_the_present_version_is_left_alone() -> None:
    data = {"anything": 1}
    assert Enrolled.bring_up(data, 3) is data


def test_an_upcast_may_meet_data_without_the_fields_that_its_view_lacks() -> None:
    assert Enrolled.bring_up({"class": "piano"}, 1) == {"course": "piano"}


def test_a_newer_version_says_both_versions_and_the_remedy() -> None:
    with pytest.raises(CodecError, match=r"version 4 is newer than version 3.*deploy"):
        Enrolled.bring_up({}, 4)


def test_a_version_that_nothing_brings_up_names_the_missing_upcast() -> None:
    class Late(Event, type="late", version=3):
        @upcast(2)
        def _up(data: dict[str, Any]) -> dict[str, Any]:
            return data

    with pytest.raises(CodecError, match=r"from version 1 to 2; add @upcast\(1\)"):
        Late.bring_up({}, 1)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (None, "null"),
        ([1], "a list"),
        ("x", "a string"),
        (True, "true or false"),
        (1.5, "a number"),
    ],
)
def test_old_data_that_is_no_object_says_what_it_is(data: Any, said: str) -> None:
    with pytest.raises(CodecError, match=f"data: an object was expected, not {said}"):
        Enrolled.bring_up(data, 1)


def test_a_missing_field_in_an_upcast_is_named() -> None:
    with pytest.raises(CodecError, match=r"KeyError \(no field 'class'\) in @upcast\(1\)"):
        Enrolled.bring_up({"nome": "class"}, 1)


@pytest.mark.parametrize("data", [{"where": "Ana"}, {"where": {"name": "Ana"}}, {"where": ["Ana"]}])
def test_what_an_upcast_raises_never_quotes_the_data(data: dict[str, Any]) -> None:
    class Placed(Event, type="placed", version=2):
        @upcast(1)
        def _up(data: dict[str, Any]) -> dict[str, Any]:
            where = data["where"]
            if isinstance(where, str):
                raise ValueError(f"cannot place {where}")
            name = where["name"] if isinstance(where, dict) else where[0]
            return {"place": {"north": 1}[name]}

    with pytest.raises(CodecError) as caught:
        Placed.bring_up(data, 1)
    assert "Ana" not in caught.value.reason
    assert "@upcast(1) of placed" in caught.value.reason


def test_an_upcast_that_forgets_to_return_is_told() -> None:
    class Forgot(Event, type="forgot", version=2):
        @upcast(1)
        def _up(data: dict[str, Any]) -> None:
            pass

    with pytest.raises(CodecError, match=r"@upcast\(1\) of forgot returned null, not a dict"):
        Forgot.bring_up({}, 1)


@pytest.mark.parametrize("version", [0, -1, "1", None])
def test_an_upcast_starts_from_a_number(version: Any) -> None:
    with pytest.raises(EventError, match="the version it starts from"):
        upcast(version)


def test_a_gap_in_the_road_is_found_when_the_class_is_made() -> None:
    with pytest.raises(EventError, match=r"from version 1 to 3 have a gap: add @upcast\(2"):

        class Gap(Event, type="gap", version=3):
            @upcast(1)
            def _up(data: dict[str, Any]) -> dict[str, Any]:
                return data


def test_an_upcast_beyond_the_event_is_found_when_the_class_is_made() -> None:
    with pytest.raises(EventError, match=r"leads to version 3, but the event is at version 2"):

        class Beyond(Event, type="beyond", version=2):
            @upcast(2)
            def _up(data: dict[str, Any]) -> dict[str, Any]:
                return data


def test_two_upcasts_of_one_step_are_found_when_the_class_is_made() -> None:
    with pytest.raises(EventError, match=r"two functions are marked @upcast\(1\)"):

        class Twice(Event, type="twice", version=2):
            @upcast(1)
            def _one(data: dict[str, Any]) -> dict[str, Any]:
                return data

            @upcast(1)
            def _two(data: dict[str, Any]) -> dict[str, Any]:
                return data


def test_an_upcast_above_classmethod_has_the_class() -> None:
    class Named(Event, type="named", version=2):
        @upcast(1)
        @classmethod
        def _up(cls, data: dict[str, Any]) -> dict[str, Any]:
            return {**data, "by": cls.event_type}

    assert Named.bring_up({}, 1) == {"by": "named"}


@pytest.mark.parametrize("above", [staticmethod, classmethod])
def test_a_hidden_upcast_is_refused_rather_than_forgotten(above: Any) -> None:
    with pytest.raises(EventError, match=f"write @upcast above @{above.__name__}"):

        class Hidden(Event, type="hidden", version=2):
            @above
            @upcast(1)
            def _up(data: dict[str, Any]) -> dict[str, Any]:
                return data
