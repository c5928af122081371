"""What passes through the two sockets."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from messaging.transport import Attribute, Delivery


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
