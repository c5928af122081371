"""Events and views look at the domain of an e-mail address once, and validate as pydantic does."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Callable
from typing import Annotated

import pytest
from pydantic import BaseModel, EmailStr, TypeAdapter, ValidationError
from pydantic_core import SchemaValidator

from messaging.event import Discreet, Event
from messaging.projection import Projection

# Pydantic 2.12 cannot be told to make another validator of a class: nothing is remembered there.
REMEMBERS = "use_prebuilt" in (SchemaValidator.__text_signature__ or "")


class Guardian(Discreet, BaseModel):
    email: EmailStr


class Enrolled(Event, type="addresses.enrolled", version=1):
    email: Annotated[EmailStr, "personal"]
    others: tuple[EmailStr | None, ...] = ()
    guardian: Guardian | None = None


class ForMail(Projection, of=Enrolled, audience="mail"):
    email: EmailStr


class Numbered(Event, type="addresses.numbered", version=1):
    number: int


def looked_at(work: Callable[[], object]) -> int:
    """How many domains were looked at."""
    with cProfile.Profile() as profile:
        work()
    calls = {
        name: count
        for (_, _, name), (count, *_) in pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]  # it has no types
    }
    return int(calls.get("validate_email_domain_name", 0))


def test_a_domain_is_looked_at_once_however_an_event_is_made() -> None:
    def make() -> None:
        for number in range(50):
            event = Enrolled(
                email=f"a{number}@once.example.com",
                others=("b@once.example.com", None),
                guardian=Guardian.model_construct(email="c@once.example.com"),
            )
            Enrolled.model_validate_json(event.model_dump_json())
            Enrolled.model_validate({"email": f"A{number}@once.example.com"})

    assert looked_at(make) == (1 if REMEMBERS else 300)


def test_a_view_looks_at_a_domain_once() -> None:
    def read() -> None:
        for number in range(50):
            ForMail.model_validate_json(f'{{"email": "a{number}@view.example.com"}}')

    assert looked_at(read) == (1 if REMEMBERS else 50)


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"email": "nobody"},
        {"email": "a@b@example.com", "others": ["a@exa_mple.com", 3]},
        {"email": "a@example.com", "unknown": 1},
        {"email": "a@example.com", "guardian": {"email": "x@-a.com"}},
        {"email": 1},
    ],
)
def test_mistakes_are_told_as_pydantic_tells_them(data: dict[str, object]) -> None:
    schema = Enrolled.__pydantic_core_schema__
    told = {"_use_prebuilt": False} if REMEMBERS else {}
    plain = SchemaValidator(schema, schema["config"], **told)  # type: ignore[typeddict-item]  # a model's
    for _ in range(2):
        with pytest.raises(ValidationError) as wanted:
            plain.validate_python(data)
        with pytest.raises(ValidationError) as found:
            Enrolled.model_validate(data)
        assert str(found.value) == str(wanted.value)
        assert found.value.errors(include_context=False) == wanted.value.errors(
            include_context=False
        )


def test_a_class_is_as_it_was() -> None:
    event = Enrolled(email="Ana@EXAMPLE.com")
    assert event.email == "Ana@example.com"
    assert event.model_fields_set == {"email"}
    assert event == Enrolled.model_validate_strings({"email": "Ana@example.com"})
    with pytest.raises(ValidationError):
        event.email = "b@example.com"  # type: ignore[misc]  # that is what is tried
    assert TypeAdapter(list[Enrolled]).validate_python([{"email": "a@b.com"}])[0].email == "a@b.com"


def test_without_an_address_pydantic_s_own_validator_stays() -> None:
    schema = Numbered.__pydantic_core_schema__
    assert Numbered(number=1).number == 1
    assert "address" not in repr(Numbered.__pydantic_validator__).lower()
    assert schema["type"] == "model"
