"""Compares annotations: would every value of one type be accepted by another?

And it finds the classes that a model is made of."""

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
    """What a value of a type is once it is validated, besides what its class says."""
    # A function: pydantic loads its EmailStr when it is named, with all of its kinds of URLs, and
    # a view whose types are those of its event asks for none of this.
    return {
        pydantic.EmailStr: (str,),
        pydantic.AwareDatetime: (datetime,),
        pydantic.NaiveDatetime: (datetime,),
        pydantic.PastDatetime: (datetime,),
        pydantic.FutureDatetime: (datetime,),
        pydantic.PastDate: (date,),
        pydantic.FutureDate: (date,),
        # numbers that JSON tells no apart
        int: (float, Decimal),
    }


def declared(field: FieldInfo) -> Any:
    """What `field` was declared as, its constraints included, which pydantic keeps apart."""
    if not field.metadata:
        return field.annotation
    made: Any = Annotated  # a value here, and no annotation that a type checker could read
    return made[(field.annotation, *field.metadata)]


def classes_of(model: type[BaseModel]) -> Iterator[type]:
    """Every class that the fields of `model`, and of the models inside, are declared as; itself
    first."""
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
    """True if whatever validates as `given` will validate as `wanted`, sent through JSON.

    Conservative: what cannot be shown is False. A constraint on `wanted` (a length, a bound, a
    validator) must stand on `given` as well.
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
        # Whole: a member may want what the given's constraints promise.
        return any(satisfies(whole, member) for member in get_args(wanted))
    if get_origin(given) is Literal:
        return _literal_satisfies(get_args(given), wanted)
    if get_origin(wanted) is Literal:
        return False
    if get_origin(given) or get_origin(wanted):
        return _generic_satisfies(given, wanted)
    return _class_satisfies(given, wanted)


def spell(annotation: Any) -> str:
    """`annotation` as one writes it: `str | None`, `list[int]`, `EmailStr`."""
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
    # None as it is written, and `type CPF = ...` of Python 3.12 and later: what they stand for
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
    # Neither a plain string nor the mark of personal data constrains anything.
    return [item for item in flat if not isinstance(item, str | Personal)]


def _same(one: object, other: object) -> bool:
    # Some of pydantic's own metadata are equal only to themselves.
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
        return True  # a bare `list` takes a list of anything
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
    # A nested model is sent whole, so the view's model must take every field of the event's.
    if set(given.model_fields) != set(wanted.model_fields):
        return False
    return all(
        satisfies(declared(given.model_fields[name]), declared(info))
        for name, info in wanted.model_fields.items()
    )
