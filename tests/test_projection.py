"""What one service may see of an event."""

from __future__ import annotations

import sys
import types
from decimal import Decimal
from typing import Annotated, Any, Generic, TypeVar

import pytest
from pydantic import BaseModel, Field, StringConstraints, ValidationError

from messaging.errors import EventError
from messaging.event import Event
from messaging.projection import EVERYONE, Copy, Projection, views

Given = TypeVar("Given")


class Enrolled(Event, type="student.enrolled", version=1):
    id: int
    name: str
    email: str | None = None
    fee: Decimal | None = None
    consent: bool = False


class ForMail(Projection, of=Enrolled, audience="mail"):
    id: int
    name: str

    @classmethod
    def wanted(cls, event: Enrolled) -> bool:
        return event.consent


class ForBooks(Projection, of=Enrolled, audience=("books", "audit")):
    id: int
    fee: Decimal | None


class ForDoor(Projection, of=Enrolled, audience="door"):
    name: str
    id: int


def test_services_that_see_the_same_fields_share_a_copy() -> None:
    assert list(views(Enrolled(id=1, name="Ana", consent=True))) == [
        Copy(("mail", "door"), frozenset({"id", "name"})),
        Copy(("books", "audit"), frozenset({"id", "fee"})),
    ]


def test_a_view_that_declines_is_no_audience() -> None:
    assert list(views(Enrolled(id=1, name="Ana"))) == [
        Copy(("books", "audit"), frozenset({"id", "fee"})),
        Copy(("door",), frozenset({"id", "name"})),
    ]


def test_an_event_that_every_view_declines_is_no_copy() -> None:
    class Quiet(Event, type="quiet", version=1):
        x: int

    class QuietForMail(Projection, of=Quiet, audience="mail"):
        x: int

        @classmethod
        def wanted(cls, event: Any) -> bool:
            return False

    assert not views(Quiet(x=1))


def test_an_event_without_views_is_one_copy_for_everyone() -> None:
    class Open(Event, type="open", version=1):
        x: int

    assert list(views(Open(x=1))) == [Copy((EVERYONE,), None)]


def test_a_view_of_an_event_is_what_its_audience_would_receive() -> None:
    event = Enrolled(id=1, name="Ana", fee=Decimal("10.50"))
    assert ForBooks.from_event(event) == ForBooks(id=1, fee=Decimal("10.50"))


def test_a_view_of_another_event_is_refused() -> None:
    class Other(Event, type="other", version=1):
        id: int

    with pytest.raises(EventError, match=r"ForBooks is a view of Enrolled, not of .*Other"):
        ForBooks.from_event(Other(id=1))


def test_a_view_is_frozen_and_knows_no_other_fields() -> None:
    with pytest.raises(ValidationError, match="extra"):
        ForMail.model_validate({"id": 1, "name": "Ana", "fee": 3})
    with pytest.raises(ValidationError, match="frozen"):
        ForMail(id=1, name="Ana").name = "Bia"  # type: ignore[misc]


def test_a_parametrised_event_is_sent_only_as_the_views_of_its_event() -> None:
    class Graded(Event, Generic[Given], type="graded", version=1):
        grade: Given
        name: str

    class GradedForBoard(Projection, of=Graded, audience="board"):
        name: str

    assert list(views(Graded[int](grade=3, name="Ana"))) == [Copy(("board",), frozenset({"name"}))]


def test_an_event_does_not_inherit_the_views_of_its_base() -> None:
    class Moved(Enrolled, type="student.moved", version=1):
        pass

    assert list(views(Moved(id=1, name="Ana"))) == [Copy((EVERYONE,), None)]


def test_shared_fields_stand_in_an_abstract_view() -> None:
    class Fields(Projection):
        id: int

    class ForLift(Fields, of=Enrolled, audience="lift"):
        pass

    try:
        assert ForLift.audience == ("lift",)
        assert Fields.audience == ()
        assert Fields not in Enrolled.__projections__
    finally:
        Enrolled.__projections__.remove(ForLift)


def test_a_subclass_of_a_view_without_keywords_is_for_nobody() -> None:
    class More(ForMail):
        email: str | None = None

    assert More.audience == ()
    assert ForMail.audience == ("mail",)


