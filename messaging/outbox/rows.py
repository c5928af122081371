"""Converts messages to rows of the outbox and back."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic_core import from_json

from messaging.outbox.table import channel
from messaging.sql.dialect import table_name
from messaging.transport import Attribute, Outgoing

__all__ = ["READ", "OutboxRow", "insert_into", "row_of", "to_columns"]

_COLUMNS = ("id", "key", "body", "attributes", "size", "message_group", "deduplication")

# In quotes, because `key` is a reserved word in MySQL.
_QUOTED = ", ".join(f'"{name}"' for name in _COLUMNS)
_VALUES = ", ".join(":" + name for name in _COLUMNS)
READ = ", ".join(f'o."{name}"' for name in ("seq", "attempts", *_COLUMNS))

_LONGEST_KEY = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxRow:
    """One entry that a relay has claimed. `message` is None if the row cannot be read."""

    seq: int
    id: str
    key: str = field(repr=False)
    attempts: int
    message: Outgoing | None = field(repr=False)


def insert_into(table: str, *, wakes: bool) -> str:
    """The statement that writes one message.

    wakes  (PostgreSQL) listening relays are notified when the transaction commits: once per
           transaction, and only that there is something.
    """
    into = f"INSERT INTO {table_name(table)} ({_QUOTED})"
    if wakes:
        return f"{into} SELECT {_VALUES} FROM pg_notify('{channel(table)}', '')"  # noqa: S608 - checked names
    return f"{into} VALUES ({_VALUES})"


def to_columns(batch: Sequence[Outgoing]) -> list[dict[str, object]]:
    """The columns of each message."""
    subjects: dict[str, str | None] = {}
    for message in batch:
        # A copy whose view has no subject has the same order as the others.
        if message.group is None and not subjects.get(message.id):
            subjects[message.id] = _subject(message.body)
    return [
        {
            "id": message.id,
            "key": _key(message.group or subjects.get(message.id) or message.id),
            "body": message.body,
            "attributes": _attributes_to_text(message.attributes),
            "size": message.size,
            "message_group": message.group,
            "deduplication": message.deduplication,
        }
        for message in batch
    ]


def row_of(values: Sequence[Any]) -> OutboxRow:
    """Convert a row from `READ`."""
    seq, attempts, id, key, body, attributes, size, group, deduplication = values
    message: Outgoing | None
    try:
        beside = _attributes_of_text(attributes)
        message = Outgoing(id, body, beside, int(size), group, deduplication)
    except (ValueError, TypeError, AttributeError):
        message = None
    return OutboxRow(seq=seq, id=id, key=key, attempts=attempts, message=message)


def _subject(body: str) -> str | None:
    try:
        document = from_json(body)
    except (ValueError, TypeError):
        return None
    subject = document.get("subject") if isinstance(document, dict) else None
    return subject if isinstance(subject, str) and subject else None


def _key(text: str) -> str:
    if len(text) <= _LONGEST_KEY and text.isprintable():
        return text
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _attributes_to_text(attributes: Mapping[str, Attribute]) -> str:
    return json.dumps(
        {
            name: [
                one.type,
                base64.b64encode(one.value).decode() if isinstance(one.value, bytes) else one.value,
            ]
            for name, one in attributes.items()
        },
        ensure_ascii=False,
    )


def _attributes_of_text(text: str) -> dict[str, Attribute]:
    return {
        name: Attribute(
            type, base64.b64decode(value, validate=True) if type.startswith("Binary") else value
        )
        for name, (type, value) in json.loads(text).items()
    }
