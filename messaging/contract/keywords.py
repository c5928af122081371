"""JSON Schema's limits for strings, numbers and arrays: checks that a reader's are as wide."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from messaging.contract.schema import Schema

__all__ = ["limits_of_arrays", "limits_of_numbers", "limits_of_texts"]


def limits_of_texts(writer: Schema, reader: Schema) -> Iterator[str]:
    """The reader's requirements for a string that the writer does not guarantee."""
    yield from _at_least("minLength", writer, reader)
    yield from _at_most("maxLength", writer, reader)
    for key in ("pattern", "format", "contentEncoding"):
        if key in reader and writer.get(key) != reader[key]:
            yield f"{key} {reader[key]} is wanted, {writer.get(key, 'any')} is written"
    strips = reader.get("x-stripped") and not writer.get("x-stripped")
    if strips and (reader.get("minLength") or "pattern" in reader):
        yield "the reader strips it first, and may then find it too short"
    yield from _limits(writer.get("x-limits", {}), reader.get("x-limits", {}))


def limits_of_numbers(writer: Schema, reader: Schema) -> Iterator[str]:
    """The reader's requirements for a number that the writer does not guarantee."""
    low, high = _bound(writer, "inimum"), _bound(writer, "aximum")
    for wanted, is_open in _bounds(reader, "inimum"):
        if low is None or low[0] < wanted or (low[0] == wanted and is_open and not low[1]):
            yield f"{'more than' if is_open else 'at least'} {wanted} is wanted"
    for wanted, is_open in _bounds(reader, "aximum"):
        if high is None or high[0] > wanted or (high[0] == wanted and is_open and not high[1]):
            yield f"{'less than' if is_open else 'at most'} {wanted} is wanted"
    step, wish = writer.get("multipleOf"), reader.get("multipleOf")
    if wish is not None and (step is None or Decimal(str(step)) % Decimal(str(wish))):
        yield f"a multiple of {wish} is wanted"


def limits_of_arrays(writer: Schema, reader: Schema) -> Iterator[str]:
    """The reader's requirements for an array that the writer does not guarantee."""
    yield from _at_least("minItems", writer, reader)
    yield from _at_most("maxItems", writer, reader)
    if reader.get("uniqueItems") and not writer.get("uniqueItems"):
        yield "items that are all different are wanted"


def _at_least(key: str, writer: Schema, reader: Schema) -> Iterator[str]:
    if reader.get(key, 0) > writer.get(key, 0):
        yield f"{key} is {writer.get(key, 0)} where {reader[key]} is wanted"


def _at_most(key: str, writer: Schema, reader: Schema) -> Iterator[str]:
    if key in reader and writer.get(key, reader[key] + 1) > reader[key]:
        yield f"{key} is {writer.get(key, 'not limited')} where {reader[key]} is wanted"


def _bounds(schema: Schema, kind: str) -> Iterator[tuple[Decimal, bool]]:
    closed, is_open = schema.get("m" + kind), schema.get("exclusiveM" + kind)
    if closed is not None:
        yield Decimal(str(closed)), False
    if is_open is not None:
        yield Decimal(str(is_open)), True


def _bound(schema: Schema, kind: str) -> tuple[Decimal, bool] | None:
    """The tighter of the two bounds that a schema may have."""
    found = list(_bounds(schema, kind))
    if kind == "inimum":
        return max(found, default=None)
    return min(found, key=lambda one: (one[0], not one[1]), default=None)


def _limits(writer: Mapping[str, Any], reader: Mapping[str, Any]) -> Iterator[str]:
    for key, wanted in reader.items():
        given = writer.get(key)
        if given != wanted and not _is_wider(key, given, wanted):
            yield f"{key} {wanted} is wanted, {given or 'anything'} is written"
    whole, room = _whole_digits(writer), _whole_digits(reader)
    if room is not None and (whole is None or whole > room):
        yield f"at most {room} digits before the point are wanted"


def _is_wider(key: str, given: Any, wanted: Any) -> bool:
    if given is None:
        return False
    if key == "schemes":
        return set(given) <= set(wanted)
    try:
        mine, theirs = Decimal(given), Decimal(wanted)
    except InvalidOperation:
        return False  # dates and times: only an equal limit is certainly as wide
    if key in ("ge", "gt"):
        return mine >= theirs
    return key in ("le", "lt", "max_digits", "decimal_places") and mine <= theirs


def _whole_digits(limits: Mapping[str, Any]) -> int | None:
    """Digits before the decimal point: pydantic allows `max_digits - decimal_places`."""
    if "max_digits" not in limits:
        return None
    return int(limits["max_digits"]) - int(limits.get("decimal_places", 0))
