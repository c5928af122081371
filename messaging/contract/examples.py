"""Example data, made from the schema alone: nobody's real data, and the same on every run."""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil, floor
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import to_json

from messaging.projection import READING

__all__ = ["example_of"]

_TEXTS: Mapping[str, str] = {
    "uuid": "00000000-0000-4000-8000-000000000001",
    "date-time": "2026-01-31T12:00:00Z",
    "date": "2026-01-31",
    "time": "12:00:00",
    "duration": "PT1H",
    "email": "someone@example.org",
    "idn-email": "someone@example.org",
    "name-email": "someone@example.org",
    "uri": "https://example.org/",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "ipvanyaddress": "192.0.2.1",
    "decimal": "1",
}
_DEEPEST = 12


def example_of(model: type[BaseModel], schema: Mapping[str, Any]) -> dict[str, Any] | None:
    """Data that `model` accepts, with made-up values only; None if none could be made up.

    If one of your validators rejects a field's made-up value, the field is shown as null or left
    out, if possible; otherwise provide a value with `Field(examples=["..."])`.
    """
    made = _Made(schema)
    found = {name: made.value(field) for name, field in made.fields.items()}
    for mistake in _mistakes(model, found):
        if mistake in found:
            found[mistake] = None
    # A field that can be neither made up nor None is left out, or there is no example.
    for mistake in _mistakes(model, found):
        found.pop(mistake, None)
    return found if not _mistakes(model, found) else None


def _mistakes(model: type[BaseModel], data: dict[str, Any]) -> list[str]:
    try:
        model.model_validate_json(to_json(data), **READING)
    except ValidationError as error:
        return [str(one["loc"][0]) if one["loc"] else "" for one in error.errors()]
    return []


class _Made:
    """Makes up values for one schema."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._definitions: Mapping[str, Any] = root.get("$defs", {})
        self.fields: Mapping[str, Any] = self._resolved(root).get("properties", {})

    def value(self, schema: Any, depth: int = 0) -> Any:
        """A value for `schema`; None if it is nested too deeply, or allows anything."""
        if not isinstance(schema, Mapping) or depth > _DEEPEST:
            return None
        if schema.get("examples"):
            return schema["examples"][0]
        schema = self._resolved(schema)
        for word in ("examples", "enum"):
            if schema.get(word):
                return schema[word][0]
        if "const" in schema:
            return schema["const"]
        for word in ("anyOf", "oneOf"):
            if schema.get(word):
                return self.value(schema[word][0], depth + 1)
        kind = schema.get("type")
        if kind == "string":
            return _text(schema)
        if kind in ("integer", "number"):
            return _number(schema)
        if kind == "boolean":
            return True
        if kind == "array":
            return self._array(schema, depth)
        return self._object(schema, depth) if kind == "object" else None

    def _array(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        first = [self.value(one, depth + 1) for one in schema.get("prefixItems", ())]
        items = schema.get("items")
        missing = max(schema.get("minItems", 0), 0 if first else 1) - len(first)
        if not isinstance(items, Mapping) or depth > 3 or schema.get("maxItems", 1) == 0:
            missing = min(missing, 0)
        return first + [self.value(items, depth + 1) for _ in range(missing)]

    def _object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        required = schema.get("required", ())
        fields = schema.get("properties", {})
        return {
            name: self.value(field, depth + 1)
            for name, field in fields.items()
            if name in required or depth < 3
        }

    def _resolved(self, schema: Mapping[str, Any]) -> Mapping[str, Any]:
        seen = 0
        while "$ref" in schema and seen < _DEEPEST:
            name = str(schema["$ref"]).rpartition("/")[2]
            schema, seen = self._definitions.get(name, {}), seen + 1
        return schema


def _text(schema: Mapping[str, Any]) -> str:
    made = _TEXTS.get(str(schema.get("format", "")), "text")
    limits = schema.get("x-limits", {})
    if schema.get("format") == "decimal" and (bound := limits.get("ge")):
        made = bound
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    made = made.ljust(least, "x") if "format" not in schema else made
    return made if most is None else made[:most]


def _number(schema: Mapping[str, Any]) -> int | float:
    step = schema.get("multipleOf", 1)
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    high = schema.get("maximum", schema.get("exclusiveMaximum"))
    if low is not None:
        found = ceil(low / step) * step
        found += step if found == schema.get("exclusiveMinimum") else 0
    elif high is not None:
        found = floor(high / step) * step
        found -= step if found == schema.get("exclusiveMaximum") else 0
    else:
        found = step
    return int(found) if schema.get("type") == "integer" else found
