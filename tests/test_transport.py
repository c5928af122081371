"""What passes through the two sockets."""

from __future__ import annotations

import inspect
from dataclasses import MISSING, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from messaging.consuming.dispatch import Call
from messaging.envelope import Envelope
from messaging.transport import Attribute, Delivery, Outgoing


def test_an_array_is_a_json_list_as_sns_wants_it() -> None:
    assert Attribute.array(["a", "é", 'q"']) == ("String.Array", '["a", "é", "q\\""]')


@pytest.mark.parametrize(
    ("attribute", "strings"),
    [
        (Attribute.string("a"), ("a",)),
        (Attribute.array(["a", "b"]), ("a", "b")),
        (Attribute.array([]), ()),
        (Attribute("Number", "3"), ("3",)),
        (Attribute("Binary", b"3"), ()),
    ],
)
def test_an_attribute_as_strings(attribute: Attribute, strings: tuple[str, ...]) -> None:
    assert attribute.strings == strings


@pytest.mark.parametrize(
    ("name", "attribute", "size"),
    [
        ("type", Attribute.string("abc"), 4 + 6 + 3),
        ("é", Attribute.string("ção"), 2 + 6 + 5),
        ("b", Attribute("Binary", b"\xff\xff"), 1 + 6 + 2),
        ("audience", Attribute.array(["x"]), 8 + 12 + 5),
    ],
)
def test_a_size_is_name_type_and_value_in_utf8(name: str, attribute: Attribute, size: int) -> None:
    assert attribute.size(name) == size


def test_a_delivery_shows_ids_and_no_body() -> None:
    delivery = Delivery(queue="q", message_id="m", receipt="secret", body="Ana", receive_count=2)
    assert repr(delivery) == "Delivery(queue='q', message_id='m', receive_count=2)"


def test_a_delivery_says_when_it_was_received() -> None:
    delivery = Delivery(queue="q", message_id="m", receipt="r", body="", received_at=86_400)
    assert delivery.received == datetime(1970, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize("kind", [Outgoing, Delivery, Envelope, Call])
def test_what_is_made_for_each_message_is_made_as_dataclass_would(kind: type[Any]) -> None:
    # Their constructors are written by hand, and must not forget a field that is added later.
    signature = inspect.signature(kind)
    assert list(signature.parameters) == [field.name for field in fields(kind)]
    needed = {
        name: name
        for name, parameter in signature.parameters.items()
        if parameter.default is inspect.Parameter.empty
    }
    made = kind(**needed)
    assert vars(made).keys() == signature.parameters.keys()
    for field in fields(kind):
        if field.default is not MISSING:
            assert getattr(made, field.name) == field.default
        elif field.default_factory is not MISSING:
            assert type(getattr(made, field.name)) is type(field.default_factory())
            assert getattr(made, field.name) is not getattr(kind(**needed), field.name)
    with pytest.raises(AttributeError):
        setattr(made, next(iter(needed)), "other")
    assert replace(made) == made
    assert replace(made, **{next(iter(needed)): "other"}) != made
