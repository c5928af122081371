"""The JSON Schema of data on the wire: pydantic's, plus the constraints that it leaves out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue

from messaging.errors import EventError
from messaging.personal import PERSONAL

__all__ = ["CHECKED", "LIMITS", "STRIPPED", "Schema", "personal_marks", "schema_of"]

Schema = Mapping[str, Any]

CHECKED = "x-checked-by"
"""Names of a value's hand-written validators: JSON Schema cannot express more."""
LIMITS = "x-limits"
"""Bounds of values that are strings in JSON: decimal numbers, dates, times."""
STRIPPED = "x-stripped"
"""Leading and trailing space is stripped before the length is checked."""

_BOUNDS = ("ge", "gt", "le", "lt", "max_digits", "decimal_places", "multiple_of", "now_op")


def schema_of(model: type[BaseModel]) -> dict[str, Any]:
    """The schema of one model's data, self-contained (`$defs`), the same on every run.

    It describes the data that the producer writes. Unknown fields are allowed, because every reader
    ignores them. Raises `EventError` for a model that has no JSON Schema.
    """
    try:
        schema = model.model_json_schema(
            by_alias=False, mode="serialization", schema_generator=_WireSchema
        )
    except Exception as error:
        raise EventError(
            f"{model.__qualname__} cannot be described in JSON Schema ({type(error).__name__}): "
            "annotate its serializers with what they return"
        ) from error
    open_schema: dict[str, Any] = _opened(schema)
    return open_schema


def personal_marks(field: Schema, definitions: Mapping[str, Schema]) -> list[Mapping[str, str]]:
    """The marks of personal data in a field and in anything nested in it, without duplicates."""
    found: list[Mapping[str, str]] = []
    for mark in _marks(field, definitions, set()):
        if mark not in found:
            found.append(mark)
    return found


def _marks(part: Any, known: Mapping[str, Schema], seen: set[str]) -> Iterator[Mapping[str, str]]:
    if isinstance(part, Sequence) and not isinstance(part, str):
        for one in part:
            yield from _marks(one, known, seen)
    if not isinstance(part, Mapping):
        return
    if isinstance(mark := part.get(PERSONAL), Mapping):
        yield mark
    name = str(part.get("$ref", "")).rpartition("/")[2]
    if name in known and name not in seen:
        seen.add(name)
        yield from _marks(known[name], known, seen)
    for key, value in part.items():
        if key not in (PERSONAL, "$defs", "default", "examples", "enum", "const"):
            yield from _marks(value, known, seen)


def _opened(part: Any) -> Any:
    if isinstance(part, list):
        return [_opened(one) for one in part]
    if not isinstance(part, dict):
        return part
    closed = part.get("additionalProperties") is False and "properties" in part
    return {
        key: _opened_one(key, value)
        for key, value in part.items()
        if not (closed and key == "additionalProperties")
        # A title that pydantic derived from the field's name adds no information.
        and not (key == "title" and isinstance(value, str))
    }


def _opened_one(key: str, value: Any) -> Any:
    if key in ("default", "examples", "enum", "const"):
        return value
    if key in ("properties", "$defs"):  # names, not keywords
        return {name: _opened(one) for name, one in value.items()}
    return _opened(value)


class _WireSchema(GenerateJsonSchema):
    """pydantic's schema, plus the limits and checks that it knows but does not write."""

    def decimal_schema(self, schema: Any) -> JsonSchemaValue:
        return _limited({"type": "string", "format": "decimal"}, schema)

    def date_schema(self, schema: Any) -> JsonSchemaValue:
        return _limited(super().date_schema(schema), schema)

    def time_schema(self, schema: Any) -> JsonSchemaValue:
        return _limited(super().time_schema(schema), schema)

    def datetime_schema(self, schema: Any) -> JsonSchemaValue:
        return _limited(super().datetime_schema(schema), schema)

    def timedelta_schema(self, schema: Any) -> JsonSchemaValue:
        return _limited(super().timedelta_schema(schema), schema)

    def url_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().url_schema(schema)
        schemes = schema.get("allowed_schemes")
        return {**found, LIMITS: {"schemes": sorted(schemes)}} if schemes else found

    def str_schema(self, schema: Any) -> JsonSchemaValue:
        found = super().str_schema(schema)
        return {**found, STRIPPED: True} if schema.get("strip_whitespace") else found

    def function_after_schema(self, schema: Any) -> JsonSchemaValue:
        return _checked(super().function_after_schema(schema), schema)

    def function_before_schema(self, schema: Any) -> JsonSchemaValue:
        return _checked(super().function_before_schema(schema), schema)

    def function_wrap_schema(self, schema: Any) -> JsonSchemaValue:
        return _checked(super().function_wrap_schema(schema), schema)


def _limited(found: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
    limits = {name: str(schema[name]) for name in _BOUNDS if schema.get(name) is not None}
    if schema.get("tz_constraint") is not None:
        limits["timezone"] = str(schema["tz_constraint"])
    return {**found, LIMITS: limits} if limits else found


def _checked(found: JsonSchemaValue, schema: Any) -> JsonSchemaValue:
    function = schema["function"]["function"]
    if getattr(function, "__module__", "").partition(".")[0] == "pydantic":
        return found  # pydantic's own: the format implies it
    name = getattr(function, "__qualname__", type(function).__qualname__).rpartition(".")[2]
    return {**found, CHECKED: sorted({*found.get(CHECKED, ()), name})}