def test_views_made_by_one_function_are_two_views() -> None:
    class Made(Event, type="made", version=1):
        a: int
        b: int

    def first() -> None:
        class View(Projection, of=Made, audience="one"):
            a: int

    def made(audience_: str) -> None:
        class View(Projection, of=Made, audience=audience_):
            b: int

    first()
    made("two")
    made("three")
    assert list(views(Made(a=1, b=2))) == [
        Copy(("one",), frozenset({"a"})),
        Copy(("two", "three"), frozenset({"b"})),
    ]


def test_a_module_that_is_loaded_again_declares_its_view_anew() -> None:
    module = types.ModuleType("loaded_twice")
    sys.modules["loaded_twice"] = module
    try:
        head = "from messaging.event import Event\nfrom messaging.projection import Projection\n"
        event = "class E(Event, type='e', version=1):\n    a: int\n    b: int\n"
        view = "class V(Projection, of=E, audience='x'):\n    {}: int\n"
        exec(head + event + view.format("a"), module.__dict__)
        exec(view.format("b"), module.__dict__)
        assert list(views(module.E(a=1, b=2))) == [Copy(("x",), frozenset({"b"}))]
    finally:
        del sys.modules["loaded_twice"]


# what is refused when the class is made


def test_an_unknown_field_names_both_sides_and_the_fields_there_are() -> None:
    with pytest.raises(
        EventError, match=r"Wrong\.nome: Enrolled has no field 'nome'; it has id, name, email"
    ):

        class Wrong(Projection, of=Enrolled, audience="x"):
            nome: str


def test_a_type_that_the_event_would_not_satisfy_names_both_sides_and_the_remedy() -> None:
    with pytest.raises(
        EventError,
        match=r"Wrong\.email is str, but Enrolled\.email is str \| None, which may hold what str "
        r"refuses; declare `email: str \| None`",
    ):

        class Wrong(Projection, of=Enrolled, audience="x"):
            email: str


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (Annotated[str, StringConstraints(max_length=3)], "StringConstraints"),
        (Annotated[str, Field(max_length=3)], "MaxLen"),
    ],
)
def test_a_constraint_that_the_event_lacks_is_refused(annotation: Any, said: str) -> None:
    with pytest.raises(EventError, match=rf"\.name is Annotated\[str, {said}.*declare `name: str`"):
        type(Projection)(
            "Wrong",
            (Projection,),
            {"__module__": __name__, "__annotations__": {"name": annotation}},
            of=Enrolled,
            audience="x",
        )


def test_a_nested_model_must_be_the_events_own() -> None:
    class Address(BaseModel):
        street: str
        number: int

    class Street(BaseModel):
        street: str

    class Moved(Event, type="moved", version=1):
        to: Address

    with pytest.raises(EventError, match=r"Wrong\.to is .*Street, but .*Moved\.to is .*Address"):

        class Wrong(Projection, of=Moved, audience="x"):
            to: Street


def test_a_view_of_something_that_is_no_event_is_refused() -> None:
    class Abstract(Event):
        x: int

    for wrong in (Abstract, int, None, "Enrolled"):
        with pytest.raises(EventError, match=r"Wrong: of=.* is not an event; declare it with"):

            class Wrong(Projection, of=wrong, audience="x"):  # type: ignore[arg-type]
                pass


@pytest.mark.parametrize(
    "audience", [None, "", (), [], "Mail", "with space", "x" * 51, ("mail", 3), "é", "mail\n", "*"]
)
def test_an_audience_that_is_no_service_name_is_refused(audience: Any) -> None:
    with pytest.raises(EventError, match="audience"):

        class Wrong(Projection, of=Enrolled, audience=audience):
            id: int


def test_an_audience_that_names_a_service_twice_is_refused() -> None:
    with pytest.raises(EventError, match="names a service twice"):

        class Wrong(Projection, of=Enrolled, audience=("x", "x")):
            id: int


def test_two_views_for_one_service_are_refused() -> None:
    with pytest.raises(
        EventError, match=r"Wrong and ForMail are both for mail: a service sees an event in one way"
    ):

        class Wrong(Projection, of=Enrolled, audience=("mail", "x")):
            id: int


def test_a_view_in_another_module_than_its_event_is_refused_with_the_reason() -> None:
    with pytest.raises(EventError, match=r"stands in elsewhere, but its event Enrolled in .*move"):
        type(Projection)(
            "Far", (Projection,), {"__module__": "elsewhere"}, of=Enrolled, audience="x"
        )
