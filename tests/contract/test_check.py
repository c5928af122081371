"""Who breaks: each kind of change, seen by the service that it hurts."""

from __future__ import annotations

import dataclasses
import json
from typing import Annotated, Any, Literal

import pytest
from pydantic import AfterValidator, BaseModel, Field, create_model

from messaging.consuming.consumer import Consumer, handles
from messaging.contract.catalogue import Catalogue, catalogue_of
from messaging.contract.check import Finding, check, check_needs
from messaging.contract.files import written
from messaging.contract.needs import needs_of, read_needs, write_needs
from messaging.errors import ConfigurationError
from messaging.event import Event, EventData, downcast, upcast
from messaging.projection import Projection


def catalogue(
    audience: Any = "bi", *, version: int = 1, seen: Any = None, **fields: Any
) -> Catalogue:
    """An event with `fields`, and one view of it, by default with them all."""
    event: Any = create_model(
        "Happened",
        __base__=Event,
        __cls_kwargs__={"type": "x.happened", "version": version},
        **fields,
    )
    if audience is not None:
        create_model(
            "HappenedForBI",
            __base__=Projection,
            __cls_kwargs__={"of": event, "audience": audience},
            __module__=event.__module__,
            **(fields if seen is None else seen),
        )
    return catalogue_of([event], topic="t")


def told(found: list[Finding]) -> set[tuple[str, str, str]]:
    return {(one.way, one.rule, one.place) for one in found if one.breaks}


STR: Any = (str, ...)
A, B, C = Literal["a"], Literal["a", "b"], Literal["a", "b", "c"]
Inner = create_model("Inner", x=(int, ...))
InnerLess = create_model("Inner", y=(int, 0))
EVEN = Annotated[int, AfterValidator(lambda number: number)]

CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any], set[tuple[str, str, str]]]] = {
    "nothing": ({"n": STR}, {"n": STR}, set()),
    "a required field removed": (
        {"n": STR, "m": STR},
        {"n": STR},
        {("forward", "removed", "data.m")},
    ),
    "renamed": (
        {"n": STR},
        {"name": STR},
        {("forward", "removed", "data.n"), ("backward", "removed", "data.name")},
    ),
    "a new required field": (
        {"n": STR},
        {"n": STR, "m": STR},
        {("backward", "removed", "data.m")},
    ),
    "a new optional field": ({"n": STR}, {"n": STR, "m": (str | None, None)}, set()),
    "required made optional": (
        {"n": STR},
        {"n": (str, "")},
        {("forward", "required", "data.n")},
    ),
    "optional made required": (
        {"n": (str, "")},
        {"n": STR},
        {("backward", "required", "data.n")},
    ),
    "another type": (
        {"n": (int, ...)},
        {"n": STR},
        {("forward", "type", "data.n"), ("backward", "type", "data.n")},
    ),
    "widened to a number": (
        {"n": (int, ...)},
        {"n": (float, ...)},
        {("forward", "type", "data.n")},
    ),
    "a Literal widened": ({"n": (A, ...)}, {"n": (B, ...)}, {("forward", "values", "data.n")}),
    "a Literal narrowed": ({"n": (C, ...)}, {"n": (B, ...)}, {("backward", "values", "data.n")}),
    "made nullable": (
        {"n": STR},
        {"n": (str | None, ...)},
        {("forward", "type", "data.n")},
    ),
    "tightened": (
        {"n": STR},
        {"n": (Annotated[str, Field(max_length=5)], ...)},
        {("backward", "constraint", "data.n")},
    ),
    "a check in code": (
        {"n": (int, ...)},
        {"n": (EVEN, ...)},
        {("backward", "constraint", "data.n")},
    ),
    "inside a model in a list": (
        {"n": (list[Inner], ...)},
        {"n": (list[InnerLess], ...)},
        {("forward", "removed", "data.n[].x")},
    ),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_breaks_whom_it_breaks(name: str) -> None:
    old, new, expected = CHANGES[name]
    before, after = catalogue(**old), catalogue(**new)
    found = check(before, after)
    assert told(found) == expected
    assert {one.service for one in found} <= {"bi"}
    assert all(one.remedy for one in found)
    for mode in ("forward", "backward"):
        assert told(check(before, after, mode)) == {e for e in expected if e[0] == mode}  # type: ignore[arg-type] # a literal


def test_an_optional_field_that_is_removed_is_told_and_breaks_nobody() -> None:
    found = check(catalogue(n=STR, m=(str | None, None)), catalogue(n=STR))
    assert [(one.place, one.breaks) for one in found] == [("data.m", False)]


def test_a_view_that_disappeared() -> None:
    found = check(catalogue(("bi", "crm"), n=STR), catalogue("crm", n=STR))
    assert [(one.service, one.rule) for one in found] == [("bi", "audience")]
    assert "audience='bi'" in found[0].remedy


def test_an_event_that_is_gone() -> None:
    class Other(Event, type="other", version=1):
        n: str

    found = check(catalogue(n=STR), catalogue_of([Other], topic="t"))
    assert [one.said for one in found] == ["no event of this type is sent any more"]


def test_an_event_that_went_to_everyone_and_no_longer_does() -> None:
    found = check(catalogue(None, n=STR), catalogue("bi", n=STR))
    assert [(one.service, one.rule) for one in found] == [("*", "audience")]
    assert "now sent to bi only" in found[0].said


def test_a_field_of_the_event_that_the_view_does_not_show_breaks_nobody() -> None:
    assert not check(
        catalogue(n=STR, secret=STR, seen={"n": STR}), catalogue(n=STR, seen={"n": STR})
    )


class Moved(Event, type="x.happened", version=2):
    name: str

    @upcast(1)
    def _from_one(data: dict[str, Any]) -> dict[str, Any]:
        return data


class MovedForBI(Projection, of=Moved, audience="bi"):
    name: str


def test_a_new_version_is_dead_lettered_by_readers_of_the_old() -> None:
    after = catalogue_of([Moved], topic="t")
    assert told(check(catalogue(n=STR), after)) == {("forward", "version", "")}
    assert not check(catalogue(n=STR), after, "backward")  # it has an upcast


def test_a_new_version_without_an_upcast_cannot_read_what_waits() -> None:
    found = check(catalogue(n=STR), catalogue(n=STR, version=2), "backward")
    assert [one.remedy for one in found] == ["add @upcast(1) to Happened"]


def test_a_version_that_goes_down() -> None:
    found = check(catalogue(n=STR, version=2), catalogue(n=STR), "backward")
    assert "went from 2 back to 1" in found[0].said


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="known are backward, forward, full"):
        check(catalogue(n=STR), catalogue(n=STR), "both")  # type: ignore[arg-type] # on purpose


class Paid(Event, type="paid", version=1):
    student: str
    amount: int


class PaidForLibrary(Projection, of=Paid, audience="library"):
    student: str
    amount: int | None = None


class Library(Consumer):
    @handles
    def paid(self, paid: PaidForLibrary) -> None: ...


class Address(BaseModel):
    street: str


def test_needs_are_written_and_read() -> None:
    needs = needs_of(Library)
    text = written(write_needs(needs))
    assert json.loads(text)["reads"][0]["type"] == "paid"
    again = read_needs(json.loads(text), "x")
    assert again.service == "library"
    assert written(write_needs(again)) == text
    assert not check_needs([again], catalogue_of([Paid], topic="t"))


def paid(*fields: str, audience: str = "library") -> Catalogue:
    types: dict[str, Any] = {"student": (str, ...), "amount": (int, ...)}
    event: Any = create_model(
        "Paid", __base__=Event, __cls_kwargs__={"type": "paid", "version": 1}, **types
    )
    create_model(
        "View",
        __base__=Projection,
        __cls_kwargs__={"of": event, "audience": audience},
        __module__=event.__module__,
        **{name: types[name] for name in fields},
    )
    return catalogue_of([event], topic="t")


