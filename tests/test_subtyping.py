"""Would every value of one type be accepted by another?"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Any, Literal, Optional, Union
from uuid import UUID

import pytest
from annotated_types import MaxLen
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    EmailStr,
    Field,
    PositiveInt,
    StringConstraints,
    TypeAdapter,
    create_model,
)

from messaging.subtyping import declared, satisfies, spell


def _same(text: str) -> str:
    return text


CPF = Annotated[str, AfterValidator(_same)]


class Colour(StrEnum):
    red = "red"


class Plain(Enum):
    one = 1


class Address(BaseModel):
    street: str


class Same(BaseModel):
    street: str


class Optional_(BaseModel):
    street: str | None


class Longer(BaseModel):
    street: str
    number: int


class Short(BaseModel):
    street: Annotated[str, MaxLen(3)]


GOOD = [
    (int, int),
    (int, Any),
    (str, object),
    (int, float),
    (int, Decimal),
    (bool, int),
    (str, str | None),
    (str | None, Optional[str]),  # noqa: UP045
    (Union[str, int], int | str),  # noqa: UP007
    (None, str | None),
    (EmailStr, str),
    (EmailStr, str | None),
    (AwareDatetime, datetime),
    (CPF, str),
    (CPF, CPF),
    (CPF | None, CPF | None),
    (CPF | None, str | None),
    (PositiveInt, int),
    (Annotated[str, MaxLen(3)], Annotated[str, MaxLen(3)]),
    (Annotated[str, Field(max_length=3)], Annotated[str, Field(max_length=3, title="x")]),
    (str, Annotated[str, "a remark"]),
    (list[int], list[int]),
    (list[int], list),
    (list[EmailStr], list[str]),
    (dict[str, int], dict[str, float]),
    (tuple[int, ...], tuple[int, ...]),
    (Literal["a"], Literal["a", "b"]),
    (Literal["a"], str),
    (Colour, str),
    (Colour, Colour),
    (Plain, int),
    (Address, Same),
    (Short, Address),
    (UUID, UUID),
]
BAD = [
    (str, int),
    (float, int),
    (str | None, str),
    (str | int, str),
    (str, EmailStr),
    (datetime, AwareDatetime),
    (datetime, date),
    (str, CPF),
    (str | None, CPF | None),
    (int, PositiveInt),
    (str, Annotated[str, MaxLen(3)]),
    (Annotated[str, MaxLen(4)], Annotated[str, MaxLen(3)]),
    (list[str], list[EmailStr]),
    (list, list[int]),
    (list[int], set[int]),
    (tuple[int, ...], tuple[int, int]),
    (Literal["a", "b"], Literal["a"]),
    (str, Literal["a"]),
    (str, Colour),
    (Plain, str),
    (Longer, Address),
    (Address, Longer),
    (Optional_, Address),
    (Address, Short),
    (None, str),
]


def _id(pair: Any) -> str:
    return spell(pair)


@pytest.mark.parametrize(("given", "wanted"), GOOD, ids=_id)
def test_satisfies(given: Any, wanted: Any) -> None:
    assert satisfies(given, wanted)


@pytest.mark.parametrize(("given", "wanted"), BAD, ids=_id)
def test_does_not_satisfy(given: Any, wanted: Any) -> None:
    assert not satisfies(given, wanted)


VALUES: list[Any] = [
    "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    ["ana@example.com"],
    {"street": "a"},
    0,
    1,
    -3,
    1.5,
    True,
    None,
    "a",
    "red",
    "",
    "ana@example.com",
    [1],
    ["a"],
    {},
    {"a": 1},
    "2026-01-05",
    "2026-01-05T10:00:00",
    "2026-01-05T10:00:00Z",
]


@pytest.mark.parametrize(("given", "wanted"), GOOD, ids=_id)
def test_what_satisfies_is_in_fact_accepted_through_json(given: Any, wanted: Any) -> None:
    """pydantic itself as the judge: whatever it takes as the one, it takes as the other."""
    one, other = TypeAdapter(given), TypeAdapter(wanted)
    taken = 0
    for value in [
        *VALUES,
        ["ana@example.com"],
        {"street": "a"},
        "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    ]:
        try:
            validated = one.validate_python(value)
        except ValueError:
            continue
        taken += 1
        other.validate_json(one.dump_json(validated))
    assert taken, f"none of the values is a {spell(given)}: the test says nothing"


@pytest.mark.parametrize(
    ("annotation", "said"),
    [
        (str, "str"),
        (None, "None"),
        (str | None, "str | None"),
        (Optional[EmailStr], "EmailStr | None"),  # noqa: UP045
        (list[int], "list[int]"),
        (CPF, "Annotated[str, AfterValidator]"),
        (Annotated[str, MaxLen(3)], "Annotated[str, MaxLen(max_length=3)]"),
        (Literal["a"], "Literal['a']"),
        (Address, "Address"),
    ],
)
def test_a_type_is_spelled_as_one_writes_it(annotation: Any, said: str) -> None:
    assert spell(annotation) == said


def test_what_a_field_was_declared_as_includes_its_constraints() -> None:
    model = create_model("M", a=(Annotated[str, StringConstraints(max_length=3)], ...), b=(int, 3))
    assert not satisfies(str, declared(model.model_fields["a"]))
    assert declared(model.model_fields["b"]) is int
