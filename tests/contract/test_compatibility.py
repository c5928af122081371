"""What is called compatible really is read: by pydantic and by JSON Schema, for made-up models."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, create_model

from messaging.contract.compatibility import mismatches
from messaging.contract.schema import schema_of
from messaging.projection import READING

Made = tuple[Any, Callable[[], st.SearchStrategy[Any]]]
"""A type, and a strategy for its values as JSON has them."""


def _texts(least: int, most: int) -> Made:
    return (
        Annotated[str, Field(min_length=least, max_length=most)],
        lambda: st.text("ab ", min_size=least, max_size=most),
    )


def _stripped(least: int) -> Made:
    return (
        Annotated[str, StringConstraints(strip_whitespace=True, min_length=least)],
        lambda: st.text("ab", min_size=least, max_size=6),
    )


def _numbers(low: int, high: int) -> Made:
    return Annotated[int, Field(ge=low, lt=high)], lambda: st.integers(low, high - 1)


def _decimals(whole: int, places: int) -> Made:
    most = Decimal(10) ** whole - Decimal(10) ** -places
    return (
        Annotated[Decimal, Field(max_digits=whole + places, decimal_places=places)],
        lambda: st.decimals(-most, most, places=places).map(str),
    )


def _literal(values: frozenset[Any]) -> Made:
    given = tuple(sorted(values, key=str))
    return Literal[given], lambda: st.sampled_from(given)


plain: st.SearchStrategy[Made] = st.one_of(
    st.just((str, lambda: st.text("ab ", max_size=5))),
    st.just((int, lambda: st.integers(-50, 50))),
    st.just((float, lambda: st.floats(-9, 9))),
    st.just((bool, st.booleans)),
    st.just((UUID, lambda: st.uuids().map(str))),
    st.just((Decimal, lambda: st.decimals(-9, 9, places=2).map(str))),
    st.builds(_texts, st.integers(0, 2), st.integers(2, 5)),
    st.builds(_stripped, st.integers(0, 2)),
    st.builds(_numbers, st.integers(-3, 0), st.integers(1, 4)),
    st.builds(_decimals, st.integers(1, 3), st.integers(0, 3)),
    st.builds(_literal, st.frozensets(st.sampled_from(["a", "b", "", 1, 2]), min_size=1)),
)


def _list(inner: Made) -> Made:
    return list[inner[0]], lambda: st.lists(inner[1](), max_size=3)  # type: ignore[name-defined] # a value


def _mapping(inner: Made) -> Made:
    return dict[str, inner[0]], lambda: st.dictionaries(st.text("xy", max_size=2), inner[1]())  # type: ignore[name-defined] # a value


def _optional(inner: Made) -> Made:
    return inner[0] | None, lambda: st.none() | inner[1]()


def _pair(one: Made, other: Made) -> Made:
    return tuple[one[0], other[0]], lambda: st.tuples(one[1](), other[1]()).map(list)  # type: ignore[name-defined] # values


def _union(one: Made, other: Made) -> Made:
    return one[0] | other[0], lambda: one[1]() | other[1]()


def _model(fields: dict[str, tuple[Made, bool]], closed: bool = False) -> Made:
    model: Any = create_model(
        "M",
        __config__=ConfigDict(extra="forbid" if closed else "ignore"),
        **{
            name: (kind[0], ...) if required else (kind[0] | None, None)
            for name, (kind, required) in fields.items()
        },
    )

    def values() -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries(
            {name: kind[1]() for name, (kind, required) in fields.items() if required},
            optional={name: kind[1]() for name, (kind, required) in fields.items() if not required},
        )

    return model, values


def models(inside: st.SearchStrategy[Made]) -> st.SearchStrategy[Made]:
    field = st.tuples(inside, st.booleans())
    return st.builds(
        _model, st.dictionaries(st.sampled_from("abc"), field, max_size=3), st.booleans()
    )


kinds = st.recursive(
    plain,
    lambda inside: st.one_of(
        st.builds(_list, inside),
        st.builds(_mapping, inside),
        st.builds(_optional, inside),
        st.builds(_pair, inside, inside),
        st.builds(_union, inside, inside),
        models(inside),
    ),
    max_leaves=4,
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Made, Made]:
    """Two models of which the second is a change of the first, more or less."""
    old = draw(
        st.dictionaries(st.sampled_from("abcd"), st.tuples(kinds, st.booleans()), min_size=1)
    )
    new = dict(old)
    for name in draw(st.lists(st.sampled_from("abcd"), max_size=2)):
        change = draw(st.sampled_from(["drop", "other", "optional", "nullable", "flip"]))
        if change == "drop":
            new.pop(name, None)
        elif change == "other":
            new[name] = draw(st.tuples(kinds, st.booleans()))
        elif name in new:
            kind, required = new[name]
            new[name] = {
                "optional": (kind, False),
                "nullable": (_optional(kind), required),
                "flip": (kind, not required),
            }[change]
    closed = draw(st.booleans())
    return _model(old, closed), _model(new, closed)


def test_what_is_compatible_is_read() -> None:
    seen = {"compatible": 0, "refused": 0}

    @settings(max_examples=240, suppress_health_check=list(HealthCheck))
    @given(pair=pairs(), data=st.data())
    def each(pair: tuple[Made, Made], data: st.DataObject) -> None:
        for (writer, values), (reader, _) in (pair, pair[::-1]):
            written, read = schema_of(writer), schema_of(reader)
            value = data.draw(values())
            jsonschema.Draft202012Validator(written).validate(value)  # the writer does write it
            if mismatches(written, read):
                seen["refused"] += 1
                continue
            seen["compatible"] += 1
            model: type[BaseModel] = reader
            model.model_validate_json(json.dumps(value), **READING)
            jsonschema.Draft202012Validator(read).validate(value)

    each()
    assert min(seen.values()) > 40, f"hardly a test: {seen}"


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(kind=models(kinds))
def test_every_schema_is_compatible_with_itself(kind: Made) -> None:
    schema = schema_of(kind[0])
    assert mismatches(schema, schema) == []


class Tree(BaseModel):
    name: str
    below: list[Tree] = Field(default_factory=list)


class Taller(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    below: list[Taller] = Field(default_factory=list)


def test_models_that_hold_themselves_come_to_an_end() -> None:
    tree, taller = schema_of(Tree), schema_of(Taller)
    assert mismatches(taller, tree) == []
    assert [one.place for one in mismatches(tree, taller)] == ["data.name"]


@pytest.mark.parametrize(
    ("writer", "reader", "compatible"),
    [
        (True, {"type": "string"}, False),
        ({"type": "string"}, True, True),
        ({"type": "string"}, False, False),
        ({"type": ["string", "null"]}, {"anyOf": [{"type": "null"}, {"type": "string"}]}, True),
        ({"enum": [1]}, {"enum": [True]}, False),
        ({"enum": ["a", 1]}, {"anyOf": [{"type": "string"}, {"type": "integer"}]}, True),
        ({"const": "x"}, {"type": "string", "format": "uuid"}, False),
        ({"type": "string"}, {"type": "string", "not": {"const": "x"}}, False),
        ({"type": "string", "not": {}}, {"type": "string", "not": {}}, True),
        ({"$ref": "#/$defs/Gone"}, {"type": "string"}, False),
        ({"type": "array", "items": {}}, {"type": "array", "uniqueItems": True}, False),
        ({"type": "object", "properties": {"a": {}}}, {"additionalProperties": False}, False),
    ],
)
def test_schemas_that_others_write(writer: Any, reader: Any, compatible: bool) -> None:
    wrapped = [{"type": "object", "properties": {"x": one}} for one in (writer, reader)]
    assert (not mismatches(*wrapped)) is compatible


def test_the_adapter_agrees_on_whole_numbers() -> None:
    """An int is read where a float is wanted, and the other way round is refused."""
    assert TypeAdapter(float).validate_json("1") == 1
    assert not mismatches({"type": "integer"}, {"type": "number"})
    assert mismatches({"type": "number"}, {"type": "integer"})
