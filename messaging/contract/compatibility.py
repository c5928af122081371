"""Checks whether data of one JSON Schema can be read by another, and where it cannot.

The check is conservative: anything that cannot be shown to be compatible is a mismatch. The writer
is assumed to write only the fields in its schema; a reader ignores fields that are not in its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from json import dumps
from typing import Any

from messaging.contract.keywords import limits_of_arrays, limits_of_numbers, limits_of_texts
from messaging.contract.schema import Schema

__all__ = ["Mismatch", "mismatches"]

_ANNOTATIONS = frozenset(
    "title description default examples deprecated readOnly writeOnly $schema $id $defs "
    "$comment discriminator x-personal-data".split()
)
_KNOWN = frozenset(
    "$ref type enum const anyOf oneOf properties required additionalProperties items prefixItems "
    "minItems maxItems uniqueItems minLength maxLength pattern format minimum maximum "
    "exclusiveMinimum exclusiveMaximum multipleOf x-limits x-checked-by x-stripped".split()
)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One place where the written data may be unreadable.

    Args:
        place: the field: "data.contato.email"; "[]" is an item, "{}" a value of a mapping.
        rule: "required", "removed", "type", "values", "constraint".
        said: what differs, in words.
        lost: True if it can be read, but the reader gets its default instead of a value.

    Example:
        ```python
        from messaging.contract.compatibility import mismatches

        (found,) = mismatches({"type": "string"}, {"type": "integer"})
        assert (found.place, found.lost) == ("data", False)
        ```
    """

    place: str
    rule: str
    said: str
    lost: bool = False


def mismatches(writer: Schema, reader: Schema, place: str = "data") -> list[Mismatch]:
    """Every place where `reader` may be unable to read data of `writer`; none if compatible.

    Args:
        writer: the JSON Schema of the written data.
        reader: the JSON Schema by which the data is read.
        place: the name of the data's top level in the findings.

    Example:
        ```python
        from messaging.contract.compatibility import mismatches

        (found,) = mismatches({"type": "string"}, {"type": "integer"})
        assert found.place == "data"
        ```
    """
    found = _Comparison(writer, reader).compare(writer, reader, place)
    return list(dict.fromkeys(found))


class _Comparison:
    def __init__(self, writer: Schema, reader: Schema) -> None:
        self._written: Mapping[str, Schema] = writer.get("$defs", {})
        self._read: Mapping[str, Schema] = reader.get("$defs", {})
        # A pair of references that is already being compared counts as compatible, so that
        # recursive models terminate.
        self._open: set[tuple[str, str]] = set()

    def compare(self, writer: Any, reader: Any, place: str) -> Iterator[Mismatch]:
        if reader is True or writer is False:
            return
        if reader is False:
            yield Mismatch(place, "removed", "the reader refuses it")
            return
        writer = {} if writer is True else writer
        pair = (str(writer.get("$ref", "")), str(reader.get("$ref", "")))
        if any(pair):
            if pair in self._open:
                return
            self._open.add(pair)
            writer, reader = _resolved(writer, self._written), _resolved(reader, self._read)
            yield from self.compare(writer, reader, place)
            self._open.discard(pair)
            return
        choices = _choices(writer)
        if choices is not None:
            for choice in choices:
                yield from self.compare(choice, reader, place)
            return
        choices = _choices(reader)
        if choices is not None:
            yield from self._one_of(writer, choices, place)
            return
        yield from self._plain(writer, reader, place)

    def _one_of(self, writer: Schema, choices: list[Schema], place: str) -> Iterator[Mismatch]:
        values = _values(writer)
        if values is not None and len(values) > 1:  # each may be read by a different choice
            for value in values:
                one = {key: part for key, part in writer.items() if key != "enum"}
                yield from self._one_of({**one, "const": value}, choices, place)
            return
        tried = [list(self.compare(writer, choice, place)) for choice in choices]
        if all(tried):
            # The most similar choice explains the mismatch best.
            kinds = [_kind(_resolved(choice, self._read)) for choice in choices]
            alike = [
                found for kind, found in zip(kinds, tried, strict=True) if kind == _kind(writer)
            ]
            if alike:
                yield from min(alike, key=len)
            else:
                yield Mismatch(place, "type", f"{_spell(writer)} is written, {_either(kinds)} read")

    def _plain(self, writer: Schema, reader: Schema, place: str) -> Iterator[Mismatch]:
        if (unknown := _unknown(writer, reader)) is not None:
            yield Mismatch(place, "constraint", f"{unknown} differs, and cannot be compared")
            return
        checks = set(reader.get("x-checked-by", ())) - set(writer.get("x-checked-by", ()))
        if checks:
            said = f"the reader's check in code ({', '.join(sorted(checks))}) may refuse it"
            yield Mismatch(place, "constraint", said)
        values, allowed = _values(writer), _values(reader)
        if allowed is not None:
            yield from _values_read(writer, values, allowed, place)
            return
        kind, wanted = _kind(writer), _kind(reader)
        if wanted and not (kind == wanted or (kind, wanted) == ("integer", "number")):
            yield Mismatch(place, "type", f"{_spell(writer)} is written, {_spell(reader)} read")
            return
        for said in _limits(writer, reader, kind or wanted):
            yield Mismatch(place, "constraint", said)
        if "object" in (kind, wanted):
            yield from self._objects(writer, reader, place)
        if "array" in (kind, wanted):
            yield from self._arrays(writer, reader, place)

    def _objects(self, writer: Schema, reader: Schema, place: str) -> Iterator[Mismatch]:
        written: Mapping[str, Any] = writer.get("properties", {})
        others = writer.get("additionalProperties", "properties" not in writer)
        required = set(reader.get("required", ()))
        always = set(writer.get("required", ()))
        for name, field in reader.get("properties", {}).items():
            here = f"{place}.{name}"
            if name in written or others:
                yield from self.compare(written.get(name, others), field, here)
                if name in required - always:
                    yield Mismatch(here, "required", "it may be missing, and the reader needs it")
            elif name in required:
                yield Mismatch(here, "removed", "it is not written, and the reader needs it")
            else:
                said = "it is not written; the reader takes its default"
                yield Mismatch(here, "removed", said, lost=True)
        for name in required - set(reader.get("properties", {})) - always:
            yield Mismatch(f"{place}.{name}", "required", "it may be missing")
        rest = reader.get("additionalProperties", True)
        for name in written.keys() - reader.get("properties", {}).keys():
            yield from self.compare(written[name], rest, f"{place}.{name}")
        if others:
            yield from self.compare(others, rest, f"{place}{{}}")

    def _arrays(self, writer: Schema, reader: Schema, place: str) -> Iterator[Mismatch]:
        first, wanted = writer.get("prefixItems", []), reader.get("prefixItems", [])
        items, rest = writer.get("items", True), reader.get("items", True)
        most = writer.get("maxItems")
        for index in range(max(len(first), len(wanted))):
            if most is not None and index >= most:
                return
            given = first[index] if index < len(first) else items
            needed = wanted[index] if index < len(wanted) else rest
            yield from self.compare(given, needed, f"{place}[{index}]")
        if most is None or most > max(len(first), len(wanted)):
            yield from self.compare(items, rest, f"{place}[]")