def test_a_field_that_a_service_reads_and_is_not_sent_breaks_it_even_if_optional() -> None:
    found = check_needs([needs_of(Library)], paid("student"))
    assert [(one.service, one.place, one.breaks) for one in found] == [
        ("library", "data.amount", True)
    ]


def test_a_service_that_no_view_is_for() -> None:
    found = check_needs([needs_of(Library)], paid("student", "amount", audience="bi"))
    assert [(one.way, one.rule) for one in found] == [("needs", "audience")]


def test_a_field_that_nobody_needs_may_go() -> None:
    class Small(Consumer):
        service = "library"

        @handles
        def paid(self, paid: PaidForLibrary) -> None: ...

    needs = read_needs(
        {
            "needs": 1,
            "service": "library",
            "reads": [
                {
                    "type": "paid",
                    "version": 1,
                    "schema": {"type": "object", "properties": {"student": {"type": "string"}}},
                }
            ],
        },
        "written by hand in another language",
    )
    assert not check_needs([needs], paid("student"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"asyncapi": "3.0.0"}, "a catalogue; needs were expected"),
        ([1], "no needs of a service"),
        ({"needs": 7}, "format 7"),
        ({"needs": 1, "service": "x", "reads": [{"type": "t"}]}, "damaged needs .schema"),
        ({"needs": 1, "service": "x", "reads": [{"type": "t", "schema": 1}]}, "damaged needs"),
    ],
)
def test_what_are_no_needs_is_named(given: Any, said: str) -> None:
    with pytest.raises(ConfigurationError, match=f"here: .*{said}"):
        read_needs(given, "here")


class RenamedOld(Event, type="x.renamed", version=1):
    id: str
    turma: str


class OldForBooks(Projection, of=RenamedOld, audience="books"):
    turma: str


class OldForDoor(Projection, of=RenamedOld, audience="door", since=1):
    id: str


class Renamed(Event, type="x.renamed", version=2):
    id: str
    curso: str

    @upcast(1)
    @staticmethod
    def _up(data: EventData) -> EventData:
        return data.rename("turma", "curso")

    @downcast(2)
    @staticmethod
    def _down(data: EventData) -> EventData:
        return data.rename("curso", "turma")


class PinnedForBooks(Projection, of=Renamed, audience="books", pinned=1):
    turma: str


class SameForDoor(Projection, of=Renamed, audience="door", since=1):
    id: str


class RenamedWhole(Event, type="x.renamed", version=2):
    id: str
    curso: str

    @upcast(1)
    @staticmethod
    def _up(data: EventData) -> EventData:
        return data.rename("turma", "curso")


class NewForBooks(Projection, of=RenamedWhole, audience="books"):
    curso: str


class Books(Consumer):
    service = "books"

    @handles
    def renamed(self, event: NewForBooks) -> None: ...


def test_a_view_that_is_pinned_or_did_not_change_breaks_nobody() -> None:
    before = catalogue_of([RenamedOld], topic="t")
    after = catalogue_of([Renamed], topic="t")
    assert {view.name: view.version for view in after.views} == {
        "PinnedForBooks": 1,
        "SameForDoor": 1,
    }
    assert check(before, after) == []


def test_a_service_that_brings_the_pinned_version_up_is_not_named() -> None:
    needs = read_needs(json.loads(written(write_needs(needs_of(Books)))), "here")
    assert needs.reads[0].reads == (1,)
    assert check_needs([needs], catalogue_of([Renamed], topic="t")) == []
    without = dataclasses.replace(needs, reads=(dataclasses.replace(needs.reads[0], reads=()),))
    (found,) = check_needs([without], catalogue_of([Renamed], topic="t"))
    assert (found.service, found.place) == ("books", "data.curso")
