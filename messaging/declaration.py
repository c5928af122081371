"""Finds the fields of a model whose values cannot survive JSON, and those whose values may not."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from pydantic import BaseModel

from messaging.errors import EventError

__all__ = ["Doubts", "check_fields", "doubts"]

_SECRET = ("_serialize_secret_field", "_serialize_secret")
_REFUSED: Mapping[str, tuple[str, str]] = {
    "json": (
        "Json[...] is written as what it holds and read as a text, so no handler could read it",
        "declare what it holds, without Json[...]",
    ),
    "generator": (
        "an iterable is consumed when it is written, and arrives as something else",
        "declare a list or a tuple",
    ),
    "callable": ("a function cannot be sent", "leave the field out"),
    "secret": (
        "a secret is written as asterisks, which every handler would take for the value",
        "declare what it holds, or give the field a serializer that writes the value",
    ),
    "exclude": (
        "Field(exclude=True) is never sent, so a handler would miss it or read its default",
        "remove exclude=True; what a service may not see, its Projection leaves out",
    ),
}
# For each kind of schema, the kind of JSON that its values are written as.
_WRITTEN: Mapping[str, str] = {
    **dict.fromkeys(
        "str bytes date time datetime timedelta uuid url multi-host-url decimal".split(), "string"
    ),
    **dict.fromkeys("int float".split(), "number"),
    **dict.fromkeys("list tuple set frozenset".split(), "array"),
    **dict.fromkeys("dict model typed-dict dataclass".split(), "object"),
    "bool": "bool",
    "none": "null",
}
_BESIDE = frozenset(
    {
        *("metadata", "config", "serialization", "default", "expected", "members", "definitions"),
        *("python_schema", "strict_schema", "computed_fields"),
    }
)
"""Parts of a schema that look like schemas but are not, or that are not read from JSON."""

_Schema = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Doubts:
    """Checks that depend on the values of each event.

    each     some value may arrive as another: check every event.
    nan      a number may be NaN, which JSON writes as null. sequence a field takes any sequence, so
             a tuple may arrive as a list.
    classes  nested models and dataclasses; an instance of a subclass would lose its fields.
    """

    each: bool
    nan: bool
    sequence: bool
    classes: frozenset[type]

    @property
    def always(self) -> bool:
        """True if every event must be checked, as of now: subclasses may still be defined."""
        return self.each or any(_subclassed(one) for one in self.classes)


def check_fields(cls: type[BaseModel]) -> None:
    """Raise `EventError` for a field of `cls`, or of a nested model, that cannot arrive.

    A class whose annotations name classes that do not exist yet is checked later.
    """
    for path, schema, _ in _schemas(cls, None):
        if why := _why_not(schema):
            said, remedy = _REFUSED[why]
            raise EventError(f"{'.'.join([cls.__qualname__, *path])}: {said}; {remedy}")


def doubts(cls: type[BaseModel], fields: Collection[str] | None) -> Doubts:
    """The checks needed for each event's `fields` (None: all)."""
    each = nan = sequence = False
    classes: set[type] = set()
    for path, schema, config in _schemas(cls, fields):
        kind = schema["type"]
        each = each or _is_doubtful(schema)
        guarded = schema.get("allow_inf_nan", config.get("allow_inf_nan", True)) is False
        sequence = sequence or _is_sequence(schema)
        nan = nan or (kind == "float" and not guarded)
        if kind in ("model", "dataclass") and path:
            classes.add(schema["cls"])
    return Doubts(each, nan, sequence, frozenset(classes))


def _why_not(schema: _Schema) -> str:
    if schema.get("serialization_exclude"):
        return "exclude"
    function = _written_by(schema)
    if getattr(function, "__module__", "") == "pydantic.types":
        return "secret" if getattr(function, "__name__", "") in _SECRET else ""
    return str(schema["type"]) if schema["type"] in _REFUSED else ""


