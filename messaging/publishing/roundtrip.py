"""Compares an event, before it is sent, with what its handlers will receive."""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from datetime import datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, cast

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError

from messaging.codec import first_mistake
from messaging.declaration import Doubts, check_fields, doubts
from messaging.errors import CodecError, RoundTripError
from messaging.event import Event
from messaging.projection import READING, Copy, Projection
from messaging.publishing.limits import unwritable
from messaging.subtyping import classes_of

__all__ = ["RoundTrip", "pinned_data"]

_FIRST = 8
"""Number of copies per class and view that are all checked at first."""
_RARELY = 256
"""Maximum distance between two checked copies: about 1 % of the cost of publishing."""


class RoundTrip:
    """Decodes the copies of one class for one audience as their handlers will, and compares.

    due    how many copies may be sent before the next check.
    nan    a number in the data may be NaN: check whenever the data has a null.

    Calling it raises `RoundTripError`, which names the field but no value.
    """

    __slots__ = ("_doubts", "_kind", "_looked", "_readers", "due", "nan")

    def __init__(self, kind: type[Event], copy: Copy) -> None:
        # Some classes could not be checked when they were defined: they use names unknown then.
        check_fields(kind)
        self._kind = kind
        self._doubts = doubts(kind, copy.fields)
        self._readers = _readers(kind, copy)
        self._looked = 0
        self.nan = self._doubts.nan
        self.due = 0

    def __call__(self, event: Event, data: bytes) -> None:
        """Raise unless every view reads `event`'s values from `data`."""
        looked, self._looked = self._looked, 0
        for reader in self._readers:
            self._compare(event, data, reader)
        # Start over after a refusal: the next one may be wrong too.
        self._looked = looked + 1
        often = self._looked < _FIRST or self._doubts.always
        self.due = 0 if often else min(2 ** (self._looked - _FIRST), _RARELY)

    def _compare(self, event: Event, data: bytes, reader: type[BaseModel]) -> None:
        name = self._kind.__qualname__
        whom = f" (read as {reader.__qualname__}), so {_REMEDY}"
        try:
            got = reader.__pydantic_validator__.validate_json(data, **READING)
        except ValidationError as error:
            raise RoundTripError(f"{first_mistake(error, name, model=reader)}{whom}") from None
        except Exception as error:  # noqa: BLE001 - whatever a validator written by hand raises
            raise RoundTripError(
                f"{name}: a validator raises {type(error).__qualname__}{whom}"
            ) from None
        known = None if reader is self._kind else frozenset(classes_of(reader))
        differences = _Differences(self._doubts, known)
        for field in reader.model_fields:
            before, after = getattr(event, field), getattr(got, field)
            if found := differences.first(before, after, f"{name}.{field}"):
                raise RoundTripError(f"{found}{whom}")
        if reader is self._kind and event.__pydantic_extra__:
            raise RoundTripError(f"{name} would arrive without its extra fields{whom}")


_REMEDY = (
    "nothing was sent: a field's type must hold the whole value, and its validators must read "
    "what its serializer writes as the same value"
)


def pinned_data(event: Event, view: type[Projection]) -> bytes:
    """The data of a copy in an older version. Raises `RoundTripError` if it does not have its
    shape.

    Checked each time: its fields are not the event's, so no class was checked beforehand.
    """
    name = view.__qualname__
    try:
        old = view.from_event(event)
        return old.__pydantic_serializer__.to_json(old, by_alias=False, warnings="error")
    except PydanticSerializationError as error:
        raise unwritable(event, error) from None
    except CodecError as error:
        raise RoundTripError(f"{name}: {error.reason}; nothing was sent") from None
    except ValidationError as error:
        mistake = first_mistake(error, name, model=view)
        raise RoundTripError(
            f"{mistake}: @downcast of {view.event.__qualname__} does not give version "
            f"{view.version} of it; nothing was sent"
        ) from None


def _readers(kind: type[Event], copy: Copy) -> Sequence[type[BaseModel]]:
    if copy.fields is None:
        return (kind,)
    views: list[Any] = list(kind.__projections__)
    return [
        view
        for view in views
        if view.field_names == copy.fields
        and set(view.audience) <= set(copy.audience)
        and copy.pinned is None
    ]