def _resolved(schema: Schema, definitions: Mapping[str, Schema]) -> Schema:
    seen = 0
    while "$ref" in schema:
        name = str(schema["$ref"]).rpartition("/")[2]
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        if name not in definitions or (seen := seen + 1) > len(definitions):
            return {"x-unknown": schema["$ref"]}
        schema = {**definitions[name], **beside}
    return schema


def _choices(schema: Schema) -> list[Schema] | None:
    for word in ("anyOf", "oneOf"):
        if word in schema:
            beside = {key: value for key, value in schema.items() if key != word}
            return [_both(beside, one) for one in schema[word]]
    kinds = schema.get("type")
    return [{**schema, "type": kind} for kind in kinds] if isinstance(kinds, list) else None


def _both(beside: Schema, one: Schema) -> Schema:
    merged = {**beside, **one}
    checks = {*beside.get("x-checked-by", ()), *one.get("x-checked-by", ())}
    return {**merged, "x-checked-by": sorted(checks)} if checks else merged


def _values(schema: Schema) -> list[Any] | None:
    if "const" in schema:
        return [schema["const"]]
    return list(schema["enum"]) if "enum" in schema else None


def _values_read(
    writer: Schema, values: list[Any] | None, allowed: list[Any], place: str
) -> Iterator[Mismatch]:
    if values is None:
        yield Mismatch(place, "values", f"{_spell(writer)} is written, {_list(allowed)} read")
        return
    known = {(type(value).__name__, str(value)) for value in allowed}
    new = [value for value in values if (type(value).__name__, str(value)) not in known]
    if new:
        yield Mismatch(place, "values", f"{_list(new)} may be written, {_list(allowed)} read")


def _kind(schema: Schema) -> str:
    if kind := schema.get("type"):
        return str(kind)
    kinds = {_NAMES.get(type(value), "") for value in _values(schema) or ()}
    return kinds.pop() if len(kinds) == 1 else ""


_NAMES: Mapping[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
    list: "array",
    dict: "object",
}


def _limits(writer: Schema, reader: Schema, kind: str) -> Iterator[str]:
    values = _values(writer)
    constrained = [
        key for key in reader if key in _KNOWN - {"type", "x-checked-by"} and kind != "object"
    ]
    if values is not None and constrained:
        yield f"{', '.join(sorted(constrained))} cannot be compared with a list of values"
    if values is None:
        yield from limits_of_texts(writer, reader)
        yield from limits_of_numbers(writer, reader)
        yield from limits_of_arrays(writer, reader)


def _unknown(writer: Schema, reader: Schema) -> str | None:
    for key in reader:
        if key not in _KNOWN and key not in _ANNOTATIONS and writer.get(key) != reader[key]:
            return str(key)
    return "x-unknown" if "x-unknown" in writer else None


def _spell(schema: Schema) -> str:
    values = _values(schema)
    if values is not None:
        return _list(values)
    kind, form = _kind(schema) or "anything", schema.get("format")
    return f"{kind} ({form})" if form else kind


def _either(kinds: list[str]) -> str:
    return " or ".join(sorted({kind or "something else" for kind in kinds}))


def _list(values: list[Any]) -> str:
    shown = [dumps(value, ensure_ascii=False) for value in values[:8]]
    return ", ".join(shown) + (", ..." if len(values) > 8 else "")