def _is_doubtful(schema: _Schema) -> bool:
    kind = schema["type"]
    if kind == "union":
        written = [_written_as(_inner(one)) for one in schema["choices"]]
        # A literal, a function, a model with a custom form: how they are written is unknown.
        return "" in written or len(set(written)) < len(written)
    if kind == "dict" and "keys_schema" in schema:
        return not _is_read_from_text(_inner(schema["keys_schema"]))
    # The flags of a pattern are not written, and extra fields are not read.
    extra = (schema.get("config") or {}).get("extra_fields_behavior", schema.get("extra_behavior"))
    return (
        kind == "any"
        or extra == "allow"
        or "serialization_exclude_if" in schema
        or _reads_pattern(schema)
    )


def _written_by(schema: _Schema) -> object:
    return (schema.get("serialization") or {}).get("function")


def _written_as(schema: _Schema) -> str:
    # A RootModel is written as its content, and a custom serializer may write anything.
    known = "serialization" not in schema and not schema.get("root_model")
    return _WRITTEN.get(schema["type"], "") if known else ""


def _is_read_from_text(key: _Schema) -> bool:
    # JSON's keys are strings, from which an Enum of numbers cannot be read.
    while "schema" in key:
        key = key["schema"]
    if key["type"] == "enum":
        return all(isinstance(member.value, str) for member in key["members"])
    return key["type"] in ("int", "float", "bool") or _WRITTEN.get(key["type"]) == "string"


def _reads_pattern(schema: _Schema) -> bool:
    function = schema.get("function")
    named = function.get("function") if isinstance(function, Mapping) else None
    return getattr(named, "__name__", "").startswith("pattern_")


def _is_written_by_hand(schema: _Schema) -> bool:
    written = schema.get("serialization") or {"type": ""}
    return written["type"].startswith("function") and not _is_sequence(schema)


def _is_sequence(schema: _Schema) -> bool:
    return getattr(_written_by(schema), "__name__", "") == "serialize_sequence_via_list"


def _inner(choice: Any) -> _Schema:
    schema = cast("_Schema", choice[0] if isinstance(choice, tuple) else choice)
    while schema["type"] in ("default", "nullable") and "serialization" not in schema:
        schema = schema["schema"]
    return schema


def _subclassed(cls: type) -> bool:
    below: list[Any] = cls.__subclasses__()
    for one in below:
        # A generic model's parametrizations are subclasses that nobody wrote.
        made = getattr(one, "__pydantic_generic_metadata__", {}).get("origin")
        if not made or _subclassed(one):
            return True
    return False


_Found = tuple[tuple[str, ...], _Schema, _Schema]


def _schemas(cls: type[BaseModel], fields: Collection[str] | None) -> Iterator[_Found]:
    """Every schema in `cls` that pydantic itself serializes: its path, and its config."""
    if not cls.__pydantic_complete__:
        return
    root: _Schema = cls.__pydantic_core_schema__
    definitions: Any = root.get("definitions", ())
    named = {one["ref"]: one for one in definitions}
    seen: set[str] = set()
    todo: list[_Found] = [((), root, {})]
    while todo:
        path, schema, config = todo.pop()
        yield path, schema, config
        config = schema.get("config", config)
        if path and _is_written_by_hand(schema):
            continue  # so its inside does not matter
        if schema["type"] == "definition-ref":
            if schema["schema_ref"] not in seen:
                seen.add(schema["schema_ref"])
                todo.append((path, named[schema["schema_ref"]], config))
            continue
        todo += [
            ((*path, name) if name else path, inner, config)
            for name, inner in _members(schema)
            if path or not name or fields is None or name in fields
        ]


def _members(schema: _Schema) -> Iterator[tuple[str, _Schema]]:
    for key, member in schema.items():
        if key in _BESIDE:
            continue
        if isinstance(member, Mapping):
            if isinstance(member.get("type"), str):
                yield "", member
                continue
            named = key == "fields"
            yield from ((name if named else "", one) for name, one in member.items() if _is(one))
        elif isinstance(member, list):
            for one in member:
                found = one[0] if isinstance(one, tuple) else one
                if _is(found):
                    yield str(found.get("name", "")), found


def _is(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("type"), str)
