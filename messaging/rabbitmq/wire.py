"""The format of a message on RabbitMQ: properties, headers and routing keys.

    message_id    the id of this message, different for each publish
    timestamp     when it was sent, in whole seconds; header `sent` has milliseconds
    headers       attributes  a JSON object by name: a String as text, else [type, text]. With bytes
                              among them, a table in which a Binary is bytes. The client is slow to
                              parse tables, and most messages have the same attributes as others
                  group       the message group, if there is one
                  receives    receives before it was put back with a delay, or moved

A message goes to a direct exchange with one routing key for each pair of type and audience: the
first is its routing key, the others are in the header `BCC`, which the broker removes. A queue that
is bound with several of them gets only one copy of the message.
https://www.rabbitmq.com/docs/sender-selected
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

import pika

from messaging.dead_letters.reason import MAX_ATTRIBUTES
from messaging.transport import MOST_RECEIVES, Attribute, Delivery

__all__ = [
    "delivery",
    "group_of",
    "keys_of",
    "properties",
    "receives",
    "routing_key",
    "routing_keys",
    "unfit",
]

PERSISTENT = 2
MAX_SHORT = 255
"""Bytes of a routing key, a header's name and a queue's name in AMQP 0-9-1."""
NOWHERE = "messaging.nowhere"
"""The routing key of a message that no subscription can match: it has no type or no audience."""


def routing_key(type: str, audience: str) -> str:
    """The key for `type` sent to `audience`. A long one is hashed."""
    key = f"{type} {audience}"
    if len(key.encode(errors="surrogatepass")) <= MAX_SHORT:
        return key
    return "sha256 " + hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()


def routing_keys(types: Iterable[str], audience: Iterable[str]) -> list[str]:
    """Every pair of a type and an audience, without duplicates, in order."""
    heard = list(dict.fromkeys(audience))
    return [routing_key(one, who) for one in dict.fromkeys(types) for who in heard]


def keys_of(attributes: Mapping[str, Attribute]) -> list[str]:
    """The routing keys of a message with these attributes."""
    kind, audience = attributes.get("type"), attributes.get("audience")
    if kind is None or audience is None:
        return [NOWHERE]
    return routing_keys(kind.strings, audience.strings) or [NOWHERE]


def unfit(body: str, attributes: Mapping[str, Attribute]) -> str | None:
    """Why this message cannot be sent, or None. Refuses exactly what SNS refuses."""
    if not body:
        return "the message is empty"
    if len(attributes) > MAX_ATTRIBUTES:
        return f"{len(attributes)} attributes; a message takes {MAX_ATTRIBUTES}"
    for name, one in attributes.items():
        if not one.value:
            return f"attribute {name!r} is empty"
        if not name or len(name.encode(errors="surrogatepass")) > MAX_SHORT:
            return f"an attribute's name has more than {MAX_SHORT} bytes"
    return None


def properties(
    attributes: Mapping[str, Attribute],
    *,
    keys: Sequence[str] = (),
    group: str | None = None,
    receives: int = 0,
    message_id: str = "",
    sent_at: float = 0.0,
) -> Any:
    """The properties of a message that is published with routing keys `keys`."""
    sent = sent_at or time.time()
    headers: dict[str, Any] = {
        "attributes": _packed_together(tuple(attributes.items())),
        "sent": int(sent * 1000),
    }
    if group is not None:
        headers["group"] = group
    if receives:
        headers["receives"] = receives
    if len(keys) > 1:
        headers["BCC"] = list(keys[1:])
    return pika.BasicProperties(
        content_type="application/json",
        headers=headers,
        delivery_mode=PERSISTENT,
        message_id=message_id or os.urandom(16).hex(),
        timestamp=int(sent),
    )


class AmqpDelivery(Delivery):
    """A delivery from RabbitMQ."""

    system = "rabbitmq"


def delivery(
    queue: str, receipt: str, found: Any, body: bytes, now: float, *, again: int = 0
) -> Delivery:
    """The broker's message as a delivery. Anyone may send to the queue, so any message is accepted.

    again  how often it has been received here since.
    """
    headers = found.headers if isinstance(found.headers, dict) else {}
    group = headers.get("group")
    sent = headers.get("sent")
    return AmqpDelivery(
        queue=queue,
        message_id=_text(found.message_id) or receipt,
        receipt=receipt,
        body=body.decode(errors="replace"),
        attributes=_attributes(headers.get("attributes")),
        receive_count=receives(headers) + again + 1,
        sent_at=sent / 1000 if isinstance(sent, int) and 0 < sent < 10**14 else now,
        received_at=now,
        group=group if isinstance(group, str) else None,
    )


def _text(found: Any) -> str:
    return found.decode(errors="ignore") if isinstance(found, bytes) else found or ""


def group_of(found: Any) -> str:
    """The message group; "" if there is none that can be read."""
    group = (found.headers or {}).get("group") if isinstance(found.headers, dict) else None
    return group if isinstance(group, str) else ""


def receives(headers: Mapping[str, Any]) -> int:
    """How often a message was received before: the broker's count plus ours from before a delay."""
    if "x-delivery-count" not in headers and "receives" not in headers:
        return 0
    counts = (headers.get("x-delivery-count"), headers.get("receives"))
    return min(MOST_RECEIVES, sum(one for one in counts if isinstance(one, int) and one > 0))


@lru_cache(256)
def _packed_together(attributes: tuple[tuple[str, Attribute], ...]) -> Any:
    packed = {name: _packed(one) for name, one in attributes}
    if any(isinstance(one.value, bytes) for _, one in attributes):
        return packed
    return json.dumps(packed, ensure_ascii=False, separators=(",", ":"))


def _attributes(packed: object) -> dict[str, Attribute]:
    if isinstance(packed, str):
        return dict(_read(packed))
    if isinstance(packed, dict):
        return {str(name): _unpacked(one) for name, one in packed.items()}
    return {}


@lru_cache(256)
def _read(packed: str) -> Mapping[str, Attribute]:
    try:
        found = json.loads(packed)
    except (ValueError, RecursionError):
        return {}
    return _attributes(found) if isinstance(found, dict) else {}


def _packed(one: Attribute) -> Any:
    if isinstance(one.value, bytes) and one.type == "Binary":
        return one.value
    return one.value if one.type == "String" else [one.type, one.value]


def _unpacked(one: Any) -> Attribute:
    if isinstance(one, bytes):
        return Attribute("Binary", one)
    if isinstance(one, list) and len(one) == 2 and isinstance(one[0], str):
        kind, value = one
        return Attribute(kind, value if isinstance(value, str | bytes) else str(value))
    return Attribute.string(str(one))