class _Differences:
    """Finds values that arrive differently.

    known  the classes that a view's fields declare; None if the event itself is read.
    """

    def __init__(self, doubts: Doubts, known: Collection[type] | None) -> None:
        self._sequence = doubts.sequence
        self._known = known

    def first(self, sent: Any, got: Any, path: str) -> str | None:
        """The first difference, in words that start with its path; None if there is none."""
        if sent is got:
            return None
        if type(sent) is not type(got):
            if not self._stands_for(got, sent):
                return (
                    f"{path} would arrive as {type(got).__qualname__} where "
                    f"{type(sent).__qualname__} is sent"
                )
            sent = _plain(sent, got)
        inside = _inside(sent, got, path)
        if inside is None:
            return None if _same(sent, got) else f"{path} would arrive as another value"
        for before, after, place in inside:
            if place.startswith(" "):
                return f"{path} would arrive with other {place.strip()}"
            if found := self.first(before, after, place):
                return found
        return None

    def _stands_for(self, got: Any, sent: Any) -> bool:
        """True if an equal value of the other class is acceptable."""
        if self._known is not None and type(sent) not in self._known:
            # A view may declare another class with the same JSON, which has been compared.
            if isinstance(sent, Enum):
                return not isinstance(got, Enum)
            if isinstance(sent, BaseModel) and isinstance(got, BaseModel):
                return type(sent).model_fields.keys() == type(got).model_fields.keys()
        if isinstance(sent, bool) or isinstance(got, bool):
            return False
        if isinstance(sent, int | float | Decimal) and isinstance(got, int | float | Decimal):
            return True  # a default is not validated: `fee: float = 0`
        if isinstance(sent, list | tuple) and isinstance(got, list) and self._sequence:
            return True
        # A StrEnum in a field declared as str, or a datetime of another library.
        return isinstance(sent, type(got)) and isinstance(got, str | bytes | datetime | time)


def _plain(sent: Any, got: Any) -> Any:
    return sent.value if isinstance(sent, Enum) and not isinstance(got, Enum) else sent


_Inside = Iterator[tuple[Any, Any, str]]


def _inside(sent: Any, got: Any, path: str) -> _Inside | None:
    """Pairs of corresponding values; a path that starts with a space says what is missing."""
    if isinstance(sent, BaseModel):
        return _in_model(sent, got, path)
    if isinstance(sent, Mapping):
        return _in_mapping(sent, got, path)
    if isinstance(sent, Set):
        return _in_set(sent, got, path)
    if isinstance(sent, list | tuple | deque):
        return _in_row(cast("Sequence[Any]", sent), got, path)
    if dataclasses.is_dataclass(sent):
        return _in_dataclass(sent, got, path)
    by_identity: Any = object.__eq__
    if type(sent).__eq__ is by_identity and hasattr(sent, "__dict__"):
        return _in_mapping(vars(sent), vars(got), path)  # compares by identity
    return None


def _in_model(sent: BaseModel, got: BaseModel, path: str) -> _Inside:
    for name in type(got).model_fields:
        yield getattr(sent, name), getattr(got, name), f"{path}.{name}"
    if (sent.__pydantic_extra__ or {}).keys() != (got.__pydantic_extra__ or {}).keys():
        yield None, None, " extra fields"


def _in_dataclass(sent: Any, got: Any, path: str) -> _Inside:
    for field in dataclasses.fields(sent):
        name = field.name
        yield getattr(sent, name, None), getattr(got, name, None), f"{path}.{name}"


def _in_mapping(sent: Mapping[Any, Any], got: Mapping[Any, Any], path: str) -> _Inside:
    keys = {key: key for key in got}
    if sent.keys() != got.keys():
        yield None, None, " keys"
    for key, value in sent.items():
        # A key is data, and not shown.
        yield key, keys[key], f"{path}[key]"
        yield value, got[key], f"{path}[key]"


def _in_set(sent: Set[Any], got: Set[Any], path: str) -> _Inside:
    members = {member: member for member in got}
    if sent != got:
        yield None, None, " members"
    for member in sent:
        yield member, members[member], f"{path}[member]"


def _in_row(sent: Sequence[Any], got: Sequence[Any], path: str) -> _Inside:
    if len(sent) != len(got):
        yield None, None, " members"
    for index, (before, after) in enumerate(zip(sent, got, strict=True)):
        yield before, after, f"{path}[{index}]"


def _same(sent: Any, got: Any) -> bool:
    if isinstance(sent, datetime | time):
        # For Python, times of different zones are never equal in the hour when clocks are set back.
        here, there = sent.replace(tzinfo=None, fold=0), got.replace(tzinfo=None, fold=0)
        return bool(here == there) and sent.utcoffset() == got.utcoffset()
    try:
        return bool(sent == got) or (bool(sent != sent) and bool(got != got))
    except Exception:  # noqa: BLE001 - a class of the service's compares as it likes
        return False
