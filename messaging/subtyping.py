"""Compares annotations: would every value of one type be accepted by another?

It also finds the classes that a model is composed of."""

from __future__ import annotations

import functools
import types
from collections.abc import Collection, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from messaging.personal import Personal

__all__ = ["classes_of", "declared", "satisfies", "spell"]


@functools.cache
def _wider() -> Mapping[Any, tuple[Any, ...]]:
    """The types of validated values that differ from the annotated class."""
    # A function, because naming EmailStr makes pydantic load it with all kinds of URLs, and a view
    # with its event's types does not need it.
    return {
        pydantic.EmailStr: (str,),
        pydantic.AwareDatetime: (datetime,),
        pydantic.NaiveDatetime: (datetime,),
        pydantic.PastDatetime: (datetime,),
        pydantic.FutureDatetime: (datetime,),
        pydantic.PastDate: (date,),
        pydantic.FutureDate: (date,),
        # numbers that JSON does not distinguish
        int: (float, Decimal),
    }


def declared(field: FieldInfo) -> Any:
    """The declared type of `field`, including its constraints, which pydantic stores separately."""
    if not field.metadata:
        return field.annotation
    made: Any = Annotated  # a value here, not an annotation for a type checker
    return made[(field.annotation, *field.metadata)]


def classes_of(model: type[BaseModel]) -> Iterator[type]:
    """All classes that the fields of `model`, and of nested models, are declared as; starting with
    itself."""
    seen: set[Any] = set()
    todo: list[Any] = [model]
    while todo:
        annotation = todo.pop()
        todo += get_args(annotation)
        if not isinstance(annotation, type) or annotation in seen:
            continue
        seen.add(annotation)
        yield annotation
        todo += [field.annotation for field in getattr(annotation, "model_fields", {}).values()]


def satisfies(given: Any, wanted: Any) -> bool:
    """True if any value that validates as `given` will validate as `wanted`, after JSON.

    Conservative: False if it cannot be shown. A constraint on `wanted` (a length, a bound, a
        validator) must also be on `given`.
    """
    given, wanted = _alias(given), _alias(wanted)
    if wanted is Any or wanted is object or given == wanted:
        return True
    whole = given
    given, has = _constraints(given)
    wanted, needs = _constraints(wanted)
    if not all(any(_same(need, one) for one in has) for need in needs):
        return False
    if _is_union(given):
        return all(satisfies(member, wanted) for member in get_args(given))
    if _is_union(wanted):
        # As a whole: a member may require the constraints of `given`.
        return any(satisfies(whole, member) for member in get_args(wanted))
    if get_origin(given) is Literal:
        return _literal_satisfies(get_args(given), wanted)
    if get_origin(wanted) is Literal:
        return False
    if get_origin(given) or get_origin(wanted):
        return _generic_satisfies(given, wanted)
    return _class_satisfies(given, wanted)


def spell(annotation: Any) -> str:
    """`annotation` as written in code: `str | None`, `list[int]`, `EmailStr`."""
    if annotation is None or annotation is type(None):
        return "None"
    if _is_union(annotation):
        return " | ".join(spell(member) for member in get_args(annotation))
    if get_origin(annotation) is Annotated:
        inner, *metadata = get_args(annotation)
        shown = [
            type(one).__name__ if " at 0x" in repr(one) else repr(one) for one in _flat(metadata)
        ]
        return f"Annotated[{', '.join([spell(inner), *shown])}]" if shown else spell(inner)
    if isinstance(annotation, type) and not get_origin(annotation):
        return annotation.__qualname__
    return str(annotation).replace("typing.", "")


def _alias(annotation: Any) -> Any:
    # resolve None, and `type CPF = ...` of Python 3.12 and later
    if annotation is None:
        return type(None)
    value = getattr(annotation, "__value__", None)
    return annotation if value is None or isinstance(annotation, type) else value


def _constraints(annotation: Any) -> tuple[Any, Collection[Any]]:
    if get_origin(annotation) is not Annotated:
        return annotation, ()
    inner, *metadata = get_args(annotation)
    return _alias(inner), _flat(metadata)


def _flat(metadata: Collection[Any]) -> list[Any]:
    flat: list[Any] = []
    for item in metadata:
        flat.extend(item.metadata if isinstance(item, FieldInfo) else [item])
    # A plain string or a personal-data mark constrains nothing.
    return [item for item in flat if not isinstance(item, str | Personal)]


def _same(one: object, other: object) -> bool:
    # Some of pydantic's own metadata objects are only equal to themselves.
    return one == other or (
        type(one) is type(other)
        and bool(getattr(one, "__dict__", None))
        and vars(one) == vars(other)
    )


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _literal_satisfies(values: Collection[Any], wanted: Any) -> bool:
    if get_origin(wanted) is Literal:
        return all(value in get_args(wanted) for value in values)
    return all(satisfies(type(value), wanted) for value in values)


def _generic_satisfies(given: Any, wanted: Any) -> bool:
    outer, wider = get_origin(given) or given, get_origin(wanted) or wanted
    if not isinstance(outer, type) or not isinstance(wider, type) or not issubclass(outer, wider):
        return False
    inner, room = get_args(given), get_args(wanted)
    if not room or all(isinstance(member, TypeVar) for member in room):
        return True  # a bare `list` accepts a list of anything
    return len(inner) == len(room) and all(
        one is other or (one is not ... and other is not ... and satisfies(one, other))
        for one, other in zip(inner, room, strict=True)
    )


def _class_satisfies(given: Any, wanted: Any) -> bool:
    if any(satisfies(wider, wanted) for wider in _wider().get(given, ())):
        return True
    if not isinstance(given, type) or not isinstance(wanted, type):
        return False
    if issubclass(given, BaseModel) and issubclass(wanted, BaseModel):
        return _model_satisfies(given, wanted)
    if issubclass(given, datetime) and not issubclass(wanted, datetime):
        return False  # a datetime is a date to Python, but not to pydantic
    if issubclass(given, Enum) and not issubclass(wanted, Enum) and not issubclass(given, wanted):
        return all(satisfies(type(member.value), wanted) for member in given)
    return issubclass(given, wanted)


def _model_satisfies(given: type[BaseModel], wanted: type[BaseModel]) -> bool:
    # A nested model is sent whole, so the view's model must accept every field of the event's.
    if set(given.model_fields) != set(wanted.model_fields):
        return False
    return all(
        satisfies(declared(given.model_fields[name]), declared(info))
        for name, info in wanted.model_fields.items()
    )
